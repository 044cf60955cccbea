r"""First derivatives and the transport of a field by itself, on periodic axes:
:math:`\tfrac13(u\,Du + D(u^2))` in place of :math:`u u_x`.

The central difference D is skew on periodic points, :math:`\langle v, Dw\rangle = -\langle Dv, w\rangle`.  So the advection
above leaves Σu and Σu² alone, as the equation does, at any resolution: :math:`\langle 1, \cdot\rangle = 0` and
:math:`\langle u, u\,Du + D(u^2)\rangle = 0`.
"""

from __future__ import annotations

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.tensors import Field

__all__ = ["central_difference", "skew_advection"]


def central_difference(u: Field, grid: Grid, axis: int = 0) -> Field:
    """``(u_{i+1} − u_{i−1})/2h`` along one periodic axis of the grid."""
    grid.check(u, u.shape[1])
    along = grid.axes[axis]
    if along.layout != "periodic":
        raise InputError(
            "central_difference works on periodic points",
            got=f"an axis with layout={along.layout!r}",
            why="its skew symmetry is that of the circle",
            hint="Axis(n, extent, 'periodic')",
        )
    dim = axis % len(grid.axes) + 2
    return (u.roll(-1, dim) - u.roll(1, dim)) / (2 * along.spacing)


def skew_advection(u: Field, grid: Grid, axis: int = 0) -> Field:
    """``(u Du + D(u²))/3``: u u_x along one periodic axis, conserving Σu and Σu²."""
    return (u * central_difference(u, grid, axis) + central_difference(u * u, grid, axis)) / 3
