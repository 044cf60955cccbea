r"""**Elasticity**: :math:`-\nabla\cdot\sigma = 0`, :math:`\sigma = E\,C(\bar\varepsilon + \varepsilon(u))` on a torus.

Channels (E, u_x, u_y): Young's modulus of each element and, at each node, the displacement beyond that of the mean strain
:math:`\bar\varepsilon`, periodic and of mean 0.  Plane strain, Poisson's ratio the same everywhere.

*Discrete law.*  Bilinear finite elements, :math:`r(E, u) = D^T E M(Du + \bar\varepsilon) + \bar u`
(:mod:`pirf.operators.elements`): at each node the force per area, which does not depend on the mesh.  The energies of all
deformations are integrated exactly, so that checkerboards cost what they should.  Translations would be free; every row adds
the mean of its component, which is orthogonal to all forces.  The law is that of :mod:`pirf.reference.elasticity`, which
assembles it at Gauss points.

*The modulus as read.*  Below ``least`` E counts as ``least``: a solver refuses E ≤ 0, and a model may pass through it.

*Two norms.*  ``norm="l2"`` scores :math:`-\overline{r^2}`.  ``norm="solution"`` scores :math:`-\overline{e^2}` with
:math:`A(E)e = r`, the error in u itself in units of ``scale``; its gradient costs one more solve.

*Good values.*  S is the mean square of :math:`\nabla\cdot(E\,C\bar\varepsilon)`, known in closed form: ρ is about 1 for u = 0.
``problem.floor`` is what solutions score in float32.

*How to cheat.*  An even modulus with u = 0 is a solution, and (2E, u) is one whenever (E, u) is, for the load is a strain.
Watch the law of E: the variance ratios, w1.
"""

from __future__ import annotations

from typing import Any, Literal, final

import attrs
from torch import Tensor

from pirf.grids import Grid
from pirf.operators import elements
from pirf.operators.equilibrium import solve_stress_divergence
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["Elasticity"]


def _torus(instance: object, attribute: attrs.Attribute[Any], grid: Grid) -> None:
    elements.require_torus(grid)


@final
@attrs.frozen
class Elasticity(PDEReward):
    """−∇·(E C(ε̄ + ε(u))) = 0; ``strain`` is ε̄ as (ε_xx, ε_yy, 2ε_xy), ``ratio`` Poisson's, ``scale`` the unit of u."""

    grid: Grid = attrs.field(validator=_torus)
    strain: elements.Strain = attrs.field(default=(1.0, 0.0, 1.0), converter=elements.mean_strain)
    ratio: float = attrs.field(default=0.3, validator=[attrs.validators.gt(-1), attrs.validators.lt(0.5)])
    norm: Literal["l2", "solution"] = attrs.field(default="l2", validator=attrs.validators.in_(("l2", "solution")))
    scale: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    least: float = attrs.field(default=0.01, validator=attrs.validators.gt(0))

    def residual(self, x: Field) -> Residual:
        """The two components of the force per area (plus the mean of u), or the error A(E)⁻¹r in units of ``scale``."""
        self.grid.check(x, 3)
        modulus, u = self.modulus(x[:, :1]), x[:, 1:]
        r = elements.stress_divergence(modulus, u, self.grid, self.ratio, self.strain) + u.mean((2, 3), keepdim=True)
        return r if self.norm == "l2" else solve_stress_divergence(modulus, r, self.grid, self.ratio) / self.scale

    def modulus(self, e: Field) -> Field:
        """E as the equation reads it: bounded below."""
        return e.clamp_min(self.least)

    def stress(self, x: Field) -> Tensor:
        """The mean stress of each element, (σ_xx, σ_yy, σ_xy), ``(batch, 3, n, m)``."""
        self.grid.check(x, 3)
        deformed = elements.deformation(x[:, 1:], self.grid)
        return self.modulus(x[:, :1]) * elements.unit_stress(deformed, self.grid, self.ratio, self.strain)[:, :3]
