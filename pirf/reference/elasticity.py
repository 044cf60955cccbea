r"""The periodic cell of a random elastic medium under a given mean strain, by Q4 finite elements and sparse LU.

*Equation.*  :math:`-\nabla\cdot\sigma = 0`, :math:`\sigma = E\,C(\bar\varepsilon + \varepsilon(u))` on the unit torus: the
strain has the mean :math:`\bar\varepsilon`, and the fluctuation u is periodic with mean 0.  Plane strain, C the stiffness of
a medium whose modulus is 1.

*Elements.*  Bilinear displacements on n×m rectangles, 2×2 Gauss points, which integrate them exactly.  E is constant on each
element, and stored at [i, j] for the one whose lowest corner is node [i, j].  Two translations are free: one node is pinned
and the mean subtracted.  Direct solves: exact to round-off.

*Law of the modulus.*  :math:`E = e^{G}`, G Gaussian on the torus with standard deviation ½: its values lie within e^{±1} in
nineteen points of twenty, a contrast of seven.  G is a series of 15×15 waves, the same function on every grid.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import splu

__all__ = ["DEVIATION", "WAVES", "modulus", "plane_strain", "plane_stress", "solve", "spectrum"]

Array = NDArray[np.float64]
WAVES = 15
"""Functions per axis: 1, and cosines and sines up to seven periods."""
DEVIATION = 0.5
"""The standard deviation of log E."""


def plane_strain(ratio: float) -> Array:
    """C of a medium with modulus 1 and this Poisson's ratio, no strain across the plane; acts on (ε_xx, ε_yy, 2ε_xy)."""
    scale = 1 / ((1 + ratio) * (1 - 2 * ratio))
    return scale * np.array([[1 - ratio, ratio, 0.0], [ratio, 1 - ratio, 0.0], [0.0, 0.0, 0.5 - ratio]])


def plane_stress(ratio: float) -> Array:
    """C without stress across the plane, as in a thin sheet."""
    return np.array([[1.0, ratio, 0.0], [ratio, 1.0, 0.0], [0.0, 0.0, 0.5 * (1 - ratio)]]) / (1 - ratio**2)


def spectrum(alpha: float = 3.0, tau: float = 7.0) -> Array:
    """The standard deviations of the waves of G, ``(15, 15)``: ∝ (4π²|k|² + τ²)^(−α/2), no mean, DEVIATION² in all."""
    k = 2 * np.pi * ((np.arange(WAVES) + 1) // 2)
    weights: Array = (k[:, None] ** 2 + k**2 + tau**2) ** (-alpha / 2)
    weights[0, 0] = 0.0
    weights *= DEVIATION / np.sqrt((weights**2).sum())
    return weights


def modulus(noise: Array, n: int, alpha: float = 3.0, tau: float = 7.0) -> Array:
    """E at the centres of n×n elements, ``(..., n, n)``, from white noise ``(..., 15, 15)``."""
    x = (np.arange(n) + 0.5) / n
    k = 2 * np.pi * np.arange(1, WAVES // 2 + 1)
    waves = np.ones((n, WAVES))
    waves[:, 1::2], waves[:, 2::2] = np.sqrt(2) * np.cos(np.outer(x, k)), np.sqrt(2) * np.sin(np.outer(x, k))
    field: Array = np.exp(waves @ (spectrum(alpha, tau) * noise) @ waves.T)
    return field


def solve(modulus: Array, strain: Array, stiffness: Array | None = None) -> Array:
    """The fluctuation u at the nodes, ``(..., 2, n, m)``, for E ``(..., n, m)`` and a mean strain (ε_xx, ε_yy, 2ε_xy)."""
    if not (np.isfinite(modulus).all() and (modulus > 0).all()):
        raise ValueError(f"a modulus must be positive and finite: got a minimum of {np.min(modulus):g}. Try clipping it.")
    n, m = modulus.shape[-2:]
    matrix, load = _element(1 / n, 1 / m, plane_strain(0.3) if stiffness is None else stiffness)
    rows, columns, nodes = _numbering(n, m)
    force = -(load @ np.asarray(strain, dtype=np.float64))
    out = np.zeros((modulus[..., 0, 0].size, 2 * n * m))
    for u, e in zip(out, modulus.reshape(-1, n * m), strict=True):
        whole = sp.csc_matrix((np.outer(e, matrix).ravel(), (rows, columns)), shape=(u.size, u.size))
        right = np.bincount(nodes.ravel(), np.outer(e, force).ravel(), u.size)
        # The first node's two equations follow from the others; it stays at 0, its columns dropped as well.
        factor = splu(whole[2:, 2:], permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        u[2:] = factor.solve(right[2:])
    fields = np.moveaxis(out.reshape(*modulus.shape, 2), -1, -3)
    centred: Array = fields - fields.mean((-2, -1), keepdims=True)
    return centred


def _element(width: float, height: float, stiffness: Array) -> tuple[Array, Array]:
    """∫BᵀCB and ∫BᵀC over one element with E = 1; unknowns (u_x, u_y) of the corners in counter-clockwise order."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    matrix, load = np.zeros((8, 8)), np.zeros((8, 3))
    for s in (-1 / np.sqrt(3), 1 / np.sqrt(3)):
        for t in (-1 / np.sqrt(3), 1 / np.sqrt(3)):
            slope_x = corners[:, 0] * (1 + t * corners[:, 1]) / (2 * width)
            slope_y = corners[:, 1] * (1 + s * corners[:, 0]) / (2 * height)
            b = np.zeros((3, 8))
            b[0, 0::2] = b[2, 1::2] = slope_x
            b[1, 1::2] = b[2, 0::2] = slope_y
            matrix += width * height / 4 * b.T @ stiffness @ b
            load += width * height / 4 * b.T @ stiffness
    return matrix, load


@lru_cache(maxsize=8)
def _numbering(n: int, m: int) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Rows and columns of every entry of every element's matrix, and the unknowns of each element, ``(n·m, 8)``."""
    i, j = (index.ravel() for index in np.indices((n, m)))
    corners = [(i + a) % n * m + (j + b) % m for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]
    unknowns = np.stack([2 * corner + part for corner in corners for part in (0, 1)], 1).astype(np.int32)
    return np.repeat(unknowns, 8, 1).ravel(), np.tile(unknowns, 8).ravel(), unknowns
