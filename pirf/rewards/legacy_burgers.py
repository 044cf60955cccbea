r"""The Burgers residual that the published PIRF code evaluates, reproduced so that ``pirf.verify`` can show what it rewards.

**For comparison only.**  Replicate padding on periodic data, Δt = 1/n where the n frames are 1/(n−1) apart, u_xx as a central
difference of a central difference: the edges of exact data score badly, every checkerboard is invisible, constants score 0.
"""

from __future__ import annotations

from typing import final

import attrs
import torch
from torch import Tensor

from pirf.grids import Grid
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["ReleasedBurgers"]


@final
@attrs.frozen
class ReleasedBurgers(PDEReward):
    """u_t + u u_x − 0.01 u_xx by central differences with replicate padding in time and in space, every point a row."""

    grid: Grid

    def residual(self, x: Field) -> Residual:
        """The spacing is 1/n along both axes, whatever the layout."""
        self.grid.check(x, 1)
        u_x = _central(x, 3)
        return _central(x, 2) + x * u_x - 0.01 * _central(u_x, 3)


def _central(u: Field, dim: int) -> Tensor:
    n = u.shape[dim]
    padded = torch.cat([u.narrow(dim, 0, 1), u, u.narrow(dim, -1, 1)], dim)
    return (padded.narrow(dim, 2, n) - padded.narrow(dim, 0, n)) * (n / 2)
