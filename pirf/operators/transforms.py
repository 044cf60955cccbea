r"""Sine transforms as matrix products, and the inverse operators they diagonalise.

On cells with odd ghosts the eigenvectors of :math:`\Delta_h` are :math:`\sin(\pi(i+\tfrac12)k/n)`, k = 1..n, with
eigenvalues :math:`-4h^{-2}\sin^2(\pi k/2n)`.  At the sizes of this library a product with the n×n sine matrix is as fast
as an FFT, differentiable, and exact to round-off.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from pirf.grids import Axis, Grid
from pirf.tensors import Field

__all__ = ["cosine_matrix", "dirichlet_eigenvalues", "sine_matrix", "solve_dirichlet"]


@lru_cache(maxsize=64)
def _sine_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a cached inference tensor would poison a later backward pass
        k = torch.arange(1, n + 1, dtype=torch.float64)
        i = torch.arange(n, dtype=torch.float64)[:, None]
        matrix = math.sqrt(2 / n) * torch.sin(math.pi * (i + 0.5) * k / n)
        matrix[:, -1] /= math.sqrt(2)
        return matrix.to(device=device, dtype=dtype)


def sine_matrix(n: int, like: Tensor) -> Tensor:
    """The orthonormal DST-II matrix S: columns are the modes k = 1..n, SᵀS = I."""
    return _sine_matrix(n, like.dtype, like.device)


@lru_cache(maxsize=64)
def _cosine_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        k = torch.arange(n, dtype=torch.float64)
        i = torch.arange(n, dtype=torch.float64)[:, None]
        matrix = math.sqrt(2 / n) * torch.cos(math.pi * (i + 0.5) * k / n)
        matrix[:, 0] /= math.sqrt(2)
        return matrix.to(device=device, dtype=dtype)


def cosine_matrix(n: int, like: Tensor) -> Tensor:
    """The orthonormal DCT-II matrix C: columns are the modes k = 0..n−1, CᵀC = I."""
    return _cosine_matrix(n, like.dtype, like.device)


def dirichlet_eigenvalues(axis: Axis, like: Tensor) -> Tensor:
    r""":math:`-4h^{-2}\sin^2(\pi k/2n)` for k = 1..n."""
    k = torch.arange(1, axis.n + 1, dtype=torch.float64)
    values = -4 / axis.spacing**2 * torch.sin(math.pi * k / (2 * axis.n)) ** 2
    return values.to(device=like.device, dtype=like.dtype)


def solve_dirichlet(r: Field, grid: Grid, shift: float = 0.0) -> Field:
    r""":math:`(\Delta_h + \text{shift})^{-1} r` with u = 0 on the faces of a two-dimensional grid of cells."""
    grid.check(r, r.shape[1])
    rows, columns = (sine_matrix(axis.n, r) for axis in grid.axes)
    lam, mu = (dirichlet_eigenvalues(axis, r) for axis in grid.axes)
    modes = rows.T @ r @ columns / (lam[:, None] + mu + shift)
    return rows @ modes @ columns.T
