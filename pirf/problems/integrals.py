r"""Integral laws and quantities: what a physicist would check by hand, from fields alone, without the reward's operators.

:func:`outflow` is Gauss's theorem on cells: of the flux :math:`-a\nabla p`, what leaves a box of them.  In a conservative
scheme it is a sum of rows, :math:`h^2\sum_{i \in V} (A(a)p)_i`, so such a balance holds wherever the residual is zero and
follows from it; it is its readable form, and easier to meet than every row.  A law that says more than the residual says so
where it is defined.

Quantities are one number per sample in units of their natural size, so that a difference of 1 % of it counts as small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pirf.grids import Grid
from pirf.tensors import Field

__all__ = ["integral", "interface_length", "outflow"]


def integral(f: Field, grid: Grid) -> Tensor:
    """∫f over the grid's cells, ``(batch,)``."""
    return f.flatten(1).sum(1) * math.prod(grid.spacing)


def outflow(a: Field, p: Field, grid: Grid, box: Sequence[slice] = (), *, walls: bool) -> Tensor:
    """∮ −a∇p·n around the cells of ``box`` (all by default), ``(batch,)``: harmonic faces between cells.

    Through the outer faces of the grid flows, with ``walls``, what half a cell of a lets pass to p = 0, and else nothing.
    """
    inside = torch.zeros(grid.shape, dtype=p.dtype, device=p.device)
    inside[tuple(box)] = 1.0
    total = torch.zeros(len(p), dtype=p.dtype, device=p.device)
    for dim, axis in enumerate(grid.axes):
        (a_low, a_high), (p_low, p_high) = _pairs(a, dim + 2), _pairs(p, dim + 2)
        low, high = _pairs(inside, dim)
        flow = 2 * a_low * a_high / (a_low + a_high) * (p_low - p_high) * (low - high)
        through = flow.flatten(1).sum(1)
        if walls:
            leak = 2 * a * p * inside
            through = through + sum(leak.select(dim + 2, end).flatten(1).sum(1) for end in (0, axis.n - 1))
        total = total + through * math.prod(grid.spacing) / axis.spacing**2
    return total


def interface_length(phase: Field, grid: Grid) -> Tensor:
    """Area of the faces across which ``phase`` changes, ``(batch,)``: in the plane, the length of a staircase of cell edges."""
    total = torch.zeros(len(phase), dtype=torch.float64, device=phase.device)
    for dim, axis in enumerate(grid.axes, start=2):
        low, high = _pairs(phase, dim)
        total = total + (low != high).flatten(1).sum(1) * math.prod(grid.spacing) / axis.spacing
    return total


def _pairs(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The cells on either side of each inner face."""
    n = x.shape[dim]
    return x.narrow(dim, 0, n - 1), x.narrow(dim, 1, n - 1)
