r"""The Poisson problem :math:`\Delta u = a` on the unit square, solved by fast sine and cosine transforms.

On cell centres with u = 0 on the faces, the five-point Laplacian with odd ghosts is diagonal in the DST-II with
:math:`\lambda_k = -4n^2 \sin^2(\pi k/2n)`; on nodes with both ends, in the DST-I of the interior; with ∂u/∂n = 0 on the
faces, in the DCT-II.  All three are direct solves, exact to round-off.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["solve", "solve_neumann", "solve_nodal"]

Array = NDArray[np.float64]


def solve(a: Array) -> Array:
    """U with Δu = a and u = 0 on the boundary; ``a`` at cell centres, ``(..., n, n)``."""
    n = a.shape[-1]
    lam = -4.0 * n**2 * np.sin(np.pi * np.arange(1, n + 1) / (2 * n)) ** 2
    modes = fft.dstn(a, type=2, axes=(-2, -1)) / (lam[:, None] + lam)
    u: Array = fft.idstn(modes, type=2, axes=(-2, -1))
    return u


def solve_neumann(a: Array) -> Array:
    """U with Δu = a − mean(a), ∂u/∂n = 0 on the boundary and mean 0: the solution of the *wrong* boundary problem."""
    n = a.shape[-1]
    lam = -4.0 * n**2 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2
    denominator = lam[:, None] + lam
    denominator[0, 0] = 1.0
    modes = fft.dctn(a, type=2, axes=(-2, -1)) / denominator
    modes[..., 0, 0] = 0.0
    u: Array = fft.idctn(modes, type=2, axes=(-2, -1))
    return u


def solve_nodal(a: Array) -> Array:
    """U with Δu = a at the interior nodes and u = 0 on the boundary nodes; ``a`` at nodes with both ends, h = 1/(n−1)."""
    n = a.shape[-1]
    lam = -4.0 * (n - 1) ** 2 * np.sin(np.pi * np.arange(1, n - 1) / (2 * (n - 1))) ** 2
    modes = fft.dstn(a[..., 1:-1, 1:-1], type=1, axes=(-2, -1)) / (lam[:, None] + lam)
    u = np.zeros_like(a)
    u[..., 1:-1, 1:-1] = fft.idstn(modes, type=1, axes=(-2, -1))
    return u
