r"""First derivatives and the transport of a field by itself, on periodic axes:
:math:`\tfrac13(u\,Du + D(u^2))` in place of :math:`u u_x`.

The central difference D is skew on periodic points, :math:`\langle v, Dw\rangle = -\langle Dv, w\rangle`.  So the advection
above leaves Σu and Σu² alone, as the equation does, at any resolution: :math:`\langle 1, \cdot\rangle = 0` and
:math:`\langle u, u\,Du + D(u^2)\rangle = 0`.

*With viscosity* it is :math:`F(u) = \tfrac13(u\,Du + D(u^2)) - \nu Lu`, L the compact second difference:
:func:`advection_diffusion`, all of it from one set of neighbours.  Its derivatives in closed form are

.. math:: F'v = \tfrac13(v\,Du + u\,Dv + 2D(uv)) - \nu Lv, \qquad
          F'^T\mu = \tfrac13(\mu\,Du - D(u\mu) - 2u\,D\mu) - \nu L\mu.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.tensors import Field

__all__ = [
    "advection_diffusion",
    "advection_diffusion_tangent",
    "advection_diffusion_transpose",
    "central_difference",
    "skew_advection",
]


def central_difference(u: Field, grid: Grid, axis: int = 0) -> Field:
    """``(u_{i+1} − u_{i−1})/2h`` along one periodic axis of the grid."""
    grid.check(u, u.shape[1])
    dim, spacing = _periodic(grid, axis)
    return (u.roll(-1, dim) - u.roll(1, dim)) / (2 * spacing)


def skew_advection(u: Field, grid: Grid, axis: int = 0) -> Field:
    """``(u Du + D(u²))/3``: u u_x along one periodic axis, conserving Σu and Σu²."""
    return (u * central_difference(u, grid, axis) + central_difference(u * u, grid, axis)) / 3


def advection_diffusion(u: Field, grid: Grid, viscosity: float, axis: int = 0) -> Field:
    """F(u) along one axis of the grid; fields on the whole grid, every line of it by itself."""
    dim, h = _periodic(grid, axis)
    below, above = _neighbours(u, dim)
    slope = above - below
    flux = slope * u + (above * above - below * below)
    return flux / (6 * h) - (above + below - 2 * u) * (viscosity / h**2)


def advection_diffusion_tangent(u: Field, v: Field, grid: Grid, viscosity: float, axis: int = 0) -> Field:
    """F′(u)v."""
    dim, h = _periodic(grid, axis)
    (below, above), (v_below, v_above) = _neighbours(u, dim), _neighbours(v, dim)
    flux = v * (above - below) + u * (v_above - v_below) + 2 * (above * v_above - below * v_below)
    return flux / (6 * h) - (v_above + v_below - 2 * v) * (viscosity / h**2)


def advection_diffusion_transpose(u: Field, w: Field, grid: Grid, viscosity: float, axis: int = 0) -> Field:
    """F′(u)ᵀw."""
    dim, h = _periodic(grid, axis)
    (below, above), (w_below, w_above) = _neighbours(u, dim), _neighbours(w, dim)
    flux = w * (above - below) - (above * w_above - below * w_below) - 2 * u * (w_above - w_below)
    return flux / (6 * h) - (w_above + w_below - 2 * w) * (viscosity / h**2)


def _periodic(grid: Grid, axis: int) -> tuple[int, float]:
    """The dimension of fields and the spacing of one axis, which must close upon itself."""
    along = grid.axes[axis]
    if along.layout != "periodic":
        raise InputError(
            "advection works on periodic points",
            got=f"an axis with layout={along.layout!r}",
            why="its skew symmetry is that of the circle",
            hint="Axis(n, extent, 'periodic')",
        )
    return axis % len(grid.axes) + 2, along.spacing


def _neighbours(u: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    n = u.shape[dim]
    around = torch.cat([u.narrow(dim, n - 1, 1), u, u.narrow(dim, 0, 1)], dim)
    return around.narrow(dim, 0, n), around.narrow(dim, 2, n)
