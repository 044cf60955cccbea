r"""The Poisson and Helmholtz residuals that the published PIRF code evaluates, to show what they reward.

**For comparison only.**  On released-style data (nodes with both ends, h = 1/(n−1)) the exact solutions score 1.16 for
Poisson and 1.06 for Helmholtz, u = 0 scores 0.083 and 0.079, and the solution of the homogeneous Neumann problem scores 1e-25.
"""

from __future__ import annotations

from typing import final

import attrs
from torch.nn.functional import pad

from pirf.grids import Axis, Grid
from pirf.operators import Neumann, laplacian
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["ReleasedHelmholtz", "ReleasedPoisson"]

_REPLICATED = Neumann(0.0)  # replicate padding is the even reflection about the outer face
_READ = attrs.Factory(lambda self: Grid(tuple(Axis(n, n / (n - 1), "cells") for n in self.grid.shape)), takes_self=True)


@final
@attrs.frozen
class ReleasedPoisson(PDEReward):
    """Δu − a with h = 1/(n−1) and replicate padding, the edges scored: a homogeneous Neumann stencil on Dirichlet data."""

    grid: Grid
    _cells: Grid = attrs.field(init=False, repr=False, eq=False, default=_READ)

    def residual(self, x: Field) -> Residual:
        """The published stencil against the given a."""
        self.grid.check(x, 2)
        return laplacian(x[:, 1:], self._cells, _REPLICATED) - x[:, :1]


@final
@attrs.frozen
class ReleasedHelmholtz(PDEReward):
    """Δu + k²u − a as in :class:`ReleasedPoisson`, with a set to zero on the edges, which are scored all the same."""

    grid: Grid
    k: float = 1.0
    _cells: Grid = attrs.field(init=False, repr=False, eq=False, default=_READ)

    def residual(self, x: Field) -> Residual:
        """The published stencil against a inside and 0 on the outermost frame."""
        self.grid.check(x, 2)
        a, u = x[:, :1], x[:, 1:]
        return laplacian(u, self._cells, _REPLICATED) + self.k**2 * u - pad(a[..., 1:-1, 1:-1], (1, 1, 1, 1))
