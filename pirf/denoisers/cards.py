"""What a model's card says of the fields that it makes, against what a problem is about.

The entry ``card["fields"]`` is a ``Problem.facts`` of the problem that the model was trained on: its name, the names of the
channels in their order, the axes of the grid, the constants of the equation with its boundary conditions, and the units, shift
and scale of every channel.  A card may leave any of it out, and what is left out is not compared.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from pirf.denoisers.base import Denoiser
from pirf.errors import InputError

__all__ = ["Described", "compare", "fields_of", "fit"]

_UNITS = 0.1
"""How far shift and scale may lie apart, in units of the scale: estimates from a few samples of turbulence differ a little."""


@runtime_checkable
class Described(Protocol):
    """What knows its own facts: a problem, or a source of its fields."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """The entry that the card of a model of its fields has; empty where nothing is known."""


def fields_of(model: Denoiser) -> list[Mapping[str, Any]]:
    """The entries of the model's card and of those inside it."""
    cards = [module.card for module in model.modules() if isinstance(module, Denoiser)]
    return [card["fields"] for card in cards if isinstance(card.get("fields"), dict)]


def fit(model: Denoiser, facts: Mapping[str, Any]) -> None:
    """Refuse a model whose card says that it makes other fields than these; one that does not say is let through."""
    for known in fields_of(model):
        if different := list(compare(known, facts)):
            theirs = f"a model of {known['problem']}" if "problem" in known else "a model"
            raise InputError(
                f"a model of {facts.get('problem', 'these fields')} is needed",
                got=f"{theirs} with {'; '.join(different)}"[:400],
                why="its card says so, and samples of other fields would be judged by the wrong equation",
                hint="what it was trained on, or del model.card['fields'] if the difference is meant",
            )


def compare(known: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    """What differs among the entries that both have, in words."""
    another = "problem" in known and "problem" in wanted and known["problem"] != wanted["problem"]
    for name, differing in _OF.items():
        if name in known and name in wanted and not (another and name in ("constants", "units")):
            yield from differing(known[name], wanted[name], "problem" in known)
    if another:  # whose constants and units are others anyway
        yield f"the law of {known['problem']} for that of {wanted['problem']}"


def _channels(known: Any, wanted: Any, binding: bool) -> Iterator[str]:
    """Names that a converted checkpoint was given are free, their order is not."""
    permuted = isinstance(known, list) and known != wanted and {*map(str, known)} == {*map(str, wanted)}
    if known != wanted and (binding or permuted):
        yield f"channels {_short(known)} for {_short(wanted)}"


def _axes(known: Any, wanted: Any, _: bool) -> Iterator[str]:
    if known != wanted:
        yield f"axes {_grid(known)} for {_grid(wanted)}"


def _constants(known: Any, wanted: Any, _: bool) -> Iterator[str]:
    known = known if isinstance(known, dict) else {}
    for name in sorted(known.keys() & wanted.keys()):
        if known[name] != wanted[name]:
            yield f"{name} {_short(known[name])} for {_short(wanted[name])}"


def _units(known: Any, wanted: Any, _: bool) -> Iterator[str]:
    try:
        pairs = [zip(known[name], wanted[name], wanted["scale"], strict=True) for name in ("shift", "scale")]
        apart = any(not abs(a - b) <= _UNITS * scale for pair in pairs for a, b, scale in pair)
    except (KeyError, TypeError, ValueError):
        apart = True
    if apart:
        yield f"units {_short(known)} for {_short(wanted)}"


_OF = {"channels": _channels, "axes": _axes, "constants": _constants, "units": _units}


def _grid(axes: Any) -> str:
    try:
        return " × ".join(f"{axis['n']} {axis['layout']} on {axis['extent']:.4g}" for axis in axes)
    except (KeyError, TypeError, ValueError):
        return _short(axes)


def _short(value: Any, most: int = 90) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}…"
