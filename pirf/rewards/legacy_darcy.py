r"""The Darcy residuals of the published PIRF code, by our reading of it, so that ``pirf.verify`` can show what they reward.

**For comparison only.**  They expand the divergence, :math:`a\,\Delta p + \nabla a\cdot\nabla p + f`, with central
differences inside and one-sided ones at the edges, and know no boundary condition, so that p + const scores as p does.  A
jump of a does not have these derivatives: few cells carry nearly all of the residual, and p = 0 scores better than exact data.
The two-phase one also thresholds a, so that no gradient reaches it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.grids import Grid
from pirf.rewards.base import PDEReward
from pirf.rewards.sources import CornerWells, Source, Uniform
from pirf.tensors import Field, Residual

__all__ = ["ReleasedDarcy", "ReleasedDarcyLognormal", "expanded", "first_difference"]


@final
@attrs.frozen
class ReleasedDarcy(PDEReward):
    """Non-conservative, no boundary condition, a thresholded to 3 or 12 without a gradient."""

    grid: Grid
    source: Source = Uniform(1.0)

    def residual(self, x: Field) -> Residual:
        """A plain threshold: its derivative is 0 almost everywhere."""
        self.grid.check(x, 2)
        a, p = torch.where(x[:, :1] >= 7.5, 12.0, 3.0).to(x), x[:, 1:]
        return expanded(a, p, self.grid.spacing, self.source.values(self.grid).to(p))


@final
@attrs.frozen
class ReleasedDarcyLognormal(PDEReward):
    """Non-conservative, no boundary condition, permeability as it comes."""

    grid: Grid
    source: Source = CornerWells()

    def residual(self, x: Field) -> Residual:
        """The published spacing is 1/n."""
        self.grid.check(x, 2)
        return expanded(x[:, :1], x[:, 1:], self.grid.spacing, self.source.values(self.grid).to(x))


def expanded(a: Field, p: Field, spacings: Sequence[float], source: Tensor) -> Field:
    """The expanded divergence a Δp + ∇a·∇p + source: second order everywhere, one-sided at the ends."""
    total = source.expand(p.shape)
    for dim, spacing in enumerate(spacings, start=2):
        slopes = first_difference(a, dim, spacing) * first_difference(p, dim, spacing)
        total = total + slopes + a * _second(p, dim, spacing)
    return total


def first_difference(f: Tensor, dim: int, spacing: float) -> Tensor:
    """(−1, 0, 1)/2h inside, (−3, 4, −1)/2h at the ends."""
    n, at = f.shape[dim], f.narrow
    low = -3 * at(dim, 0, 1) + 4 * at(dim, 1, 1) - at(dim, 2, 1)
    high = 3 * at(dim, n - 1, 1) - 4 * at(dim, n - 2, 1) + at(dim, n - 3, 1)
    return torch.cat([low, at(dim, 2, n - 2) - at(dim, 0, n - 2), high], dim) / (2 * spacing)


def _second(f: Tensor, dim: int, spacing: float) -> Tensor:
    """(1, −2, 1)/h² inside, (2, −5, 4, −1)/h² at the ends."""
    n, at = f.shape[dim], f.narrow
    low = 2 * at(dim, 0, 1) - 5 * at(dim, 1, 1) + 4 * at(dim, 2, 1) - at(dim, 3, 1)
    high = 2 * at(dim, n - 1, 1) - 5 * at(dim, n - 2, 1) + 4 * at(dim, n - 3, 1) - at(dim, n - 4, 1)
    return torch.cat([low, at(dim, 2, n - 2) - 2 * at(dim, 1, n - 2) + at(dim, 0, n - 2), high], dim) / spacing**2
