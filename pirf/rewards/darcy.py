r"""**Darcy**: :math:`-\nabla\cdot(a\nabla p) = f` on the unit square; channels (a, p), permeability and pressure.

*Discrete law.*  Finite volumes on cell centres, :math:`r(a, p) = A(a)p - f`, harmonic faces.  With p = 0 on the boundary
(half a cell away: transmissibility 2a) the matrix is definite, so that r vanishes on the solution and nowhere else.  With no
flux, p + const would be free: every row then adds :math:`\bar p`, which is orthogonal to all fluxes, and the solution has
mean 0.  The operator is that of :mod:`pirf.reference.darcy`, written again.

*The permeability as read.*  Below ``least`` a counts as ``least``: a solver refuses a ≤ 0, and a model may pass through it.
``levels=(low, high)`` reads the nearer of two values instead, with the gradient passed straight through; a plain threshold
would have none.

*Two norms.*  ``norm="l2"`` scores :math:`-\overline{r^2}`.  ``norm="solution"`` scores :math:`-\overline{e^2}` with
:math:`A(a)e = r`, the error in p itself in units of ``scale``; its gradient costs one more solve.

*Good values.*  S is the mean square of f, 1 for the uniform source: ρ = 1 for p = 0.  ``problem.floor`` is what solutions
score in float32.

*How to cheat.*  (2a, p/2) and any other permeability, a ≡ 12 or a blurred one, with its own p, score as truth does.  Watch
the law of a: the variance ratios, w1.
"""

from __future__ import annotations

from typing import Any, Literal, final

import attrs
import torch

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import Dirichlet, Neumann, flux_divergence, solve_flux_divergence
from pirf.rewards.base import PDEReward
from pirf.rewards.sources import Source, Uniform
from pirf.tensors import Field, Residual

__all__ = ["Darcy"]


def _value_or_flux(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, (Dirichlet, Neumann)):
        raise InputError(
            "the boundary of Darcy holds a pressure or a flux",
            got=repr(value),
            why="the solution is fixed by its boundary or by its mean",
            hint="Dirichlet(0.0) or Neumann(0.0)",
        )


def _ordered(instance: object, attribute: attrs.Attribute[Any], value: tuple[float, float] | None) -> None:
    if value is not None and not 0 < value[0] < value[1]:
        raise InputError(
            "levels are two permeabilities, the lower one first",
            got=value,
            why="each cell is read as the nearer of the two",
            hint="levels=(3.0, 12.0)",
        )


@final
@attrs.frozen
class Darcy(PDEReward):
    """−∇·(a∇p) = source, cell-centred; ``scale`` is the unit of p in the solution norm."""

    grid: Grid
    boundary: Dirichlet | Neumann = attrs.field(default=Dirichlet(0.0), validator=_value_or_flux)
    source: Source = Uniform(1.0)
    norm: Literal["l2", "solution"] = attrs.field(default="l2", validator=attrs.validators.in_(("l2", "solution")))
    scale: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    least: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    levels: tuple[float, float] | None = attrs.field(default=None, validator=_ordered)

    def residual(self, x: Field) -> Residual:
        """A(a)p − f (plus the mean of p without a boundary value), or the error A(a)⁻¹r in units of ``scale``."""
        self.grid.check(x, 2)
        a, p = self.permeability(x[:, :1]), x[:, 1:]
        r = flux_divergence(a, p, self.grid, self.boundary) - self.source.values(self.grid).to(p)
        if isinstance(self.boundary, Neumann):
            r = r + p.mean(tuple(range(1, p.ndim)), keepdim=True)
        if self.norm == "solution":
            return solve_flux_divergence(a, r, self.grid, self.boundary) / self.scale
        return r

    def permeability(self, a: Field) -> Field:
        """``a`` as the equation reads it: bounded below, or the nearer of two levels."""
        if self.levels is None:
            return a.clamp_min(self.least)
        low, high = self.levels
        nearer = torch.where(a.detach() >= (low + high) / 2, high, low)
        return nearer + (a - a.detach())  # the last term is 0 and carries the gradient
