"""What a problem tells the card of a model that is trained on it, and whether a model's card fits what it is to be used for.

The entry is plain JSON: the problem's name, its channels, the axes of its grid, the constants of its equation, boundary
conditions among them, and its units.  What the reward merely computes with, such as its norm, is no fact about the fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from pirf.denoisers import Denoiser
from pirf.denoisers.cards import Described, fit
from pirf.grids import Grid
from pirf.rewards import ConditionalPDEReward, PDEReward, Reward

__all__ = ["facts", "fits"]

_COMPUTED = frozenset({"grid", "norm", "scale", "form", "substeps", "least", "levels"})
"""Of a reward: how it measures, how it is discretised, what it clips.  Everything else is a constant of the equation."""


def facts(problem: Any) -> dict[str, Any]:
    """The entry ``card["fields"]`` of a model of the problem's fields."""
    units = {"shift": list(problem.scaling.shift), "scale": list(problem.scaling.scale)}
    told = {"axes": _axes(problem.grid), "constants": _constants(problem.reward)}
    return {"problem": problem.name, "channels": list(problem.channels), **told, "units": units}


def fits(model: Denoiser, use: Described | Reward) -> None:
    """Refuse a model whose card names other fields than those of this problem, or other axes than those of this reward.

    To be tuned or guided by another equation on the same grid is a use of a model; to be compared on another problem is not.
    """
    if isinstance(use, Reward):
        for equation in _equations(use):
            fit(model, {"axes": _axes(equation.grid)})
    else:
        fit(model, use.facts)


def _axes(grid: Grid) -> list[dict[str, Any]]:
    return [attrs.asdict(axis) for axis in grid.axes]


def _constants(reward: Reward) -> dict[str, Any]:
    found = {name: _plain(getattr(reward, name)) for name in _names(reward) if name not in _COMPUTED}
    return {name: value for name, value in found.items() if " at 0x" not in str(value)}  # which no other process would find


def _names(value: Any) -> list[str]:
    """Of the attributes that a value is made with."""
    kind: type[Any] = type(value)
    return [field.name for field in attrs.fields(kind)] if attrs.has(kind) else list(getattr(value, "__dict__", {}))


def _plain(value: Any) -> Any:
    """Numbers as numbers, anything else as the code that makes it."""
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value if value is None or isinstance(value, int | float | str) else repr(value)


def _equations(value: Any) -> Iterator[Any]:
    """The equations with a grid that a reward is made of."""
    if isinstance(value, PDEReward | ConditionalPDEReward) and isinstance(getattr(value, "grid", None), Grid):
        yield value
    elif isinstance(value, Reward):
        for name in _names(value):
            yield from _equations(getattr(value, name))
    elif isinstance(value, tuple | list | Mapping):
        for entry in value.values() if isinstance(value, Mapping) else value:
            yield from _equations(entry)
