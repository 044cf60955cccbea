r"""The Darcy residual that PIDM trains on (Bastek et al. 2024, arXiv 2403.14404), as its public code has it.

**For comparison only.**  The file is ``src/residuals_darcy.py`` of the authors' repository at commit 118cb2a.  At every node
(both ends, h = 1/(n−1)) three rows: :math:`-K\Delta p - \nabla K\cdot\nabla p - f`, second-order differences, one-sided at the
ends, and for each axis the outward slope of p, which is 0 but on that axis' two edges.  Training scores the mean square of all
three.  The mean of p is not among them: it is subtracted from the model's output beforehand, so that p + const is free here.

Its data are least-squares solutions of the same rows, :func:`pirf.reference.published.least_squares`: on the edges, where
equation and slope compete, they satisfy neither exactly.
"""

from __future__ import annotations

from typing import final

import attrs
import torch

from pirf.grids import Grid
from pirf.rewards.base import PDEReward
from pirf.rewards.legacy_darcy import expanded, first_difference
from pirf.rewards.sources import CornerWells, Source
from pirf.tensors import Field, Residual

__all__ = ["PIDMDarcy"]


@final
@attrs.frozen
class PIDMDarcy(PDEReward):
    """The expanded divergence and the slopes at the edges, three rows per node; channels (K, p)."""

    grid: Grid
    source: Source = CornerWells()

    def residual(self, x: Field) -> Residual:
        """The spacing is 1/(n−1), whatever the layout of the grid."""
        self.grid.check(x, 2)
        p = x[:, 1:]
        spacings = tuple(1 / (n - 1) for n in self.grid.shape)
        rows = [-expanded(x[:, :1], p, spacings, self.source.values(self.grid).to(p))]
        for dim, spacing in enumerate(spacings, start=2):
            slope = first_difference(p, dim, spacing)
            edges = torch.zeros_like(p)
            edges.select(dim, 0).copy_(-slope.select(dim, 0))
            edges.select(dim, -1).copy_(slope.select(dim, -1))
            rows.append(edges)
        return torch.cat(rows, 1)
