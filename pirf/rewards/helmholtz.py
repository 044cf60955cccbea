r"""**Helmholtz**: :math:`\Delta u + k^2 u = a` on a rectangle, u = 0 on the boundary; channels (a, u).

*Discrete law.*  Cell centres, five points, odd ghosts, as in :mod:`pirf.rewards.poisson`: every cell is a row of
``r(a, u) = A u − a`` with :math:`A = \Delta_h + k^2 = A^T`.  Where :math:`k^2` is an eigenvalue of :math:`-\Delta_h`, A has a
kernel: a solution plus any multiple of that mode is a solution again, and most a have none.  Such a k (to a relative 1e-6 in
:math:`k^2`) is refused, on the discrete eigenvalues, which are slightly below the continuous
:math:`\pi^2(i^2/w^2 + j^2/h^2)`.  Above the first of them (:math:`2\pi^2` on the unit square, k = 4.44) A is indefinite: the
law and its solver are as exact as before, but :math:`A^{-1}` amplifies the modes next to :math:`k^2`, and a grid that resolves
a and u may still shift their resonances.

On nodes with both ends, where imported data often stand: the same at the inner nodes, with eigenvalues of their own, and
u/h = 0 on the edge, where a does not enter (:func:`pirf.reference.helmholtz.solve_nodal`).

*Two norms.*  ``norm="l2"`` scores :math:`-\overline{r^2}`.  ``norm="solution"`` scores :math:`-\overline{e^2}` with
:math:`e = A^{-1} r = u - A^{-1} a`, the error in u itself, in units of ``scale``; it is the better conditioned one, unless k is
close to a resonance.

*Adjoint.*  :math:`(\lambda_a, \lambda_u) = (-\lambda, A\lambda)`; in the solution norm :math:`(-A^{-1}\lambda, \lambda)`.

*Good values.*  The mean square of a is S = 0.0853, so ρ = MSE/S is 1 for u = 0.  ``problem.floor`` is what solutions score in
float32.

*How to cheat.*  Any (c·a, c·u) scales r² by c²: watch the variance ratios.  For small k the solution for k = 0 is a cheap
imitation: it misses by :math:`k^2 u` alone, so judge k by the solution norm.
"""

from __future__ import annotations

import math
from typing import Literal, final

import attrs
import torch

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import Dirichlet, edge_rows, laplacian, solve_dirichlet
from pirf.operators.adjoints import affine
from pirf.operators.transforms import dirichlet_spectrum
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["Helmholtz"]

_WALLS = Dirichlet(0.0)


@final
@attrs.frozen
class Helmholtz(PDEReward):
    """Δu + k²u = a with u = 0 on the boundary, on cells or nodes; ``scale`` is the unit of u in the solution norm."""

    grid: Grid
    k: float = 1.0
    norm: Literal["l2", "solution"] = attrs.field(default="l2", validator=attrs.validators.in_(("l2", "solution")))
    scale: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if not 0 <= self.k < math.inf:
            raise InputError("a wave number k ≥ 0 is needed", got=self.k, why="the equation reads Δu + k²u = a", hint="k=1.0")
        modes = -dirichlet_spectrum(self.grid, torch.zeros((), dtype=torch.float64))
        nearest = float(modes.flatten()[(modes - self.k**2).abs().argmin()])
        if abs(nearest - self.k**2) <= 1e-6 * nearest:
            raise InputError(
                "k² must stay off the eigenvalues of the discrete −Δ",
                got=f"k={self.k!r}, k²={self.k**2:.9g} on the eigenvalue {nearest:.9g}",
                why="at a resonance the operator is singular, and solutions are neither certain to exist nor unique",
                hint=f"k={self.k * 1.01:.4g}",
            )

    def residual(self, x: Field) -> Residual:
        """Δu + k²u − a, or the error u − (Δ + k²)⁻¹a in units of ``scale``."""
        self.grid.check(x, 2)
        if self.norm == "solution":
            return (x[:, 1:] - solve_dirichlet(x[:, :1], self.grid, shift=self.k**2)) / self.scale
        if any(axis.layout == "nodes" for axis in self.grid.axes):  # the rows of the edge make the matrix unsymmetric
            return edge_rows(self._rows(x), x[:, 1:], self.grid)
        return affine(x, self._rows, self._rows, self._transposed)

    def _rows(self, x: Field) -> Residual:
        return self._operator(x[:, 1:]) - x[:, :1]

    def _transposed(self, w: Residual) -> Field:
        return torch.cat([-w, self._operator(w)], 1)

    def _operator(self, u: Field) -> Field:
        return laplacian(u, self.grid, _WALLS) + self.k**2 * u
