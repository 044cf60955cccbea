r"""Finite differences of second order on uniform cells: :math:`(u_{i-1} - 2u_i + u_{i+1})/h^2` and its relatives."""

from __future__ import annotations

import torch

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.boundary import Boundary
from pirf.tensors import Field

__all__ = ["laplacian"]


def laplacian(u: Field, grid: Grid, boundary: Boundary) -> Field:
    r""":math:`\Delta_h u = \sum_d (u_{-d} - 2u + u_{+d})/h_d^2`, ghosts from ``boundary``, every cell a row.

    With homogeneous Dirichlet or Neumann conditions, or periodic, the matrix is symmetric.
    """
    grid.check(u, u.shape[1])
    total = torch.zeros_like(u)
    for dim, axis in enumerate(grid.axes, start=2):
        if axis.layout == "nodes":
            raise InputError(
                "laplacian works on cells or periodic points",
                got="an axis with layout='nodes'",
                why="ghost values are defined half a cell outside the outermost centres",
                hint="Axis(n, extent, 'cells')",
            )
        low, high = boundary.ghosts(u, dim, axis.spacing)
        padded = torch.cat([low, u, high], dim)
        total = total + (padded.narrow(dim, 0, axis.n) - 2 * u + padded.narrow(dim, 2, axis.n)) / axis.spacing**2
    return total
