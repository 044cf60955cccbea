r"""Flow through a porous medium, :math:`-\nabla\cdot(a\nabla p) = f` on the unit square, by finite volumes and sparse LU.

Cell centres, faces with the harmonic mean of the two permeabilities.  Either p = 0 on the boundary (half a cell away, so its
transmissibility is 2a), or no flux, where the sources must balance, one cell is pinned and the mean is subtracted.  Direct
solves: exact to round-off.

Two laws of the permeability: :func:`two_phase`, 12 where a Gaussian field is positive and 3 elsewhere, and
:func:`lognormal`, :math:`e^G` with the leading Karhunen–Loève modes of the covariance :math:`e^{-r/\ell}`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.sparse.linalg import SuperLU, splu

__all__ = ["corner_wells", "lognormal", "modes", "solve", "solve_neumann", "two_phase"]

Array = NDArray[np.float64]


def solve(a: Array, source: Array | float = 1.0) -> Array:
    """P with −∇·(a∇p) = source and p = 0 on the boundary; ``a`` at cell centres, ``(..., n, m)``."""
    return _each(a, source, pinned=False)


def solve_neumann(a: Array, source: Array) -> Array:
    """P with −∇·(a∇p) = source, no flux through the boundary and mean 0; the source must sum to 0."""
    total, size = abs(float(np.sum(source))), float(np.sum(np.abs(source)))
    if total > 1e-10 * size:
        raise ValueError(
            f"sources must balance where nothing flows out: got a sum of {np.sum(source):g}; no p exists. Try source - mean."
        )
    p = _each(a, source, pinned=True)
    centred: Array = p - p.mean((-2, -1), keepdims=True)
    return centred


def two_phase(g: Array, high: float = 12.0, low: float = 3.0) -> Array:
    """``high`` where g ≥ 0, else ``low``."""
    return np.where(g >= 0, high, low)


def corner_wells(n: int, rate: float = 10.0) -> Array:
    """+rate in the n/8 × n/8 cells at (0, 0), −rate in those at (1, 1); n a multiple of 8."""
    near = np.arange(n) < n // 8
    both = np.outer(near, near).astype(np.float64)
    return rate * (both - both[::-1, ::-1])


def lognormal(noise: Array, n: int, length: float = 0.1) -> Array:
    """exp(G) for white noise ``(..., count)``: G has the ``count`` leading modes of e^(−r/length), variance below 1."""
    values, vectors = modes(n, noise.shape[-1], length)
    field: Array = np.exp((noise * np.sqrt(values)) @ vectors).reshape(*noise.shape[:-1], n, n)
    return field


@lru_cache(maxsize=8)
def modes(n: int, count: int = 64, length: float = 0.1) -> tuple[Array, Array]:
    """The ``count`` largest eigenvalues of e^(−r/length) on the n×n cell centres and their unit vectors ``(count, n²)``.

    The covariance commutes with both reflections of the square, so each of the four parities is an eigenproblem of a quarter
    of the size.  It also separates the pairs that the exchange of x and y makes equal: the modes are unique up to a sign.
    """
    if n % 2 or n * n < count:
        raise ValueError(f"an even n with n² ≥ {count} is needed: got {n}; modes come in parities. Try n=64.")
    half = n // 2
    i, j = (index.ravel() for index in np.indices((half, half)))
    found = []
    for even_x in (1, -1):
        for even_y in (1, -1):
            matrix = np.zeros((half * half, half * half))
            for sign_x, dx in ((1, i[:, None] - i), (even_x, n - 1 - i[:, None] - i)):
                for sign_y, dy in ((1, j[:, None] - j), (even_y, n - 1 - j[:, None] - j)):
                    matrix += sign_x * sign_y * np.exp(-np.hypot(dx, dy) / (n * length))
            top = min(count, half * half)
            values, vectors = eigh(matrix, subset_by_index=(half * half - top, half * half - 1))
            for value, vector in zip(values, vectors.T, strict=True):
                quarter = vector.reshape(half, half) / 2
                left = np.concatenate([quarter, even_x * quarter[::-1]], 0)
                whole = np.concatenate([left, even_y * left[:, ::-1]], 1).ravel()
                ramp = np.exp(-(np.arange(n)[:, None] + 2 * np.arange(n)) / n).ravel()  # no symmetry: fixes the sign
                found.append((value, whole * np.sign(whole @ ramp)))
    # Exchanged pairs are equal up to round-off: they stay in the order of their parities, whatever the machine.
    found.sort(key=lambda pair: -round(pair[0] / (n * n), 12))
    return np.array([value for value, _ in found[:count]]), np.stack([vector for _, vector in found[:count]])


def _each(a: Array, source: Array | float, pinned: bool) -> Array:
    if not (np.isfinite(a).all() and (a > 0).all()):
        least = f"a minimum of {np.min(a):g}"
        raise ValueError(f"a permeability must be positive and finite: got {least}; A(a) is singular. Try clipping it.")
    n, m = a.shape[-2:]
    right = np.broadcast_to(np.asarray(source, dtype=np.float64), a.shape).reshape(-1, n * m)
    out = np.empty((len(right), n * m))
    for index, (field, f) in enumerate(zip(a.reshape(-1, n, m), right, strict=True)):
        matrix, f = _matrix(field, walls=not pinned), f.copy()
        if pinned:  # the first equation follows from the others; p = 0 there instead, its column dropped as well
            out[index, 0] = 0.0
            out[index, 1:] = _factor(matrix[1:, 1:]).solve(f[1:])
        else:
            out[index] = _factor(matrix).solve(f)
    return out.reshape(a.shape)


def _factor(matrix: sp.csc_matrix) -> SuperLU:
    """Symmetric positive definite: diagonal pivots, an ordering of A + Aᵀ; columns one by one, so thin are their fronts."""
    plain = {"SymmetricMode": True}
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, relax=1, panel_size=1, options=plain)


def _matrix(a: Array, walls: bool) -> sp.csc_matrix:
    """Five diagonals: minus the transmissibilities beside their sum; with p = 0 on the ``walls``, 2a for each outer face."""
    n, m = a.shape
    south = n**2 * 2 * a[:-1] * a[1:] / (a[:-1] + a[1:])
    east = m**2 * 2 * a[:, :-1] * a[:, 1:] / (a[:, :-1] + a[:, 1:])
    diagonal = np.zeros((n, m))
    diagonal[:-1] += south
    diagonal[1:] += south
    diagonal[:, :-1] += east
    diagonal[:, 1:] += east
    if walls:
        diagonal[[0, -1]] += 2 * n**2 * a[[0, -1]]
        diagonal[:, [0, -1]] += 2 * m**2 * a[:, [0, -1]]
    beside = np.zeros((n, m))
    beside[:, :-1] = east  # no link from the end of a row to the start of the next
    lines = [-south.ravel(), -beside.ravel()[:-1], diagonal.ravel(), -beside.ravel()[:-1], -south.ravel()]
    return sp.diags(lines, [-m, -1, 0, 1, m], format="csc")
