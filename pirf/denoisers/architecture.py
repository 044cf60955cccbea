"""How a model is built, in what JSON can hold, and a model from that.

A card holds values, never code.  The network inside a :class:`~pirf.denoisers.prediction.Prediction`, how it is called, and
the reward of a :class:`~pirf.denoisers.residual_gradient.ResidualGradient` are code: whoever loads them brings them along,
:class:`Supplied`, and the card tells whether they are what was saved.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import attrs
import torch
from torch import nn

from pirf.denoisers import coloured
from pirf.denoisers.base import Denoiser
from pirf.denoisers.classifier_free import ClassifierFree
from pirf.denoisers.coloured import Coloured
from pirf.denoisers.conditions import described, read
from pirf.denoisers.handover import Handover
from pirf.denoisers.noise_map import NoiseMap
from pirf.denoisers.paths import CosinePath, DiscreteVP, LinearPath, Path, VarianceExploding, VariancePreserving
from pirf.denoisers.prediction import Call, Clean, Epsilon, Prediction, Target, V, Velocity, plain
from pirf.denoisers.residual_gradient import ResidualGradient
from pirf.denoisers.unet import UNet
from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field, Score

__all__ = ["Supplied", "Unfit", "build", "describe", "size"]

_HANDOVER = ("below", "channels", "reads", "floor", "stages", "levels")
_PATHS: dict[str, type[Path]] = {
    kind.__name__: kind for kind in (CosinePath, DiscreteVP, LinearPath, VarianceExploding, VariancePreserving)
}
_TARGETS: dict[str, type[Target]] = {kind.__name__: kind for kind in (Clean, Epsilon, V, Velocity)}


class Unfit(InputError):
    """What is supplied is not what was saved."""


@final
@attrs.frozen(eq=False)
class Supplied:
    """What no card holds: a foreign network, how it is called, and the reward whose gradient a network is told."""

    network: nn.Module | None = None
    call: Call | None = None
    reward: Callable[[Field, Condition | None], Score] | None = None

    def check(self, architecture: Mapping[str, Any]) -> None:
        """Refuse what is missing, left over, or not what was saved."""
        parts = list(_parts(architecture))
        foreign = [part for part in parts if part["kind"] == "Prediction"]
        scores = {part["score"] for part in parts if part["kind"] == "ResidualGradient"}
        self._need("network", {part["network"] for part in foreign}, "load(folder, network=Network())")
        self._need("call", {part["call"] for part in foreign} - {None}, "the call= that the Prediction was made with")
        self._need("reward", scores, "load(folder, reward=problem.reward)")
        if self.reward is not None and {repr(self.reward)} != scores:
            raise Unfit(
                f"reward={', '.join(scores)} is needed",
                got=repr(self.reward),
                why="the network has been trained on being told the gradient of that one",
                hint="the reward of the training, value by value",
            )

    def _need(self, name: str, saved: set[str], hint: str) -> None:
        if (getattr(self, name) is not None) == bool(saved):
            return
        if saved:
            raise Unfit(
                f"{name}= is needed, which was {' and '.join(sorted(saved))} when the model was saved",
                got="none",
                why="it is code, which a card cannot hold",
                hint=hint,
            )
        raise Unfit(
            f"a model that takes {name}= is needed",
            got="one that was saved without",
            why="it would be ignored silently",
            hint=f"load(folder) without {name}=",
        )


def _parts(architecture: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The network and all inside it."""
    yield architecture
    for name in ("base", "tuned", "inner"):
        if name in architecture:
            yield from _parts(architecture[name])


def size(architecture: Mapping[str, Any]) -> int:
    """How many weights the largest U-Net of a card has; none of them is allocated."""
    networks = [part for part in _parts(architecture) if part["kind"] == "UNet"]
    with torch.device("meta"):
        return max((sum(p.numel() for p in build(part, Supplied()).parameters()) for part in networks), default=0)


