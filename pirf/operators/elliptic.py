r"""The inverse of the finite-volume operator, :math:`A(a)u = f` per sample, by preconditioned conjugate gradients.

*Preconditioner.*  :math:`D^{-1/2}(-\Delta_h)^{-1}D^{-1/2}` with fast transforms for :math:`\Delta_h`.  With D = 1 the condition
number is at most the contrast of a.  With D the mean transmissibility around each cell, A becomes :math:`-\Delta + q`,
:math:`q = \Delta\sqrt a/\sqrt a`, whatever the contrast, but q has the size :math:`h^{-2}` at a jump.  Each sample takes the
one with the smaller bound, so that tens of iterations reach round-off, for smooth fields and for jumps alike.

*Kernel.*  Without a boundary value constants are free, so the operator is then :math:`A(a)u + \bar u`: still symmetric,
now definite, and what it adds is orthogonal to all fluxes.

*Derivatives.*  A is symmetric, so that one more solve gives the adjoint: for u = A(a)⁻¹f and :math:`\mu = A(a)^{-1}\lambda`,
:math:`\lambda_f = \mu` and :math:`\lambda_a = -\partial_a \langle \mu, A(a)u \rangle`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.operators.boundary import Boundary, Dirichlet, Neumann, Periodic, homogeneous
from pirf.operators.conjugate_gradients import as_one_operator, conjugate_gradients
from pirf.operators.transforms import solve_dirichlet, solve_neumann
from pirf.operators.volumes import adjoint, coefficient_derivative, flux_divergence, local_mean
from pirf.tensors import Field

__all__ = ["solve_flux_divergence"]


def solve_flux_divergence(a: Field, f: Field, grid: Grid, boundary: Boundary) -> Field:
    r"""The u with :math:`-\nabla\cdot(a\nabla u) = f` under the homogeneous ``boundary``; without one value, plus mean(u).

    Two-dimensional grids of cells, a > 0.  A sample stops by itself, so that its solution does not depend on its batch.
    """
    grid.check(a, f.shape[1])
    grid.check(f, f.shape[1])
    if isinstance(boundary, Periodic) or len(grid.axes) != 2:
        raise InputError(
            "solve_flux_divergence works on a plane of cells with Dirichlet or Neumann conditions",
            got=f"{boundary!r} in {len(grid.axes)} dimension(s)",
            why="its preconditioner is a sine or a cosine transform in the plane",
            hint="Dirichlet(0.0) or Neumann(0.0)",
        )
    if torch.compiler.is_compiling():
        whole: Tensor = _opaque(a, f, [axis.extent for axis in grid.axes], isinstance(boundary, Dirichlet))
        return whole
    return _inverse(a, f, grid, homogeneous(boundary))


@final
class _Inverse(torch.autograd.Function):
    """Saves a and the solution; each derivative is another solve with the same matrix."""

    @staticmethod
    def forward(a: Tensor, f: Tensor, grid: Grid, boundary: Boundary) -> Tensor:
        return _solve(a, f, grid, boundary)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        a, _, ctx.grid, ctx.boundary = inputs
        ctx.save_for_backward(a, output)
        ctx.save_for_forward(a, output)

    @staticmethod
    def jvp(ctx: Any, tangent_a: Tensor | None, tangent_f: Tensor | None, *_: None) -> Tensor:
        a, u = ctx.saved_tensors
        right = torch.zeros_like(u) if tangent_f is None else tangent_f
        if tangent_a is not None:
            right = right - coefficient_derivative(a, tangent_a, u, ctx.grid, ctx.boundary)
        return solve_flux_divergence(a, right, ctx.grid, ctx.boundary)

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        a, u = ctx.saved_tensors
        mu = solve_flux_divergence(a, weight, ctx.grid, ctx.boundary)
        into_a, _ = adjoint(a, u, mu, ctx.grid, ctx.boundary, (ctx.needs_input_grad[0], False))
        return None if into_a is None else -into_a, mu, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], a: Tensor, f: Tensor, grid: Grid, boundary: Boundary
    ) -> tuple[Tensor, int]:
        """Samples do not couple: one more dimension of them is a longer batch."""
        first, second = (
            (x.movedim(dim, 0) if dim is not None else x.expand(info.batch_size, *x.shape))
            for x, dim in zip((a, f), in_dims[:2], strict=True)
        )
        out = solve_flux_divergence(first.flatten(0, 1), second.flatten(0, 1), grid, boundary)
        return out.reshape(*first.shape[:2], *out.shape[1:]), 0


_inverse: Callable[..., Tensor] = _Inverse.apply


def _case(a: Tensor, extents: list[float], walls: bool) -> tuple[Grid, Boundary]:
    grid = Grid(tuple(Axis(n, extent) for n, extent in zip(a.shape[2:], extents, strict=True)))
    return grid, Dirichlet(0.0) if walls else Neumann(0.0)


def _solve(a: Tensor, f: Tensor, grid: Grid, boundary: Boundary) -> Tensor:
    if bool((a <= 0).any()):
        raise InputError(
            "a positive permeability is needed",
            got=f"a minimum of {float(a.min()):.3g}",
            why="the operator is definite for positive ones only",
            hint="a.clamp_min(0.1), or pirf.Darcy, which reads it so",
        )
    walls = isinstance(boundary, Dirichlet)
    root = _root(a, grid, boundary)

    def apply(u: Tensor) -> Tensor:
        out = flux_divergence(a, u, grid, boundary)
        return out if walls else out + u.mean((2, 3), keepdim=True)

    def precondition(r: Tensor) -> Tensor:
        return -root * (solve_dirichlet(root * r, grid) if walls else solve_neumann(root * r, grid))

    return conjugate_gradients(apply, f, precondition=precondition, coefficient=a)


def _root(a: Tensor, grid: Grid, boundary: Boundary) -> Tensor:
    """D^(−1/2) of the preconditioner, chosen by sample: contrast against 1 + |q|/λ, λ the lowest eigenvalue of −Δ."""
    contrast = a.amax((1, 2, 3), keepdim=True) / a.amin((1, 2, 3), keepdim=True)
    root = local_mean(a, grid, boundary).rsqrt()
    potential = root * flux_divergence(a, 1 / root, grid, Neumann(0.0))
    lowest = sum((math.pi / axis.extent) ** 2 for axis in grid.axes)
    adapted = 1 + potential.abs().amax((1, 2, 3), keepdim=True) / lowest
    return torch.where(contrast < adapted, torch.ones_like(root), root)


def _into_a(a: Tensor, u: Tensor, mu: Tensor, extents: list[float], walls: bool) -> Tensor:
    gradient, _ = adjoint(a, u, mu, *_case(a, extents, walls), (True, False))
    assert gradient is not None
    return gradient


_opaque = as_one_operator(
    "pirf::solve_flux_divergence",
    "float[] extents, bool walls",
    lambda a, f, extents, walls: _solve(a, f, *_case(a, extents, walls)),
    _into_a,
)
