r"""Fourier methods on periodic grids: :math:`\widehat{\partial_d u} = i k_d \hat u`, exact on trigonometric polynomials.

Every function takes and gives fields; :func:`modes` and :func:`points` are the transforms between which a reward can do
several things at the price of one.  Laws: Parseval; :func:`derivative` is skew-adjoint, :func:`laplacian` and
:func:`dealias` are symmetric, :func:`dealias` is idempotent and commutes with the others, :func:`inverse_laplacian` inverts
:func:`laplacian` on fields of mean zero.

The grid must be even: its highest mode, the checkerboard k = n/2, has no sign.  Its derivative is 0, its Laplacian is not.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.constants import constant
from pirf.tensors import Field

__all__ = ["Symbols", "dealias", "derivative", "inverse_laplacian", "laplacian", "modes", "points", "symbols"]


class Symbols(NamedTuple):
    """What the operators multiply the modes of :func:`modes` by."""

    gradient: tuple[Tensor, ...]
    """i k_d per axis, 0 in the highest mode."""
    laplacian: Tensor
    """−k², k the wave vector."""
    inverse_laplacian: Tensor
    """−1/k², 0 in the mean."""
    dealias: Tensor
    """1 where 3|m| < n along every axis, m the integer wave number, else 0."""


def symbols(grid: Grid, like: Tensor) -> Symbols:
    """The symbols for fields with the dtype and on the device of ``like``."""
    return _symbols(grid, like.dtype, like.device)


@constant
def _symbols(grid: Grid, dtype: torch.dtype, device: torch.device) -> Symbols:
    for axis in grid.axes:
        if axis.layout != "periodic" or axis.n % 2:
            raise InputError(
                "Fourier methods need periodic axes with an even number of points",
                got=repr(axis),
                why="the highest mode of an odd grid is no checkerboard, and other layouts have no modes",
                hint="Grid.square(32, 2 * math.pi, 'periodic')",
            )
    gradient, squares, keep = [], torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for dim, axis in enumerate(grid.axes):
        last = dim == len(grid.axes) - 1
        m = (torch.fft.rfftfreq if last else torch.fft.fftfreq)(axis.n, 1 / axis.n, dtype=torch.float64)
        m = m.reshape(-1, *[1] * (len(grid.axes) - 1 - dim))
        k = 2 * math.pi / axis.extent * m
        slope = torch.where(2 * m.abs() == axis.n, 0.0, k).to(device, dtype)
        gradient.append(torch.complex(torch.zeros_like(slope), slope))
        squares = squares + k**2
        keep = keep * (3 * m.abs() < axis.n)
    inverse = torch.where(squares == 0, 0.0, -1 / squares)
    return Symbols(tuple(gradient), *(s.to(device, dtype) for s in (-squares, inverse, keep)))


def modes(u: Field, grid: Grid) -> Tensor:
    """The Fourier transform along the grid, unnormalised; of the last axis only the modes k ≥ 0."""
    out: Tensor = torch.fft.rfftn(u, dim=_dims(grid))
    return out


def points(spectrum: Tensor, grid: Grid) -> Field:
    """The inverse of :func:`modes`."""
    out: Tensor = torch.fft.irfftn(spectrum, s=grid.shape, dim=_dims(grid))
    return out


def derivative(u: Field, grid: Grid, axis: int) -> Field:
    """∂u along one axis of the grid."""
    return points(symbols(grid, u).gradient[axis] * _modes(u, grid), grid)


def laplacian(u: Field, grid: Grid) -> Field:
    """Δu."""
    return points(symbols(grid, u).laplacian * _modes(u, grid), grid)


def inverse_laplacian(u: Field, grid: Grid) -> Field:
    """The field of mean zero whose Laplacian is u − mean(u)."""
    return points(symbols(grid, u).inverse_laplacian * _modes(u, grid), grid)


def dealias(u: Field, grid: Grid) -> Field:
    """P u, the modes with 3|m| < n: products of two such fields are free of aliases in every mode that P keeps."""
    return points(symbols(grid, u).dealias * _modes(u, grid), grid)


def _modes(u: Field, grid: Grid) -> Tensor:
    grid.check(u, u.shape[1])
    return modes(u, grid)


def _dims(grid: Grid) -> tuple[int, ...]:
    return tuple(range(-len(grid.axes), 0))
