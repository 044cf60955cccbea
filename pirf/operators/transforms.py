r"""Sine and cosine transforms as matrix products, and the inverse operators they diagonalise.

On cells with odd ghosts the eigenvectors of :math:`\Delta_h` are :math:`\sin(\pi(i+\tfrac12)k/n)`, k = 1..n, with
eigenvalues :math:`-4h^{-2}\sin^2(\pi k/2n)`; with even ghosts they are the cosines, k = 0..n−1.  On nodes with both ends and
u = 0 there, they are the :math:`\sin(\pi ik/(n-1))` of the n−2 inner nodes.  At the sizes of this library a product with the
n×n matrix is as fast as an FFT, differentiable, and exact to round-off.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.operators.constants import constant
from pirf.tensors import Field

__all__ = [
    "cosine_matrix",
    "dct",
    "dirichlet_eigenvalues",
    "dirichlet_spectrum",
    "dst",
    "idct",
    "idst",
    "neumann_eigenvalues",
    "neumann_spectrum",
    "sine_matrix",
    "solve_dirichlet",
    "solve_neumann",
]


@constant
def _sine_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    k = torch.arange(1, n + 1, dtype=torch.float64)
    i = torch.arange(n, dtype=torch.float64)[:, None]
    matrix = math.sqrt(2 / n) * torch.sin(math.pi * (i + 0.5) * k / n)
    matrix[:, -1] /= math.sqrt(2)
    return matrix.to(device=device, dtype=dtype)


def sine_matrix(n: int, like: Tensor) -> Tensor:
    """The orthonormal DST-II matrix S: columns are the modes k = 1..n, SᵀS = I."""
    return _sine_matrix(n, like.dtype, like.device)


@constant
def _nodal_sine_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal DST-I matrix of n inner nodes, its own inverse."""
    k = torch.arange(1, n + 1, dtype=torch.float64)
    matrix = math.sqrt(2 / (n + 1)) * torch.sin(math.pi * k[:, None] * k / (n + 1))
    return matrix.to(device=device, dtype=dtype)


@constant
def _cosine_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    k = torch.arange(n, dtype=torch.float64)
    i = torch.arange(n, dtype=torch.float64)[:, None]
    matrix = math.sqrt(2 / n) * torch.cos(math.pi * (i + 0.5) * k / n)
    matrix[:, 0] /= math.sqrt(2)
    return matrix.to(device=device, dtype=dtype)


def cosine_matrix(n: int, like: Tensor) -> Tensor:
    """The orthonormal DCT-II matrix C: columns are the modes k = 0..n−1, CᵀC = I."""
    return _cosine_matrix(n, like.dtype, like.device)


def dst(x: Field) -> Field:
    """The orthonormal DST-II along every axis of the grid: coefficients of the Dirichlet modes k = 1..n."""
    return _along_every_axis(x, [sine_matrix(n, x) for n in x.shape[2:]])


def idst(modes: Field) -> Field:
    """The inverse (and the transpose) of :func:`dst`."""
    return _along_every_axis(modes, [sine_matrix(n, modes).T for n in modes.shape[2:]])


def dct(x: Field) -> Field:
    """The orthonormal DCT-II along every axis of the grid: coefficients of the Neumann modes k = 0..n−1."""
    return _along_every_axis(x, [cosine_matrix(n, x) for n in x.shape[2:]])


def idct(modes: Field) -> Field:
    """The inverse (and the transpose) of :func:`dct`."""
    return _along_every_axis(modes, [cosine_matrix(n, modes).T for n in modes.shape[2:]])


def _along_every_axis(x: Field, matrices: Sequence[Tensor]) -> Field:
    for dim, matrix in enumerate(matrices, start=2):
        x = x @ matrix if dim == x.ndim - 1 else (matrix.T @ x.movedim(dim, -2)).movedim(-2, dim)
    return x


