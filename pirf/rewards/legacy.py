r"""The residuals that the published PIRF code evaluates, reproduced so that ``pirf.verify`` can show what they reward.

**For comparison only.**  On released-style Poisson data (nodes with both ends, h = 1/(n−1)) the exact solutions score
1.16, u = 0 scores 0.083, and the solution of the homogeneous Neumann problem scores 1e-25.
"""

from __future__ import annotations

from typing import final

import attrs

from pirf.grids import Axis, Grid
from pirf.operators import Neumann, laplacian
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["ReleasedPoisson"]


@final
@attrs.frozen
class ReleasedPoisson(PDEReward):
    """Δu − a with h = 1/(n−1) and replicate padding, the edges scored: a homogeneous Neumann stencil on Dirichlet data."""

    grid: Grid

    def residual(self, x: Field) -> Residual:
        """Replicate padding is the even reflection about the outer face."""
        self.grid.check(x, 2)
        stencil = Grid(tuple(Axis(n, n / (n - 1), "cells") for n in self.grid.shape))
        return laplacian(x[:, 1:], stencil, Neumann(0.0)) - x[:, :1]
