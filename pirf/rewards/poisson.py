r"""**Poisson**: :math:`\Delta u = a` on the unit square, u = 0 on the boundary; channels (a, u).

*Discrete law.*  Cell centres, five points, odd ghosts (u_ghost = −u_edge puts the zero on the face): every cell is a row,
the matrix is symmetric and has no kernel, so ``r(a, u) = Δ_h u − a`` vanishes on the solutions and nowhere else.  It is the
operator of :func:`pirf.reference.poisson.solve`, written again from the equation.

*Nodes with both ends*, as imported data often stand: the same five points at the inner nodes, and u/h = 0 on the edge, where
a does not enter (:func:`pirf.reference.poisson.solve_nodal`).

*Two norms.*  ``norm="l2"`` scores :math:`-\overline{r^2}`.  ``norm="solution"`` scores :math:`-\overline{e^2}/\overline{u^2}`
with :math:`e = \Delta_h^{-1} r = u - \Delta_h^{-1} a`, the error in u itself, relative to ``scale``.  The first is dominated by
grid-scale noise; the second is far better conditioned.

*Adjoint.*  :math:`(\lambda_a, \lambda_u) = (-\lambda, \Delta_h\lambda)`; in the solution norm
:math:`(-\Delta_h^{-1}\lambda, \lambda)`, which is what autograd makes of a product with matrices.

*Good values.*  The mean square of a is S = 0.0853, so ρ = MSE/S is 1 for u = 0.
``problem.floor`` is what solutions score in float32.

*How to cheat.*  Any (c·a, c·u) scales r² by c²: shrinking amplitudes please every residual.  Watch the variance ratios.
"""

from __future__ import annotations

from typing import Literal, final

import attrs
import torch

from pirf.grids import Grid
from pirf.operators import Dirichlet, edge_rows, laplacian, solve_dirichlet
from pirf.operators.adjoints import affine
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["Poisson"]

_WALLS = Dirichlet(0.0)


@final
@attrs.frozen
class Poisson(PDEReward):
    """Δu = a with u = 0 on the boundary, on cells or nodes; ``scale`` is the unit of u in the solution norm."""

    grid: Grid
    norm: Literal["l2", "solution"] = attrs.field(default="l2", validator=attrs.validators.in_(("l2", "solution")))
    scale: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def residual(self, x: Field) -> Residual:
        """Δu − a, or the error u − Δ⁻¹a in units of ``scale``."""
        self.grid.check(x, 2)
        if self.norm == "solution":
            return (x[:, 1:] - solve_dirichlet(x[:, :1], self.grid)) / self.scale
        if any(axis.layout == "nodes" for axis in self.grid.axes):  # the rows of the edge make the matrix unsymmetric
            return edge_rows(self._rows(x), x[:, 1:], self.grid)
        return affine(x, self._rows, self._rows, self._transposed)

    def _rows(self, x: Field) -> Residual:
        return laplacian(x[:, 1:], self.grid, _WALLS) - x[:, :1]

    def _transposed(self, w: Residual) -> Field:
        return torch.cat([-w, laplacian(w, self.grid, _WALLS)], 1)
