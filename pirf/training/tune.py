r"""A small budgeted search over positive knobs on a log scale: :math:`\min_v f(v)` in a stated number of trials.

The same search for every method, its number of trials stated, so that no rival is run at somebody else's constant.

*One knob.*  A coarse geometric grid, then its best cell refined: half a cell to either side of the best value, in turns; where
nothing new is left there, the cell is halved.

*Several.*  The same, knob by knob.  Each knob's grid runs through the best point so far, from the middle of all ranges; the
refinement takes the knobs in turns.  Where the logarithms of the knobs do not interact, this is one search for each of them;
where they do, it descends along one knob at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any, Generic, cast, final, overload

import attrs

from pirf.errors import InputError, NumericalError

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # for type checkers alone, which bring it: Tuning alone means Tuning[float]

    V = TypeVar("V", default=float)
else:
    from typing import TypeVar

    V = TypeVar("V")

__all__ = ["Tuning", "tune"]

_FINEST = 1e-9
"""Relative: values closer than this are the same."""

Point = tuple[float, ...]


@final
@attrs.frozen
class Tuning(Generic[V]):
    """The best value (of several knobs: values by name), its loss, and every trial in the order it was made."""

    best: V
    loss: float
    trials: tuple[tuple[V, float], ...]

    def __str__(self) -> str:
        return f"{_text(self.best)}: loss {self.loss:.3g}, best of {len(self.trials)} trials"

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: the loss of a trial that failed is None."""
        trials = [[_plain(value), loss if math.isfinite(loss) else None] for value, loss in self.trials]
        return {"best": _plain(self.best), "loss": self.loss, "trials": trials}


@overload
def tune(objective: Callable[[float], float], low: float, high: float, trials: int = 9) -> Tuning[float]: ...
@overload
def tune(
    objective: Callable[..., float], knobs: Mapping[str, tuple[float, float]], /, *, trials: int = 9
) -> Tuning[dict[str, float]]: ...
def tune(
    objective: Callable[..., float],
    low: float | Mapping[str, tuple[float, float]],
    high: float | None = None,
    trials: int = 9,
) -> Tuning[float] | Tuning[dict[str, float]]:
    """Minimise ``objective`` over ranges, on a log scale, in ``trials`` evaluations; non-finite losses rank last.

    ``tune(f, 1e-4, 1e-1)`` searches one value, ``tune(f, {"observed": (1e-2, 1e2), "weight": (1e-3, 1)})`` several, which ``f``
    takes as keyword arguments.  Fewer evaluations are made only where no further value can be told from those tried.
    """
    if not isinstance(low, Mapping):
        if high is None or not 0 < low < high < math.inf or trials < 3:
            raise InputError(
                "0 < low < high and at least three trials are needed",
                got=f"low={low}, high={high}, trials={trials}",
                why="the search is geometric and brackets a minimum",
                hint="tune(f, 1e-4, 1e-1, trials=9)",
            )
        done = _search(lambda point: objective(point[0]), [(low, high)], trials)
        return _best([(value, loss) for (value,), loss in done.items()])
    _refuse_ranges(low, high, trials)
    names = tuple(low)
    done = _search(lambda point: objective(**dict(zip(names, point, strict=True))), list(low.values()), trials)
    return _best([(dict(zip(names, point, strict=True)), loss) for point, loss in done.items()])


def _refuse_ranges(knobs: Mapping[str, tuple[float, float]], high: float | None, trials: int) -> None:
    needed = 1 + 2 * len(knobs)
    usable = all(isinstance(v, Sequence) and len(v) == 2 and 0 < v[0] < v[1] < math.inf for v in knobs.values())
    if high is not None or not knobs or not usable or trials < needed:
        ranges = ", ".join(f"{name}: {limits}" for name, limits in knobs.items()) or "no knobs"
        raise InputError(
            f"0 < low < high for every knob and at least {needed} trials are needed",
            got=f"{ranges}, trials={trials}" + ("" if high is None else f", high={high}"),
            why="the search is geometric and brackets a minimum of each knob",
            hint='tune(f, {"observed": (1e-2, 1e2), "weight": (1e-3, 1.0)}, trials=12)',
        )


def _search(objective: Callable[[Point], float], ranges: Sequence[tuple[float, float]], trials: int) -> dict[Point, float]:
    """Every trial with its loss: grids first, two thirds of the budget, then refinement."""
    done: dict[Point, float] = {}

    def attempt(point: Point) -> None:
        if point not in done:
            loss = float(objective(point))
            done[point] = loss if math.isfinite(loss) else math.inf

    knobs = len(ranges)
    # All grids share the point that they start from; the least that brackets is low, high and a trial between.
    size = max(1 + (math.ceil(2 * trials / 3) - 1) // knobs, 2 if knobs == 1 else 3)
    ratios = [math.log(high / low) / (size - 1) for low, high in ranges]
    grids = [[low * math.exp(i * ratio) for i in range(size)] for (low, _), ratio in zip(ranges, ratios, strict=True)]
    through = tuple(grid[size // 2] for grid in grids)
    for knob, grid in enumerate(grids):
        for value in grid:
            attempt(_moved(through, knob, value))
        through = _lowest(done)
    for point in _around(done, ranges, ratios):
        if len(done) >= trials:
            break
        attempt(point)
    return done


def _around(done: Mapping[Point, float], ranges: Sequence[tuple[float, float]], ratios: Sequence[float]) -> Iterator[Point]:
    """Points beside the best one, half a cell away: every knob up, every knob down, and so on; used cells are halved."""
    distances = [ratio / 2 for ratio in ratios]
    for turn in count():
        knob, side = turn % len(ranges), 1 if turn // len(ranges) % 2 == 0 else -1
        best, (low, high) = _lowest(done), ranges[knob]
        while distances[knob] > _FINEST:
            beside = (_moved(best, knob, best[knob] * math.exp(way * distances[knob])) for way in (side, -side))
            free = [point for point in beside if low <= point[knob] <= high and not _seen(point, done)]
            if free:
                yield free[0]
                break
            distances[knob] /= 2
        if max(distances) <= _FINEST:
            return


def _lowest(done: Mapping[Point, float]) -> Point:
    return min(done, key=done.__getitem__)


def _moved(point: Point, knob: int, value: float) -> Point:
    return (*point[:knob], value, *point[knob + 1 :])


def _seen(point: Point, done: Mapping[Point, float]) -> bool:
    return any(all(abs(math.log(a / b)) < _FINEST for a, b in zip(point, other, strict=True)) for other in done)


def _best(trials: Sequence[tuple[V, float]]) -> Tuning[V]:
    best, loss = min(trials, key=lambda trial: trial[1])
    if not math.isfinite(loss):
        tried = f"{_text(trials[0][0])} … {_text(trials[-1][0])}"
        raise NumericalError(f"none of {len(trials)} trials gave a finite loss: {tried}. Try lower ranges.")
    return Tuning(best, loss, tuple(trials))


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} = {each:.3g}" for name, each in value.items())
    return f"{cast('float', value):.3g}"
