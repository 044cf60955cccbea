r"""The Helmholtz problem :math:`\Delta u + k^2 u = a` on a rectangle: Poisson's direct solves with a shift.

:math:`k^2` shifts the eigenvalues of the discrete Laplacian, so the sine and cosine transforms of
:mod:`pirf.reference.poisson` still diagonalise it.  Where :math:`-k^2` meets an eigenvalue there is no solution; above the
first of them (:math:`2\pi^2` on the unit square) the operator is indefinite, which a direct solve does not mind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pirf.reference import poisson

__all__ = ["solve", "solve_neumann", "solve_nodal"]

Array = NDArray[np.float64]
Extent = poisson.Extent


def solve(a: Array, k: float = 1.0, extent: Extent = (1.0, 1.0)) -> Array:
    """U with Δu + k²u = a and u = 0 on the boundary; ``a`` at cell centres, ``(..., n, m)``."""
    _refuse_resonance(k, poisson.eigenvalues(a.shape[-2:], extent))
    return poisson.solve(a, extent, shift=k**2)


def solve_neumann(a: Array, k: float = 1.0, extent: Extent = (1.0, 1.0)) -> Array:
    """U with Δu + k²u = a, ∂u/∂n = 0 on the boundary, without singular modes: the solution of the *wrong* problem."""
    return poisson.solve_neumann(a, extent, shift=k**2)


def solve_nodal(a: Array, k: float = 1.0, extent: Extent = (1.0, 1.0)) -> Array:
    """U with Δu + k²u = a at the interior nodes and u = 0 on the boundary nodes; ``a`` at nodes with both ends."""
    _refuse_resonance(k, poisson.eigenvalues(a.shape[-2:], extent, "nodal"))
    return poisson.solve_nodal(a, extent, shift=k**2)


def _refuse_resonance(k: float, eigenvalues: Array) -> None:
    if float(np.abs(1 + k**2 / eigenvalues).min()) <= 1e-6:
        raise ValueError(f"k² must not be resonant, an eigenvalue of the discrete −Δ: got k = {k:.9g}; no u exists. Try 1.01k.")
