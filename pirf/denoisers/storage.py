r"""Models on disk: ``weights.safetensors`` beside ``card.json``.  Nothing that is read can execute anything.

The card says how to build the network, in which units it works, and how it was trained.  ``load`` takes a folder, or the
name of a model that comes with the package.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pirf.denoisers import coloured
from pirf.denoisers.base import Denoiser, Staged
from pirf.denoisers.classifier_free import ClassifierFree
from pirf.denoisers.coloured import Coloured
from pirf.denoisers.conditions import described, read
from pirf.denoisers.handover import Handover
from pirf.denoisers.low_rank import merged
from pirf.denoisers.noise_map import NoiseMap
from pirf.denoisers.unet import UNet
from pirf.errors import InputError
from pirf.scaling import Scaling

__all__ = ["load", "save", "shipped"]

FORMAT = "pirf-model-1"
_MODELS = Path(__file__).parent.parent / "models"


def shipped() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    return tuple(sorted(card.parent.name for card in _MODELS.glob("*/card.json")))


def save(model: Denoiser, folder: str | Path) -> Path:
    """Write weights and card into ``folder``; low-rank changes are merged into the weights that are written."""
    model, folder = merged(model), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    card = {"format": FORMAT, "architecture": _describe(model), "facts": model.card, "history": _thinned(model.history)}
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in _stored(model).items()},
        folder / "weights.safetensors",
    )
    (folder / "card.json").write_text(json.dumps(card, indent=1))
    return folder


def load(name: str | Path) -> Denoiser:
    """The model in a folder, or one of :func:`shipped`, in evaluation mode on the CPU."""
    folder = Path(name) if (Path(name) / "card.json").exists() else _MODELS / str(name)
    try:
        card = json.loads((folder / "card.json").read_text())
        if card["format"] != FORMAT:
            raise ValueError(f"the format is {card['format']!r}, not {FORMAT!r}")
        model = _build(card["architecture"])
        weights = load_file(folder / "weights.safetensors")
        if missing := weights.keys() ^ _stored(model).keys():
            raise ValueError(f"weights and card differ in {', '.join(sorted(missing))}")
        model.load_state_dict(weights, strict=False)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            "a model folder with card.json and weights.safetensors is needed",
            got=f"{str(name)!r}",
            why=reason,
            hint=f"one of the shipped models ({', '.join(shipped()) or 'none'}), or a folder written by pirf.save",
        ) from error
    model.card, model.history = card["facts"], card["history"]
    return model.eval()


_HANDOVER = ("below", "channels", "reads", "floor", "stages", "levels")


def _stored(model: Denoiser) -> dict[str, Tensor]:
    """All weights, but a trunk that two networks share once."""
    shared = _shared(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in shared}


def _shared(model: Denoiser) -> set[str]:
    """Names of weights that stand under another name as well."""
    if isinstance(model, NoiseMap):
        return {f"base.{name}" for name in _shared(model.base)}
    if isinstance(model, ClassifierFree | Coloured):
        return {f"inner.{name}" for name in _shared(model.inner)}
    if isinstance(model, Handover) and model.stages is not None and isinstance(model.tuned, Staged):
        own = {id(p) for p in model.tuned.end_parameters(model.stages)}
        return {f"tuned.{name}" for name, p in model.tuned.named_parameters() if id(p) not in own}
    return set()


def _describe(model: Denoiser) -> dict[str, Any]:
    units = {
        "shape": model.shape,
        "shift": model.scaling.shift,
        "scale": model.scaling.scale,
        **coloured.described(model.scaling.colour),
    }
    if isinstance(model, UNet):
        config = model.config
        if model.told is not None:
            config = {**config, "conditions": described(model.told.inputs)}
        return {"kind": "UNet", **units, "config": config}
    if isinstance(model, Handover):
        parts = {"base": _describe(model.base), "tuned": _describe(model.tuned)}
        return {"kind": "Handover", **parts, **{name: getattr(model, name) for name in _HANDOVER}}
    if isinstance(model, NoiseMap):
        return {"kind": "NoiseMap", "base": _describe(model.base), "width": model.width}
    if isinstance(model, ClassifierFree):
        return {"kind": "ClassifierFree", "inner": _describe(model.inner), "weight": model.weight}
    if isinstance(model, Coloured):
        return {"kind": "Coloured", "inner": _describe(model.inner), **coloured.described(model.colour)}
    raise InputError(
        "a model of the package is needed for saving",
        got=type(model).__name__,
        why="its card could not say how to build it",
        hint="saving its state_dict yourself, or the denoiser inside it",
    )


def _build(architecture: Mapping[str, Any]) -> Denoiser:
    if architecture["kind"] == "UNet":
        config = architecture["config"]
        if "conditions" in config:
            config = {**config, "conditions": read(config["conditions"])}
        scaling = Scaling(architecture["shift"], architecture["scale"], coloured.read(architecture))
        return UNet(architecture["shape"], scaling, **config)
    if architecture["kind"] == "Handover":
        options = {name: architecture[name] for name in _HANDOVER if name in architecture}
        base = _build(architecture["base"])
        if options.get("stages") is None:
            return Handover(base, _build(architecture["tuned"]), **options)
        handover = Handover.split(base, **{k: v for k, v in options.items() if k != "levels"})
        handover.levels = None if options["levels"] is None else tuple(options["levels"])
        return handover
    if architecture["kind"] == "NoiseMap":
        return NoiseMap(_build(architecture["base"]), architecture["width"])
    if architecture["kind"] == "ClassifierFree":
        return ClassifierFree(_build(architecture["inner"]), architecture["weight"])
    if architecture["kind"] == "Coloured" and (colour := coloured.read(architecture)) is not None:
        return Coloured(_build(architecture["inner"]), colour)
    raise ValueError(f"unknown kind {architecture['kind']!r}")


def _thinned(history: list[dict[str, float]], most: int = 200) -> list[dict[str, float]]:
    """At most ``most`` records, evenly spread, the last one included."""
    stride = max(1, -(-len(history) // most))
    return history[::-1][::stride][::-1]
