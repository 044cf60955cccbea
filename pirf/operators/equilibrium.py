r"""The inverse of the periodic elastic operator, :math:`A(E)u + \bar u = f` per sample, by preconditioned conjugate gradients.

*Preconditioner.*  :math:`\bar E^{-1/2} A(1)^{-1} \bar E^{-1/2}`, the homogeneous medium wave by wave, with the mean modulus
around each node: it adapts to contrast.

*Kernel.*  Translations are free, so the operator adds the mean of u: still symmetric, now definite, and orthogonal to all
forces of stresses.

*Derivatives.*  A is symmetric, so that one more solve gives the adjoint: for u = A(E)⁻¹f and :math:`\mu = A(E)^{-1}\lambda`,
:math:`\lambda_f = \mu` and :math:`\lambda_E = -\partial_E \langle \mu, A(E)u \rangle`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

from pirf.grids import Axis, Grid
from pirf.operators.conjugate_gradients import as_one_operator, conjugate_gradients
from pirf.operators.elements import adjoint, solve_homogeneous, stress_divergence
from pirf.tensors import Field

__all__ = ["solve_stress_divergence"]


def solve_stress_divergence(modulus: Tensor, f: Field, grid: Grid, ratio: float) -> Field:
    r"""The u, ``(batch, 2, n, m)``, with :math:`-\nabla\cdot(E\,C\varepsilon(u)) + \bar u = f` by periodic elements; E > 0."""
    if torch.compiler.is_compiling():
        whole: Tensor = _opaque(modulus, f, [axis.extent for axis in grid.axes], ratio)
        return whole
    return _inverse(modulus, f, grid, ratio)


@final
class _Inverse(torch.autograd.Function):
    """Saves E and the solution; each derivative is another solve with the same matrix."""

    @staticmethod
    def forward(modulus: Tensor, f: Tensor, grid: Grid, ratio: float) -> Tensor:
        return _solve(modulus, f, grid, ratio)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        modulus, _, ctx.grid, ctx.ratio = inputs
        ctx.save_for_backward(modulus, output)
        ctx.save_for_forward(modulus, output)

    @staticmethod
    def jvp(ctx: Any, tangent_modulus: Tensor | None, tangent_f: Tensor | None, *_: None) -> Tensor:
        modulus, u = ctx.saved_tensors
        right = torch.zeros_like(u) if tangent_f is None else tangent_f
        if tangent_modulus is not None:
            right = right - stress_divergence(tangent_modulus, u, ctx.grid, ctx.ratio)
        return solve_stress_divergence(modulus, right, ctx.grid, ctx.ratio)

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, Tensor, None, None]:
        modulus, u = ctx.saved_tensors
        mu = solve_stress_divergence(modulus, weight, ctx.grid, ctx.ratio)
        into_modulus, _ = adjoint(modulus, u, mu, ctx.grid, ctx.ratio, (0.0, 0.0, 0.0), (ctx.needs_input_grad[0], False))
        return None if into_modulus is None else -into_modulus, mu, None, None


_inverse: Callable[..., Tensor] = _Inverse.apply


def _periodic(modulus: Tensor, extents: list[float]) -> Grid:
    return Grid(tuple(Axis(n, extent, "periodic") for n, extent in zip(modulus.shape[2:], extents, strict=True)))


def _solve(modulus: Tensor, f: Tensor, grid: Grid, ratio: float) -> Tensor:
    root = _around_nodes(modulus).rsqrt()
    return conjugate_gradients(
        lambda u: stress_divergence(modulus, u, grid, ratio) + u.mean((2, 3), keepdim=True),
        f,
        precondition=lambda r: root * solve_homogeneous(root * r, grid, ratio),
        coefficient=modulus,
    )


def _around_nodes(modulus: Tensor) -> Tensor:
    """The mean over the four elements at each node."""
    pairs = modulus + modulus.roll(1, 2)
    return (pairs + pairs.roll(1, 3)) / 4


def _into_modulus(modulus: Tensor, u: Tensor, mu: Tensor, extents: list[float], ratio: float) -> Tensor:
    gradient, _ = adjoint(modulus, u, mu, _periodic(modulus, extents), ratio, (0.0, 0.0, 0.0), (True, False))
    assert gradient is not None
    return gradient


_opaque = as_one_operator(
    "pirf::solve_stress_divergence",
    "float[] extents, float ratio",
    lambda modulus, f, extents, ratio: _solve(modulus, f, _periodic(modulus, extents), ratio),
    _into_modulus,
)
