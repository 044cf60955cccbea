r"""Conservative finite volumes for :math:`-\nabla\cdot(a\nabla p)` on cells, with harmonic faces.

Per axis, the flux through the face between cells i and j is :math:`T_{ij}(p_j - p_i)/h` with
:math:`T_{ij} = 2a_ia_j/(a_i+a_j)`, two half cells in series.  The ghost beyond the boundary has the permeability of its
cell, so that p = 0 on the face (an odd ghost) gives the half-cell transmissibility 2a, and no flux (an even ghost) gives 0.
The matrix A(a) is symmetric; its rows sum to the boundary fluxes, and constants are in its kernel exactly when there are none.

*Adjoint.*  With :math:`\delta` the difference across a face (λ is 0 outside the grid, p has its ghosts),

.. math:: \lambda_p = A(a)\lambda, \qquad
          \lambda_a(i) = \sum_{\text{faces} \ni i} \frac{T^2}{2a_i^2} \, \frac{\delta\lambda \, \delta p}{h^2},

where :math:`T^2/2a_i^2 = 2a_j^2/(a_i+a_j)^2`, and a face on the boundary, whose T is the a of its only cell, counts twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import adjoints
from pirf.operators.boundary import Boundary, Dirichlet, Neumann, Periodic, homogeneous
from pirf.tensors import Field

__all__ = ["adjoint", "coefficient_derivative", "flux_divergence", "local_mean"]

_ODD, _EVEN = Dirichlet(0.0), Neumann(0.0)


def flux_divergence(a: Field, p: Field, grid: Grid, boundary: Boundary) -> Field:
    r""":math:`-\nabla\cdot(a\nabla p)`, every cell a row; ``a`` > 0 at the centres, ghosts of p from ``boundary``.

    Derivatives in both fields are the closed forms above, in forward and in reverse mode, to any order.
    """
    grid.check(a, p.shape[1])
    grid.check(p, p.shape[1])
    for axis in grid.axes:
        if axis.layout == "nodes":
            raise InputError(
                "flux_divergence works on cells or periodic points",
                got="an axis with layout='nodes'",
                why="the balance of a volume needs a cell around every point",
                hint="Axis(n, extent, 'cells')",
            )
    if adjoints.plain() or not isinstance(boundary, (Dirichlet, Neumann, Periodic)):  # another rule need not be symmetric
        return _apply(a, p, grid, boundary)
    return _flux_divergence(a, p, grid, boundary)


def coefficient_derivative(a: Field, tangent: Field, p: Field, grid: Grid, boundary: Boundary) -> Field:
    """The derivative of the fluxes' divergence along a change of ``a``: dT = ½T²(da_i/a_i² + da_j/a_j²)."""
    rate = tangent / a**2
    total = torch.zeros_like(p)
    for dim, axis in enumerate(grid.axes, start=2):
        change = 0.5 * _transmissibility(a, dim, boundary) ** 2 * _sum_across(_padded(rate, dim, boundary), dim)
        total = (
            total - _difference(change * _difference(_with_ghosts(p, dim, axis.spacing, boundary), dim), dim) / axis.spacing**2
        )
    return total


def adjoint(
    a: Field, p: Field, weight: Field, grid: Grid, boundary: Boundary, into: tuple[bool, bool] = (True, True)
) -> tuple[Field | None, Field | None]:
    """The gradients in ``a`` and in ``p`` of ⟨weight, A(a)p⟩, those that are asked ``into``."""
    first: Tensor | None = torch.zeros_like(a) if into[0] else None
    second: Tensor | None = torch.zeros_like(p) if into[1] else None
    for dim, axis in enumerate(grid.axes, start=2):
        faces = _transmissibility(a, dim, boundary)
        across = _difference(_with_ghosts(weight, dim, axis.spacing, homogeneous(boundary)), dim)
        if second is not None:
            second = second - _difference(faces * across, dim) / axis.spacing**2
        if first is not None:
            if isinstance(boundary, Neumann):  # λ is 0 outside, and an outer face counts twice: the odd ghost of Dirichlet
                across = _difference(_with_ghosts(weight, dim, axis.spacing, _ODD), dim)
            slope = _difference(_with_ghosts(p, dim, axis.spacing, boundary), dim)
            first = first + _sum_across(faces**2 * slope * across, dim) / axis.spacing**2
    return None if first is None else first / (2 * a**2), second


def local_mean(a: Field, grid: Grid, boundary: Boundary) -> Field:
    """The mean transmissibility of the faces around each cell, weighted by 1/h²."""
    weights = [1 / axis.spacing**2 for axis in grid.axes]
    total = torch.zeros_like(a)
    for dim, weight in enumerate(weights, start=2):
        total = total + weight * _sum_across(_transmissibility(a, dim, boundary), dim)
    return total / (2 * sum(weights))


@final
class _FluxDivergence(torch.autograd.Function):
    """Saves a and p, nothing else."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, p: Tensor, grid: Grid, boundary: Boundary) -> Tensor:
        return _apply(a, p, grid, boundary)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        a, p, ctx.grid, ctx.boundary = inputs
        ctx.save_for_backward(a, p)
        ctx.save_for_forward(a, p)

    @staticmethod
    def jvp(ctx: Any, tangent_a: Tensor | None, tangent_p: Tensor | None, *_: None) -> Tensor:
        a, p = ctx.saved_tensors
        out = torch.zeros_like(p)
        if tangent_p is not None:
            out = out + flux_divergence(a, tangent_p, ctx.grid, homogeneous(ctx.boundary))
        if tangent_a is not None:
            out = out + coefficient_derivative(a, tangent_a, p, ctx.grid, ctx.boundary)
        return out

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        a, p = ctx.saved_tensors
        return (*adjoint(a, p, weight, ctx.grid, ctx.boundary, ctx.needs_input_grad[:2]), None, None)


_flux_divergence: Callable[..., Tensor] = _FluxDivergence.apply


def _apply(a: Tensor, p: Tensor, grid: Grid, boundary: Boundary) -> Tensor:
    total = torch.zeros_like(p)
    for dim, axis in enumerate(grid.axes, start=2):
        slope = _difference(_with_ghosts(p, dim, axis.spacing, boundary), dim)
        total = total - _difference(_transmissibility(a, dim, boundary) * slope, dim) / axis.spacing**2
    return total


def _transmissibility(a: Tensor, dim: int, boundary: Boundary) -> Tensor:
    """T of the n+1 faces along ``dim``."""
    return 2 / _sum_across(_padded(1 / a, dim, boundary), dim)


def _padded(a: Tensor, dim: int, boundary: Boundary) -> Tensor:
    """A coefficient continues beyond a boundary as its edge, or wraps around."""
    return _with_ghosts(a, dim, 1.0, boundary if isinstance(boundary, Periodic) else _EVEN)


def _with_ghosts(p: Tensor, dim: int, spacing: float, boundary: Boundary) -> Tensor:
    low, high = boundary.ghosts(p, dim, spacing)
    return torch.cat([low, p, high], dim)


def _difference(x: Tensor, dim: int) -> Tensor:
    return x.narrow(dim, 1, x.shape[dim] - 1) - x.narrow(dim, 0, x.shape[dim] - 1)


def _sum_across(x: Tensor, dim: int) -> Tensor:
    return x.narrow(dim, 1, x.shape[dim] - 1) + x.narrow(dim, 0, x.shape[dim] - 1)