def describe(model: Denoiser) -> dict[str, Any]:
    """The architecture of a model, for its card."""
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
        parts = {"base": describe(model.base), "tuned": describe(model.tuned)}
        return {"kind": "Handover", **parts, **{name: getattr(model, name) for name in _HANDOVER}}
    if isinstance(model, NoiseMap):
        return {"kind": "NoiseMap", "base": describe(model.base), "width": model.width}
    if isinstance(model, ClassifierFree):
        return {"kind": "ClassifierFree", "inner": describe(model.inner), "weight": model.weight}
    if isinstance(model, Coloured):
        return {"kind": "Coloured", "inner": describe(model.inner), **coloured.described(model.colour)}
    if isinstance(model, Prediction):
        return {"kind": "Prediction", **units, **_prediction(model)}
    if isinstance(model, ResidualGradient):
        return {"kind": "ResidualGradient", "inner": describe(model.inner), "score": _code(model.score)}
    raise _unknown(type(model).__name__)


def build(architecture: Mapping[str, Any], supplied: Supplied) -> Denoiser:
    """The model of this architecture, in float32, with weights that are still to be filled in."""
    kind = architecture["kind"]
    if kind == "UNet":
        config = architecture["config"]
        if "conditions" in config:
            config = {**config, "conditions": read(config["conditions"])}
        return UNet(architecture["shape"], _scaling(architecture), **config)
    if kind == "Handover":
        options = {name: architecture[name] for name in _HANDOVER if name in architecture}
        base = build(architecture["base"], supplied)
        if options.get("stages") is None:
            return Handover(base, build(architecture["tuned"], supplied), **options)
        handover = Handover.split(base, **{k: v for k, v in options.items() if k != "levels"})
        handover.levels = None if options["levels"] is None else tuple(options["levels"])
        return handover
    if kind == "NoiseMap":
        return NoiseMap(build(architecture["base"], supplied), architecture["width"])
    if kind == "ClassifierFree":
        return ClassifierFree(build(architecture["inner"], supplied), architecture["weight"])
    if kind == "Coloured" and (colour := coloured.read(architecture)) is not None:
        return Coloured(build(architecture["inner"], supplied), colour)
    if kind == "Prediction" and supplied.network is not None:
        path = dict(architecture["path"])
        return Prediction(
            copy.deepcopy(supplied.network),
            architecture["shape"],
            _PATHS[path.pop("kind")](**path),
            _TARGETS[architecture["target"]](),
            _scaling(architecture),
            time_scale=architecture["time_scale"],
            call=supplied.call or plain,
        )
    if kind == "ResidualGradient" and supplied.reward is not None:
        return ResidualGradient(build(architecture["inner"], supplied), supplied.reward)
    raise ValueError(f"unknown kind {kind!r}")


def _scaling(architecture: Mapping[str, Any]) -> Scaling:
    return Scaling(architecture["shift"], architecture["scale"], coloured.read(architecture))


def _prediction(model: Prediction) -> dict[str, Any]:
    path, target = type(model.path).__name__, type(model.target).__name__
    if _PATHS.get(path) is not type(model.path) or _TARGETS.get(target) is not type(model.target):
        raise _unknown(f"a Prediction with {path} and {target}")
    return {
        "network": type(model.network).__name__,
        "path": {"kind": path, **attrs.asdict(model.path)},
        "target": target,
        "time_scale": model.time_scale,
        "call": None if model.call is plain else getattr(model.call, "__name__", type(model.call).__name__),
    }


def _code(value: object) -> str:
    """The code that makes a value, if its name is that."""
    if " at 0x" in (code := repr(value)):
        raise _unknown(f"a model that is told the gradient of {code[:80]}")
    return code


def _unknown(kind: str) -> InputError:
    return InputError(
        "a model of the package is needed for saving",
        got=kind,
        why="its card could not say how to build it",
        hint="saving its state_dict yourself, or the denoiser inside it",
    )
