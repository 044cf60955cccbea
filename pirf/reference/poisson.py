r"""The Poisson problem :math:`\Delta u = a` on a rectangle, solved by fast sine and cosine transforms.

On cell centres with u = 0 on the faces, the five-point Laplacian with odd ghosts is diagonal in the DST-II with
:math:`\lambda_k = -4h^{-2} \sin^2(\pi k/2n)` along each axis; on nodes with both ends, in the DST-I of the interior; with
∂u/∂n = 0 on the faces, in the DCT-II.  All three are direct solves, exact to round-off.  A ``shift`` s solves
:math:`\Delta u + su = a` in the same way, which is what :mod:`pirf.reference.helmholtz` builds on.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["eigenvalues", "solve", "solve_neumann", "solve_nodal"]

Array = NDArray[np.float64]
Extent = tuple[float, float]


def eigenvalues(
    shape: tuple[int, ...], extent: Extent = (1.0, 1.0), kind: Literal["dirichlet", "neumann", "nodal"] = "dirichlet"
) -> Array:
    r"""The eigenvalues :math:`\lambda_k + \mu_l` of :math:`\Delta_h`, one per mode, in the order of the transform."""
    lines = []
    for points, width in zip(shape, extent, strict=True):
        n = points - 1 if kind == "nodal" else points
        modes = np.arange(n) if kind == "neumann" else np.arange(1, points - 1 if kind == "nodal" else points + 1)
        lines.append(-4.0 * (n / width) ** 2 * np.sin(np.pi * modes / (2 * n)) ** 2)
    total: Array = lines[0][:, None] + lines[1]
    return total


def solve(a: Array, extent: Extent = (1.0, 1.0), shift: float = 0.0) -> Array:
    """U with Δu + shift·u = a and u = 0 on the boundary; ``a`` at cell centres, ``(..., n, m)``."""
    modes = fft.dstn(a, type=2, axes=(-2, -1)) / (eigenvalues(a.shape[-2:], extent) + shift)
    u: Array = fft.idstn(modes, type=2, axes=(-2, -1))
    return u


def solve_neumann(a: Array, extent: Extent = (1.0, 1.0), shift: float = 0.0) -> Array:
    """U with Δu + shift·u = a and ∂u/∂n = 0 on the boundary: the solution of the *wrong* boundary problem.

    Modes in which the operator is singular are left out of both sides; for ``shift = 0`` that is the mean.
    """
    denominator = eigenvalues(a.shape[-2:], extent, "neumann") + shift
    singular = np.abs(denominator) <= 1e-6 * abs(shift)
    modes = fft.dctn(a, type=2, axes=(-2, -1)) * ~singular / np.where(singular, 1.0, denominator)
    u: Array = fft.idctn(modes, type=2, axes=(-2, -1))
    return u


def solve_nodal(a: Array, extent: Extent = (1.0, 1.0), shift: float = 0.0) -> Array:
    """U with Δu + shift·u = a at the interior nodes and u = 0 on the boundary nodes; ``a`` at nodes with both ends."""
    modes = fft.dstn(a[..., 1:-1, 1:-1], type=1, axes=(-2, -1)) / (eigenvalues(a.shape[-2:], extent, "nodal") + shift)
    u = np.zeros_like(a)
    u[..., 1:-1, 1:-1] = fft.idstn(modes, type=1, axes=(-2, -1))
    return u