def dirichlet_eigenvalues(axis: Axis, like: Tensor) -> Tensor:
    r""":math:`-4h^{-2}\sin^2(\pi k/2n)` for k = 1..n; on nodes for k = 1..n−2, with n−1 for n."""
    return _eigenvalues(axis, 1, axis.n - 2 if axis.layout == "nodes" else axis.n, like.dtype, like.device)


def neumann_eigenvalues(axis: Axis, like: Tensor) -> Tensor:
    r""":math:`-4h^{-2}\sin^2(\pi k/2n)` for k = 0..n−1."""
    return _eigenvalues(axis, 0, axis.n, like.dtype, like.device)


@constant
def _eigenvalues(axis: Axis, first: int, count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    k = torch.arange(first, first + count, dtype=torch.float64)
    values = -4 / axis.spacing**2 * torch.sin(math.pi * k * axis.spacing / (2 * axis.extent)) ** 2
    return values.to(device=device, dtype=dtype)


def dirichlet_spectrum(grid: Grid, like: Tensor) -> Tensor:
    r"""The eigenvalues :math:`\sum_d \lambda_{k_d}` of :math:`\Delta_h` with u = 0 on the boundary, one per mode."""
    return _spectrum(grid, dirichlet_eigenvalues, like)


def neumann_spectrum(grid: Grid, like: Tensor) -> Tensor:
    r"""The eigenvalues of :math:`\Delta_h` with even ghosts, one per mode, shaped like the grid; the first is 0."""
    return _spectrum(grid, neumann_eigenvalues, like)


def _spectrum(grid: Grid, eigenvalues: Callable[[Axis, Tensor], Tensor], like: Tensor) -> Tensor:
    total = torch.zeros((), dtype=like.dtype, device=like.device)
    for axis in grid.axes:
        total = total[..., None] + eigenvalues(axis, like)
    return total


def solve_dirichlet(r: Field, grid: Grid, shift: float = 0.0) -> Field:
    r""":math:`(\Delta_h + \text{shift})^{-1} r` with u = 0 on the boundary, on cells or nodes.

    On nodes r counts at the inner ones only, and u is 0 at the ends.
    """
    _laid_out("solve_dirichlet", r, grid, ("cells", "nodes"))
    ends = [int(axis.layout == "nodes") for axis in grid.axes]
    inner = tuple(slice(end, size - end) for end, size in zip([0, 0, *ends], r.shape, strict=True))
    matrices = [
        _nodal_sine_matrix(axis.n - 2, r.dtype, r.device) if end else sine_matrix(axis.n, r)
        for end, axis in zip(ends, grid.axes, strict=True)
    ]
    modes = _along_every_axis(r[inner], matrices) / (dirichlet_spectrum(grid, r) + shift)
    u = _along_every_axis(modes, [matrix.T for matrix in matrices])
    return nn.functional.pad(u, [end for end in reversed(ends) for _ in range(2)]) if any(ends) else u


def solve_neumann(r: Field, grid: Grid) -> Field:
    r"""The u with :math:`\Delta_h u - \bar u = r` and no flux through the faces of a grid of cells.

    The mean in every row lifts the kernel: :math:`\bar u = -\bar r`, and the rest of u solves the rest of the equation.
    """
    _laid_out("solve_neumann", r, grid, ("cells",))
    constant = torch.zeros(grid.shape, dtype=r.dtype, device=r.device)
    constant[(0,) * len(grid.shape)] = 1.0
    return idct(dct(r) / (neumann_spectrum(grid, r) - constant))


def _laid_out(name: str, r: Field, grid: Grid, layouts: tuple[str, ...]) -> None:
    grid.check(r, r.shape[1])
    if any(axis.layout not in layouts or (axis.layout == "nodes" and axis.n < 3) for axis in grid.axes):
        raise InputError(
            f"{name} works on {' or on three or more '.join(layouts)}",
            got=repr(grid),
            why="its modes are those of a boundary that stands there",
            hint="Axis(n, extent, 'cells')",
        )
