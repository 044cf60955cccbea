r"""Finite differences on uniform cells: :math:`(u_{i-1} - 2u_i + u_{i+1})/h^2` and its relatives of higher order."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.adjoints import affine
from pirf.operators.boundary import Boundary, Dirichlet, Neumann, Periodic, homogeneous
from pirf.tensors import Field

__all__ = ["laplacian"]

# The centre's weight, then those of the neighbours at distance 1, 2, ... on either side.
_SECOND_DIFFERENCE = {2: (-2.0, 1.0), 4: (-5 / 2, 4 / 3, -1 / 12)}


def laplacian(u: Field, grid: Grid, boundary: Boundary, order: Literal[2, 4] = 2) -> Field:
    r""":math:`\Delta_h u = \sum_d \delta_d^2 u`, ghosts from ``boundary``, every cell a row.

    ``order=2`` is :math:`\delta^2 u_i = (u_{i-1} - 2u_i + u_{i+1})/h^2`; ``order=4`` is
    :math:`(-u_{i-2} + 16u_{i-1} - 30u_i + 16u_{i+1} - u_{i+2})/12h^2`.  With homogeneous Dirichlet or Neumann conditions, or
    periodic, either matrix is symmetric, and the fourth-order one has the eigenvalues
    :math:`\sum_d \lambda_d - h_d^2\lambda_d^2/12` on the same modes.  Fourth order is reached where the reflected or
    periodic continuation of u is smooth; a field whose second derivative does not vanish on a Dirichlet face keeps an O(1)
    error in the outermost rows and a solution of second order, as with ``order=2``.

    Because of that symmetry the derivatives, forward and reverse, are the same stencil with homogeneous conditions.
    """
    grid.check(u, u.shape[1])
    if order not in _SECOND_DIFFERENCE:
        raise InputError("laplacian has order 2 or 4", got=order, why="no other stencil is tabulated", hint="order=4")
    for axis in grid.axes:
        if axis.layout == "nodes":
            raise InputError(
                "laplacian works on cells or periodic points",
                got="an axis with layout='nodes'",
                why="ghost values are defined half a cell outside the outermost centres",
                hint="Axis(n, extent, 'cells')",
            )
    if not isinstance(boundary, (Dirichlet, Neumann, Periodic)):  # another rule for ghosts need not be symmetric
        return _apply(u, grid, boundary, order)
    stencil = partial(_apply, grid=grid, boundary=homogeneous(boundary), order=order)
    return affine(u, partial(_apply, grid=grid, boundary=boundary, order=order), stencil, stencil)


def _apply(u: Tensor, grid: Grid, boundary: Boundary, order: int) -> Tensor:
    centre, *arms = _SECOND_DIFFERENCE[order]
    width = len(arms)
    total = torch.zeros_like(u)
    for dim, axis in enumerate(grid.axes, start=2):
        low, high = boundary.ghosts(u, dim, axis.spacing, width)
        padded = torch.cat([low, u, high], dim)
        second = centre * u
        for reach, weight in enumerate(arms, start=1):
            neighbours = padded.narrow(dim, width - reach, axis.n) + padded.narrow(dim, width + reach, axis.n)
            second = second.add(neighbours, alpha=weight)
        total = total.add(second, alpha=axis.spacing**-2)
    return total
