r"""Finite differences on uniform grids: :math:`(u_{i-1} - 2u_i + u_{i+1})/h^2` and its relatives of higher order.

On cells the boundary stands half a cell outside the outermost centres.  On nodes it stands on the end nodes, whose own value
is then an unknown with an equation of its own: :func:`edge_rows`.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.adjoints import affine
from pirf.operators.boundary import Boundary, Dirichlet, Neumann, Periodic, homogeneous
from pirf.operators.constants import constant
from pirf.tensors import Field, Residual

__all__ = ["edge_rows", "laplacian"]

# The centre's weight, then those of the neighbours at distance 1, 2, ... on either side.
_SECOND_DIFFERENCE = {2: (-2.0, 1.0), 4: (-5 / 2, 4 / 3, -1 / 12)}


def laplacian(u: Field, grid: Grid, boundary: Boundary, order: Literal[2, 4] = 2) -> Field:
    r""":math:`\Delta_h u = \sum_d \delta_d^2 u`, ghosts from ``boundary``, every point a row.

    ``order=2`` is :math:`\delta^2 u_i = (u_{i-1} - 2u_i + u_{i+1})/h^2`; ``order=4`` is
    :math:`(-u_{i-2} + 16u_{i-1} - 30u_i + 16u_{i+1} - u_{i+2})/12h^2`.  With homogeneous Dirichlet or Neumann conditions, or
    periodic, either matrix is symmetric, and the fourth-order one has the eigenvalues
    :math:`\sum_d \lambda_d - h_d^2\lambda_d^2/12` on the same modes.  Fourth order is reached where the reflected or
    periodic continuation of u is smooth; a field whose second derivative does not vanish on a Dirichlet face keeps an O(1)
    error in the outermost rows and a solution of second order, as with ``order=2``.

    Because of that symmetry the derivatives, forward and reverse, are the same stencil with homogeneous conditions.

    On an axis of nodes only ``Dirichlet`` is understood, mirrored at the end node; the rows of end nodes mean nothing by
    themselves, and :func:`edge_rows` replaces them.
    """
    grid.check(u, u.shape[1])
    if order not in _SECOND_DIFFERENCE:
        raise InputError("laplacian has order 2 or 4", got=order, why="no other stencil is tabulated", hint="order=4")
    symmetric = isinstance(boundary, (Dirichlet, Neumann, Periodic))  # another rule for ghosts need not be
    for axis in grid.axes:
        if axis.layout == "nodes":
            symmetric, least = False, len(_SECOND_DIFFERENCE[order]) + 1
            if not isinstance(boundary, Dirichlet) or axis.n < least:
                raise InputError(
                    f"laplacian works on an axis of {least} nodes or more with Dirichlet values at its ends",
                    got=f"{boundary!r} on {axis!r}",
                    why="other conditions are written for cells, half a cell from the boundary, or for periodic points",
                    hint="Dirichlet(0.0), or Axis(n, extent, 'cells')",
                )
    if not symmetric:
        return _apply(u, grid, boundary, order)
    stencil = partial(_apply, grid=grid, boundary=homogeneous(boundary), order=order)
    return affine(u, partial(_apply, grid=grid, boundary=boundary, order=order), stencil, stencil)


def _apply(u: Tensor, grid: Grid, boundary: Boundary, order: int) -> Tensor:
    centre, *arms = _SECOND_DIFFERENCE[order]
    width = len(arms)
    total = torch.zeros_like(u)
    for dim, axis in enumerate(grid.axes, start=2):
        # The mirror of an axis of nodes stands on the end node, which is not its own image.
        inside = u.narrow(dim, 1, axis.n - 2) if axis.layout == "nodes" else u
        low, high = boundary.ghosts(inside, dim, axis.spacing, width)
        padded = torch.cat([low, u, high], dim)
        second = centre * u
        for reach, weight in enumerate(arms, start=1):
            neighbours = padded.narrow(dim, width - reach, axis.n) + padded.narrow(dim, width + reach, axis.n)
            second = second.add(neighbours, alpha=weight)
        total = total.add(second, alpha=axis.spacing**-2)
    return total


def edge_rows(rows: Residual, u: Field, grid: Grid) -> Residual:
    """``rows``, with u/h in place of those at the end nodes of an axis: the equation u = 0 in the size of a slope.

    A corner takes the smaller h.  Without an axis of nodes there is nothing to replace.
    """
    if all(axis.layout != "nodes" for axis in grid.axes):
        return rows
    steepness = _steepness(grid, u.dtype, u.device)
    return torch.where(steepness > 0, steepness * u, rows)


@constant
def _steepness(grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """1/h at the end nodes, 0 elsewhere."""
    out = torch.zeros(grid.shape, dtype=torch.float64)
    for dim, axis in enumerate(grid.axes):
        if axis.layout == "nodes":
            for end in (0, -1):
                out.select(dim, end).clamp_(min=1 / axis.spacing)
    return out.to(device=device, dtype=dtype)
