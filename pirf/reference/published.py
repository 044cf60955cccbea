r"""Two published recipes of Darcy data, for comparison only: on these data the published residuals are judged at their best.

:func:`splined` makes the data of PIRF and DiffusionPDE: permeability at cell centres, splined onto nodes, central faces, p = 0
on the outer nodes, p splined back.  A cubic spline through jumps overshoots, to negative permeabilities.

:func:`least_squares` makes those of *Physics-Informed Diffusion Models* (arXiv 2403.14404): on nodes the rows of
:math:`-K\Delta p - \nabla K\cdot\nabla p = f` and, on each edge, of the outward slope of p, solved together in least squares.
Its modes on the n nodes of [0, 1] with correlation length ℓ are those of :func:`pirf.reference.darcy.lognormal` on n cells with
ℓ(n−1)/n, which depend on distances in units of the spacing alone.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.interpolate import RectBivariateSpline
from scipy.sparse.linalg import splu, spsolve

__all__ = ["least_squares", "splined"]

Array = NDArray[np.float64]


def splined(a: Array) -> Array:
    """(a, p) at cell centres for f = 1, from ``a`` there, ``(count, n, n)`` → ``(count, 2, n, n)``."""
    n = a.shape[-1]
    centres, nodes, m = (np.arange(n) + 0.5) / n, np.arange(n) / (n - 1), n - 2
    pairs = []
    for field in a:
        k = RectBivariateSpline(centres, centres, field)(nodes, nodes)
        south, east = (k[1:] + k[:-1]) / 2, (k[:, 1:] + k[:, :-1]) / 2
        diagonal = south[1:, 1:-1] + south[:-1, 1:-1] + east[1:-1, 1:] + east[1:-1, :-1]
        beside = np.zeros((m, m))
        beside[:, :-1] = east[1:-1, 1:-1]
        lines = [diagonal.ravel(), -beside.ravel()[:-1], -beside.ravel()[:-1], *[-south[1:-1, 1:-1].ravel()] * 2]
        p = np.zeros((n, n))
        matrix = sp.diags(lines, [0, 1, -1, m, -m], format="csc") * (n - 1) ** 2
        p[1:-1, 1:-1] = spsolve(matrix, np.ones(m * m)).reshape(m, m)
        pairs.append(np.stack([field, RectBivariateSpline(nodes, nodes, p)(centres, centres)]))
    return np.stack(pairs)


def least_squares(k: Array, source: Array) -> Array:
    """(K, p) on nodes, ``(count, 2, n, n)``, for K and the ``source`` there; p has mean zero by the trapezoidal rule."""
    n = k.shape[-1]
    first, second, one = _first(n), _second(n), sp.identity(n, format="csr")
    slopes, curvatures = ((sp.kron(d, one), sp.kron(one, d)) for d in (first, second))
    ends = sp.diags(np.array([-1.0, *np.zeros(n - 2), 1.0]), format="csr")[[0, n - 1]] @ first
    edges = [sp.kron(ends, one), sp.kron(one, ends)]
    weight = np.full(n, 1.0 / (n - 1))
    weight[[0, -1]] /= 2
    pairs = []
    for field in k:
        equation = sum(
            -sp.diags(field.ravel()) @ curvature - sp.diags(slope @ field.ravel()) @ slope
            for slope, curvature in zip(slopes, curvatures, strict=True)
        )
        rows = sp.vstack([equation, *edges], format="csc")[:, 1:]  # constants are in the kernel: the first node is 0
        right = rows.T @ np.concatenate([source.ravel(), np.zeros(4 * n)])
        p = np.append(0.0, splu((rows.T @ rows).tocsc(), permc_spec="MMD_AT_PLUS_A").solve(right)).reshape(n, n)
        pairs.append(np.stack([field, p - weight @ p @ weight]))
    return np.stack(pairs)


def _first(n: int) -> sp.csr_matrix:
    """(−1, 0, 1)/2h inside, (−3, 4, −1)/2h at the ends, h = 1/(n−1)."""
    matrix = sp.diags([-np.ones(n - 1), np.ones(n - 1)], [-1, 1], format="lil")
    matrix[0, :3] = [-3, 4, -1]
    matrix[n - 1, n - 3 :] = [1, -4, 3]
    return (matrix * (0.5 * (n - 1))).tocsr()


def _second(n: int) -> sp.csr_matrix:
    """(1, −2, 1)/h² inside, (2, −5, 4, −1)/h² at the ends."""
    matrix = sp.diags([np.ones(n - 1), np.full(n, -2.0), np.ones(n - 1)], [-1, 0, 1], format="lil")
    matrix[0, :4] = [2, -5, 4, -1]
    matrix[n - 1, n - 4 :] = [-1, 4, -5, 2]
    return (matrix * float((n - 1) ** 2)).tocsr()
