r"""Models on disk: ``weights.safetensors`` beside ``card.json``.  Nothing that is read can execute anything.

The card says how to build the network (:mod:`pirf.denoisers.architecture`), in which units it works, which fields it makes
(:mod:`pirf.denoisers.cards`), and how it was trained.  ``load`` takes a folder, or the name of a model that comes with the
package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pirf.denoisers.architecture import Supplied, Unfit, build, describe, size
from pirf.denoisers.base import Denoiser, Staged
from pirf.denoisers.cards import Described, fields_of, fit
from pirf.denoisers.classifier_free import ClassifierFree
from pirf.denoisers.coloured import Coloured
from pirf.denoisers.handover import Handover
from pirf.denoisers.low_rank import merged
from pirf.denoisers.noise_map import NoiseMap
from pirf.denoisers.prediction import Call
from pirf.denoisers.residual_gradient import ResidualGradient
from pirf.errors import InputError, instance
from pirf.tensors import Condition, Field, Score

__all__ = ["load", "save", "shipped"]

FORMAT = "pirf-model-1"
_MODELS = Path(__file__).parent.parent / "models"


def shipped() -> tuple[str, ...]:
    """Names of the models that come with the package."""
    return tuple(sorted(card.parent.name for card in _MODELS.glob("*/card.json")))


def save(model: Denoiser, folder: str | Path) -> Path:
    """Write weights and card into ``folder``; low-rank changes are merged into the weights that are written.

    Of a network of another library the weights are written, and of a reward its name: both are given to :func:`load` again.
    """
    instance("a denoiser", model, Denoiser, hint='save(model, "models/mine")')
    model, folder = merged(model), Path(folder)
    inside = {"fields": fields[0]} if (fields := fields_of(model)) else {}
    card = {
        "format": FORMAT,
        "architecture": describe(model),
        "facts": {**inside, **model.card},
        "history": _thinned(model.history),
    }
    weights = _separate(_stored(model))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(weights, folder / "weights.safetensors")
    (folder / "card.json").write_text(json.dumps(card, indent=1))
    return folder


def load(
    name: str | Path,
    problem: Described | None = None,
    *,
    network: nn.Module | None = None,
    call: Call | None = None,
    reward: Callable[[Field, Condition | None], Score] | None = None,
    device: torch.device | str = "cpu",
) -> Denoiser:
    """The model in a folder, or one of :func:`shipped`, in evaluation mode, in the precision in which it was saved.

    With a ``problem``, a model whose card says that it was trained on other fields is refused.  ``network``, ``call`` and
    ``reward`` are the code that no card holds: a copy of the network is filled with the saved weights.
    """
    instance("a name or a folder", name, (str, Path), hint='load("poisson-32")')
    if problem is not None:
        instance("a problem", problem, Described, hint='load("poisson-32", pirf.problems.poisson(32))')
    folder = _MODELS / str(name) if str(name) in shipped() and not (Path(name) / "card.json").exists() else Path(name)
    if network is not None:
        instance("a network", network, nn.Module, hint="load(folder, network=Network())")
    supplied = Supplied(network, call, reward)
    try:
        card = json.loads((folder / "card.json").read_text())
        if card["format"] != FORMAT:
            raise ValueError(f"the format is {card['format']!r}, not {FORMAT!r}")
        architecture, facts, history = card["architecture"], card["facts"], card["history"]
        if not isinstance(facts, dict) or not isinstance(history, list):
            raise TypeError("its facts and its history are none")
        supplied.check(architecture)
        weights = load_file(folder / "weights.safetensors")
        held = sum(weight.numel() for weight in weights.values())
        if (asked := size(architecture)) > held:  # known before it is built: the card may be a stranger's
            raise ValueError(f"the card describes networks of {asked} weights, and {held} are there")
        model = build(architecture, supplied)
        model.card, model.history = facts, history
        _fill(model, weights, network)
    except Unfit:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        if isinstance(error, OSError) and not folder.is_dir():
            reason = "that is a file" if folder.exists() else "there is no such folder, and no model of this name comes along"
        raise InputError(
            "a model folder with card.json and weights.safetensors is needed",
            got=f"{str(name)!r}",
            why=reason,
            hint=f"one of the shipped models ({', '.join(shipped()) or 'none'}), or a folder written by pirf.save",
        ) from error
    if problem is not None:
        fit(model, problem.facts)
    return model.to(device).eval()


def _fill(model: Denoiser, weights: Mapping[str, Tensor], network: nn.Module | None) -> None:
    """The weights into the model, which takes their precision; refused where names or shapes differ."""
    expected = _stored(model)
    wrong = sorted(n for n in weights.keys() | expected.keys() if _shape(weights.get(n)) != _shape(expected.get(n)))
    if wrong:
        found = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        if network is None:
            raise ValueError(f"weights and card differ in {found}")
        raise Unfit(
            "a network with the weights that were saved is needed",
            got=f"{type(network).__name__}, which differs in {found}",
            why="each of them has its name and its shape",
            hint="the network's class with the options that it had",
        )
    precisions = {weight.dtype for weight in weights.values() if weight.is_floating_point()}
    if len(precisions) == 1:
        model.to(precisions.pop())
    model.load_state_dict(weights, strict=False)


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


def _separate(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Every tensor on the CPU in memory of its own, as the format wants them: tied weights are written twice."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in weights.items():
        if not isinstance(value, Tensor):
            raise InputError(
                "a network whose state is tensors is needed for saving",
                got=f"{name}, a {type(value).__name__}",
                why="safetensors hold nothing else",
                hint="saving its state_dict yourself",
            )
        tensor = value.detach().cpu().contiguous()
        found[name] = tensor.clone() if tensor.untyped_storage().data_ptr() in seen else tensor
        seen.add(tensor.untyped_storage().data_ptr())
    return found


def _stored(model: Denoiser) -> dict[str, Tensor]:
    """All weights, but a trunk that two networks share once."""
    shared = _shared(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in shared}


def _shared(model: Denoiser) -> set[str]:
    """Names of weights that stand under another name as well."""
    if isinstance(model, NoiseMap):
        return {f"base.{name}" for name in _shared(model.base)}
    if isinstance(model, ClassifierFree | Coloured | ResidualGradient):
        return {f"inner.{name}" for name in _shared(model.inner)}
    if isinstance(model, Handover) and model.stages is not None and isinstance(model.tuned, Staged):
        own = {id(p) for p in model.tuned.end_parameters(model.stages)}
        return {f"tuned.{name}" for name, p in model.tuned.named_parameters() if id(p) not in own}
    return set()


def _thinned(history: list[dict[str, float]], most: int = 200) -> list[dict[str, float]]:
    """At most ``most`` records, evenly spread, the last one included."""
    stride = max(1, -(-len(history) // most))
    return history[::-1][::stride][::-1]
