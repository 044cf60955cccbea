r"""**Heat**: :math:`u_t = \kappa\Delta u` between walls without flux; channels (u0, u1), the temperature at times 0 and T.

*Discrete law.*  Cell centres, even ghosts: no heat passes the faces of the wall.  The residual
:math:`r = u_1 - e^{\kappa T\Delta_h} u_0`, through cosines, has a row per cell and the unit of a temperature.  It is the law of
:func:`pirf.reference.heat.solve`, written again from the equation, on boxes of any dimension.

*Why this form.*  :math:`e^{\kappa T\Delta_h}` averages with positive weights: an error in u0 enters with a factor of 1 at
most, one in u1 with the factor 1.  The equation solved for u0, :math:`u_0 - e^{-\kappa T\Delta_h} u_1`, has the same zeros and
is useless: it multiplies the rounding errors of u1 by up to :math:`e^{8\kappa T/h^2}` on square cells.  The residual *is* the
error in u1, so that there is no other solution norm.

*Good values.*  S is the mean square of u1, so that ρ = MSE/S is 1 on average for u1 = 0.

*How to cheat.*  The equation says nothing about the fine structure of u0: it leaves no trace in u1, and any u0 with the right
large scales scores well.  Constants and shrunken pairs solve the equation.  Watch the spectrum of u0, and the variance ratios.
"""

from __future__ import annotations

from typing import final

import attrs

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.transforms import dct, idct, neumann_spectrum
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["Heat"]


def _cells(reward: object, attribute: object, grid: Grid) -> None:
    if any(axis.layout != "cells" for axis in grid.axes):
        raise InputError(
            "Heat works on cells",
            got=f"layouts {', '.join(axis.layout for axis in grid.axes)}",
            why="its walls are faces half a cell outside the outermost centres",
            hint="Axis(n, extent, 'cells')",
        )


@final
@attrs.frozen
class Heat(PDEReward):
    """u_t = κ Δu without flux through the walls, from u0 at time 0 to u1 at time ``duration``."""

    grid: Grid = attrs.field(validator=_cells)
    diffusivity: float = attrs.field(default=0.01, validator=attrs.validators.gt(0))
    duration: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def residual(self, x: Field) -> Residual:
        """What u1 has more than the heat that is left of u0, ``(batch, 1, *grid)``."""
        self.grid.check(x, 2)
        u0, u1 = x[:, :1], x[:, 1:]
        damping = (self.diffusivity * self.duration * neumann_spectrum(self.grid, x)).exp()
        return u1 - idct(damping * dct(u0))
