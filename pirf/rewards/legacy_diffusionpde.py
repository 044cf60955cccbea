r"""The residuals by which DiffusionPDE guides its samples (Huang et al. 2024, arXiv 2406.17763), as its public code has them.

**For comparison only.**  The files are ``scripts/generate_*.py`` of the authors' repository (Poisson and Helmholtz at commit
8fd6f44, Darcy at 9c8ff76, Burgers at e286dd1).  The guidance differentiates their Euclidean norm; here they are scored like
every residual, by the mean square.

- *Poisson, Helmholtz*: five points on nodes with both ends, h = 1/(n−1), and the outermost frame of rows set to 0.  Their own
  data satisfies it exactly, but u on the boundary is not scored: any discrete harmonic function may be added, a constant too.
- *Darcy*: :math:`D(aDp) + 1` with D the central difference at **spacing 1** where the nodes are 1/(n−1) apart, zeros outside.
  The flux term is then :math:`(n-1)^2 \approx 10^4` times too small to matter: truth and p = 0 both score 1.
- *Burgers*: :math:`D_tu + uD_xu - 0.01\,D_xD_xu`, again at spacing 1, zeros outside.  With equal steps in t and x the first two
  terms are only scaled; the viscosity is too small by the factor h, and the zeros beyond the four edges are jumps.

*Unverified*: whether the distributed Burgers files are ordered (t, x), as the code that generates and guides has it, or (x, t),
as its description has it; and an earlier Burgers script (commit e26b2a6) whose differences all have the opposite sign, so that
the viscosity has as well: we do not know which one produced the paper's figures.
"""

from __future__ import annotations

from typing import final

import attrs
import torch
from torch import Tensor
from torch.nn.functional import pad

from pirf.grids import Grid
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["DiffusionPDEBurgers", "DiffusionPDEDarcy", "DiffusionPDEHelmholtz", "DiffusionPDEPoisson"]


@final
@attrs.frozen
class DiffusionPDEPoisson(PDEReward):
    """Δu − a on the inner nodes, h = 1/(n−1); the rows of the outermost frame are 0."""

    grid: Grid

    def residual(self, x: Field) -> Residual:
        """What lies outside the grid never enters."""
        self.grid.check(x, 2)
        return _inside(_five_points(x[:, 1:]) - x[:, :1])


@final
@attrs.frozen
class DiffusionPDEHelmholtz(PDEReward):
    """Δu + u − a on the inner nodes; k = 1 is written into it."""

    grid: Grid

    def residual(self, x: Field) -> Residual:
        """As for Poisson."""
        self.grid.check(x, 2)
        a, u = x[:, :1], x[:, 1:]
        return _inside(_five_points(u) + u - a)


@final
@attrs.frozen
class DiffusionPDEDarcy(PDEReward):
    """D(aDp) + 1 with central differences at spacing 1, every node a row, a as it comes."""

    grid: Grid

    def residual(self, x: Field) -> Residual:
        """A difference of differences, so that a checkerboard in p is invisible inside."""
        self.grid.check(x, 2)
        a, p = x[:, :1], x[:, 1:]
        return sum((_central(a * _central(p, dim), dim) for dim in (2, 3)), torch.ones_like(p))


@final
@attrs.frozen
class DiffusionPDEBurgers(PDEReward):
    """D_t u + u D_x u − 0.01 D_x D_x u with central differences at spacing 1, every point a row."""

    grid: Grid

    def residual(self, x: Field) -> Residual:
        """Zeros outside, in time and on the circle."""
        self.grid.check(x, 1)
        slope = _central(x, 3)
        return _central(x, 2) + x * slope - 0.01 * _central(slope, 3)


def _five_points(u: Field) -> Tensor:
    """Rows of the outermost frame are of no consequence."""
    total = torch.zeros_like(u)
    for dim in (2, 3):
        total = total + (u.roll(1, dim) - 2 * u + u.roll(-1, dim)) * (u.shape[dim] - 1) ** 2
    return total


def _inside(rows: Tensor) -> Tensor:
    return pad(rows[..., 1:-1, 1:-1], (1, 1, 1, 1))


def _central(u: Tensor, dim: int) -> Tensor:
    n, zero = u.shape[dim], torch.zeros_like(u.narrow(dim, 0, 1))
    padded = torch.cat([zero, u, zero], dim)
    return (padded.narrow(dim, 2, n) - padded.narrow(dim, 0, n)) / 2
