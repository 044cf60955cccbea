r"""A small budgeted search over one positive knob: a coarse geometric grid, then its best cell refined.

The same search for every method, its number of trials stated, so that no rival is run at somebody else's constant.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import final

import attrs

from pirf.errors import InputError, NumericalError

__all__ = ["Tuning", "tune"]


@final
@attrs.frozen
class Tuning:
    """The best value, its loss, and every trial in the order it was made."""

    best: float
    loss: float
    trials: tuple[tuple[float, float], ...]


def tune(objective: Callable[[float], float], low: float, high: float, trials: int = 9) -> Tuning:
    """Minimise ``objective`` over [low, high] on a log scale in ``trials`` evaluations; non-finite losses rank last."""
    if not 0 < low < high or trials < 3:
        raise InputError(
            "0 < low < high and at least three trials are needed",
            got=f"low={low}, high={high}, trials={trials}",
            why="the search is geometric and brackets a minimum",
            hint="tune(f, 1e-4, 1e-1, trials=9)",
        )
    coarse = math.ceil(2 * trials / 3)
    ratio = math.log(high / low) / (coarse - 1)
    done: dict[float, float] = {}

    def attempt(value: float) -> None:
        loss = objective(value)
        done[value] = loss if math.isfinite(loss) else math.inf

    for i in range(coarse):
        attempt(low * math.exp(i * ratio))
    side = 1
    for _ in range(trials - coarse):
        # Alternate between the two sides of the best value, half a cell away and inside the range; after both, halve the cell.
        best = min(done, key=done.__getitem__)
        while not (free := [c for c in _beside(best, side, ratio / 2) if low <= c <= high and not _seen(c, done)]):
            ratio /= 2
        side = -side
        attempt(free[0])
    best = min(done, key=done.__getitem__)
    if not math.isfinite(done[best]):
        raise NumericalError(f"none of {len(done)} values between {low:g} and {high:g} gave a finite loss. Try a lower range.")
    return Tuning(best, done[best], tuple(done.items()))


def _beside(value: float, side: int, distance: float) -> tuple[float, float]:
    return value * math.exp(side * distance), value * math.exp(-side * distance)


def _seen(value: float, done: dict[float, float]) -> bool:
    return any(abs(math.log(value / other)) < 1e-9 for other in done)
