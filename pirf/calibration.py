r"""Whether an ensemble is as uncertain as it should be.

An ensemble of M fields is calibrated where truth could be one more of them: the M + 1 are exchangeable.  Every figure here
has a known value then, whatever M and the law are.

*Coverage.*  The interval from the k-th smallest of M values to the k-th largest holds truth with probability
:math:`(M + 1 - 2k)/(M + 1)`; k is the one that comes closest to the level asked for.  Values that are equal share their ranks.

*Sampling noise.*  The points of a field are not independent, and how dependent they are is seen in the ensemble: each of the
M + 1 fields takes the place of truth in turn.  The mean of their figures is the expected one exactly, and their variance is
that of truth's figure if it is one of them; truths are independent of each other.  A figure is z standard errors off to one
side with probability 1/(1 + z²) at most, for a single truth and the worst of laws (Cantelli).

*Other figures.*  The continuous ranked probability score with the unbiased estimator of a finite ensemble (Ferro 2014),
:math:`\overline{|x_i - y|} - \tfrac12 \overline{|x_i - x_j|}` over pairs i ≠ j, in standard deviations of truth.  Spread over
error, :math:`\sqrt{\tfrac{M+1}{M}\,\overline{s^2}} \,/\, \sqrt{\overline{(\bar x - y)^2}}`, which is 1.  The histogram of
truth's ranks, which is flat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from pirf.errors import InputError

__all__ = ["Calibration", "Expected", "Reliability", "calibration"]

_FAR = 3.0
"""Standard errors from which on a figure is taken to be off."""
_SMALL = 0.05
"""And by how much at least: ten thousand truths make anything significant."""
_TINY = 1e-300
_TIED = 1e-6
"""In standard deviations of truth: values no further apart are known, and their order is rounding."""


@final
@attrs.frozen
class Expected:
    """A figure whose value is known under exchangeability, and its standard error there."""

    found: float
    expected: float
    error: float

    @property
    def deviation(self) -> float:
        """How many standard errors off."""
        return (self.found - self.expected) / max(self.error, _TINY)

    @property
    def low(self) -> bool:
        """Whether it is far below, beyond sampling noise."""
        return self.deviation < -_FAR and self.found < self.expected - _SMALL

    @property
    def high(self) -> bool:
        """Whether it is far above, beyond sampling noise."""
        return self.deviation > _FAR and self.found > self.expected + _SMALL

    def __str__(self) -> str:
        return f"{self.found:.3f} ± {self.error:.3f} of {self.expected:.3f}"


@final
@attrs.frozen
class Reliability:
    """The figures of one set of points: means over the points of each truth, then over truths."""

    half: Expected
    """Coverage of the central 50 %."""
    ninety: Expected
    """Coverage of the central 90 %."""
    rank: Expected
    """Mean share of the ensemble that lies below truth: ½."""
    crps: float
    """In standard deviations of truth."""
    spread: float
    """Spread over error: below 1 the ensemble is too sure."""
    error: float
    """‖mean − truth‖/‖truth‖."""
    ranks: tuple[float, ...]
    """Share of points at which truth has rank 0 … M: 1/(M + 1) each."""

    def alarms(self) -> tuple[str, ...]:
        """Which of overconfident, underconfident and biased is beyond sampling noise."""
        found = {
            "overconfident": self.ninety.low,
            "underconfident": self.half.high or self.ninety.high,
            "biased": self.rank.low or self.rank.high,
        }
        return tuple(name for name, raised in found.items() if raised)


@final
@attrs.frozen
class Calibration:
    """Figures of all points, and of each channel: None where a channel has no point to judge."""

    members: int
    truths: int
    overall: Reliability
    channels: tuple[Reliability | None, ...]

    def alarms(self) -> tuple[str, ...]:
        """What is wrong with the uncertainty, of all channels together and of each."""
        each = (f"{alarm}: {name}" for name, found in self._each() for alarm in found.alarms())
        return (*self.overall.alarms(), *each)

    def _each(self) -> list[tuple[str, Reliability]]:
        """The channels that were judged, where there are several."""
        judged = [(f"channel {c}", found) for c, found in enumerate(self.channels) if found is not None]
        return judged if len(judged) > 1 else []

    def __str__(self) -> str:
        rows = [["points", "50 %", "90 %", "rank", "CRPS", "spread/error", "error"]]
        for name, r in (("all", self.overall), *self._each()):
            rows.append([name, str(r.half), str(r.ninety), str(r.rank), f"{r.crps:.3f}", f"{r.spread:.2f}", f"{r.error:.3g}"])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        title = f"{self.members} samples, {self.truths} truth(s); coverage and rank: found ± standard error, of expected"
        return "\n".join([title, *lines, f"alarms: {', '.join(self.alarms()) or 'none'}"])


def calibration(ensembles: Tensor | Sequence[Tensor], truth: Tensor, where: Tensor | None = None) -> Calibration:
    """Ensembles ``(truth, sample, channel, *grid)`` against their truths, at the points ``where``.

    The mask is one ``(channel, *grid)`` for all, or one for each truth; by default every point counts.  For posteriors:
    ``calibration([p.fields for p in posteriors], truths, ~mask)``.
    """
    parts = list(ensembles)
    shapes = {str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__ for part in parts}
    if len(shapes) != 1 or not isinstance(parts[0], Tensor):
        raise InputError(
            "ensembles of one shape (sample, channel, *grid) are needed, one for each truth",
            got=", ".join(sorted(shapes)) or "none",
            why="a rank among M samples is compared with others among as many",
            hint="[p.fields for p in posteriors], with the same samples= in every reconstruct",
        )
    pools = torch.stack(parts).double().cpu()
    truth = truth.double().cpu()
    members = pools.shape[1] if pools.ndim > 3 else 0
    if members < 2 or not len(pools) or pools.shape[2:] != truth.shape[1:] or len(pools) != len(truth):
        raise InputError(
            "ensembles (truth, sample, channel, *grid) of two samples or more and as many truths are needed",
            got=f"{tuple(pools.shape)} and {tuple(truth.shape)}",
            why="each ensemble is about one truth, and one sample has no spread",
            hint="calibration(posterior.fields[None], truth[None])",
        )
    where = torch.ones(truth.shape, dtype=torch.bool) if where is None else where.cpu()
    if where.dtype != torch.bool or tuple(where.shape) not in (tuple(truth.shape), tuple(truth.shape[1:])) or not where.any():
        raise InputError(
            f"a mask of shape {tuple(truth.shape[1:])} with a point to judge is needed",
            got=f"{where.dtype} of shape {tuple(where.shape)}, {int(where.sum())} point(s)",
            why="it says where ensemble and truth are compared",
            hint="where=~mask",
        )
    where = where.expand(truth.shape)
    bad = ~torch.isfinite(pools).flatten(1).all(1) | ~torch.isfinite(truth).flatten(1).all(1)
    if bool(bad.any()):
        raise InputError(
            "finite ensembles and truths are needed",
            got=f"NaN or infinity in {int(bad.sum())} of {len(bad)} (first: {int(bad.nonzero()[0])})",
            why="a value that is no number has no rank",
            hint="a smaller guidance weight",
        )
    spread = truth.transpose(0, 1).flatten(1).std(1, correction=0)
    unit = torch.where(spread > 0, spread, 1).reshape(-1, *[1] * (truth.ndim - 2))
    pools = torch.cat([truth[:, None], pools], 1) / unit
    only = [torch.zeros_like(where) for _ in range(truth.shape[1])]
    for channel, mask in enumerate(only):
        mask[:, channel] = where[:, channel]
    return Calibration(members, len(pools), _reliability(pools, where), tuple(_judged(pools, mask) for mask in only))


def _judged(pools: Tensor, where: Tensor) -> Reliability | None:
    return _reliability(pools, where) if bool(where.any()) else None


def _reliability(pools: Tensor, where: Tensor) -> Reliability:
    """Pools have truth in the first place, all in standard deviations of truth."""
    found = [_turns(pool[:, mask]) for pool, mask in zip(pools, where, strict=True) if bool(mask.any())]
    members = pools.shape[1] - 1
    # Each field of a pool in the place of truth: (truth, field).
    half, ninety, rank = (torch.stack([one.turns[i] for one in found]) for i in range(3))
    spread, error = (torch.tensor([getattr(one, name) for one in found]).mean() for name in ("variance", "square"))
    return Reliability(
        half=_against(half, 1 - 2 * _tail(0.5, members) / (members + 1)),
        ninety=_against(ninety, 1 - 2 * _tail(0.9, members) / (members + 1)),
        rank=_against(rank, 0.5),
        crps=sum(one.crps for one in found) / len(found),
        spread=float(((members + 1) / members * spread / error.clamp_min(_TINY)).sqrt()),
        error=sum(one.error for one in found) / len(found),
        ranks=tuple(torch.stack([one.ranks for one in found]).mean(0).tolist()),
    )


@attrs.frozen(eq=False)
class _Told:
    """What one truth says."""

    turns: tuple[Tensor, Tensor, Tensor]
    ranks: Tensor
    crps: float
    variance: float
    square: float
    error: float


def _turns(pool: Float[Tensor, "pool point"]) -> _Told:
    members = len(pool) - 1
    truth, ensemble = pool[0], pool[1:]
    low, high = _ranks(pool)
    ordered = ensemble.sort(0).values
    # Σ_{i<j} (x_j − x_i) of ordered values is Σ (2i − M − 1) x_i.
    weights = torch.arange(1 - members, members, 2, dtype=pool.dtype)
    pairs = (weights[:, None] * ordered).sum(0) / (members * (members - 1) / 2)
    off = ensemble.mean(0) - truth
    return _Told(
        turns=(
            _covered(low, high, 0.5).mean(1),
            _covered(low, high, 0.9).mean(1),
            (low + high).double().mean(1) / (2 * members),
        ),
        ranks=_histogram(low[0], high[0], members),
        crps=float(((ensemble - truth).abs().mean(0) - 0.5 * pairs).mean()),
        variance=float(ensemble.var(0).mean()),
        square=float(off.square().mean()),
        error=float(off.norm() / truth.norm().clamp_min(_TINY)),
    )


def _ranks(pool: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and the highest rank that each field of a pool may have among the others: equal where there are no ties."""
    known = pool.amax(0) - pool.amin(0) <= _TIED
    values = torch.where(known, 0.0, pool).T.contiguous()
    ordered = values.sort(1).values
    low, high = (torch.searchsorted(ordered, values, right=right).T for right in (False, True))
    return low, high - 1


def _tail(level: float, members: int) -> int:
    """How many samples the interval leaves out on either side, and one: k."""
    return max(1, min(round((1 - level) / 2 * (members + 1)), members // 2))


def _covered(low: Tensor, high: Tensor, level: float) -> Tensor:
    """The share of the ranks from low to high that lie in the interval, of M + 1 fields."""
    members = len(low) - 1
    k = _tail(level, members)
    inside = torch.minimum(high, torch.tensor(members - k)) - torch.maximum(low, torch.tensor(k)) + 1
    return inside.clamp_min(0).double() / (high - low + 1)


def _histogram(low: Tensor, high: Tensor, members: int) -> Tensor:
    """Share of points at each rank, ties spread evenly over theirs."""
    share = 1 / (high - low + 1).double()
    edges = torch.zeros(members + 2, dtype=torch.float64).index_add_(0, low, share).index_add_(0, high + 1, -share)
    return edges.cumsum(0)[:-1] / len(low)


def _against(turns: Float[Tensor, "truth pool"], expected: float) -> Expected:
    """Truth's figures against those of the fields in its place."""
    error = math.sqrt(float((turns - expected).square().mean(1).sum())) / len(turns)
    return Expected(float(turns[:, 0].mean()), expected, error)
