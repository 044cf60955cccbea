r"""Preconditioned conjugate gradients for symmetric positive definite operators, a batch of systems at once.

A sample stops by itself, so that its solution does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pirf.errors import InputError, NumericalError
from pirf.tensors import Field

__all__ = ["as_one_operator", "conjugate_gradients"]

_RELATIVE = {torch.float64: 1e-12, torch.float32: 1e-6}  # of the right side; rounding allows no more
_ITERATIONS = 2000


def conjugate_gradients(
    apply: Callable[[Field], Field], f: Field, *, precondition: Callable[[Field], Field], coefficient: Tensor
) -> Field:
    """The u with ``apply(u)`` = f; ``coefficient`` is what the operator depends on, named where there is no convergence."""
    if f.dtype not in _RELATIVE:
        raise InputError(
            "conjugate gradients work in float32 or float64",
            got=f.dtype,
            why="iterations in fewer digits do not converge",
            hint="fields.float()",
        )

    def inner(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(tuple(range(1, f.ndim)), keepdim=True)

    u, r = torch.zeros_like(f), f.clone()
    z = precondition(r)
    direction, size = z, inner(r, z)
    target = (_RELATIVE[f.dtype] ** 2) * inner(f, f)
    for _ in range(_ITERATIONS):
        running = inner(r, r) > target  # a finished sample, or one with NaN, moves no more
        if not bool(running.any()):
            return u if bool(torch.isfinite(target).all()) else u + 0 * target
        image = apply(direction)
        step = torch.where(running, size / inner(direction, image), 0.0)
        u, r = u + step * direction, r - step * image
        z = precondition(r)
        following = inner(r, z)
        direction = z + torch.where(running, following / size, 0.0) * direction
        size = following
    raise NumericalError(
        f"conjugate gradients did not converge in {_ITERATIONS} iterations: "
        f"coefficients from {float(coefficient.min()):.3g} to {float(coefficient.max()):.3g}; raise their lower bound"
    )


def as_one_operator(name: str, case: str, solve: Callable[..., Tensor], into_coefficient: Callable[..., Tensor]) -> Any:
    """``solve(coefficient, f, *case)`` for a compiler: iterations depend on the data, so that a graph holds them as one node.

    ``case`` declares the arguments after the two fields, tensors apart.  The matrix is symmetric: the gradient in f is a
    solve again, μ, and ``into_coefficient(coefficient, u, μ, *case)`` that of ⟨μ, A u⟩, which enters with a minus.
    """
    whole: Any = torch.library.custom_op(
        name,
        lambda coefficient, f, *rest: solve(coefficient, f, *rest).contiguous(),
        mutates_args=(),
        schema=f"(Tensor coefficient, Tensor f, {case}) -> Tensor",
    )

    def remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        coefficient, _, *ctx.case = inputs
        ctx.save_for_backward(coefficient, output)

    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, ...]:
        coefficient, u = ctx.saved_tensors
        mu = whole(coefficient, weight, *ctx.case)
        first = -into_coefficient(coefficient, u, mu, *ctx.case) if ctx.needs_input_grad[0] else None
        return first, mu, *[None] * len(ctx.case)

    whole.register_fake(lambda coefficient, f, *rest: torch.empty_like(f, memory_format=torch.contiguous_format))
    whole.register_autograd(backward, setup_context=remember)
    return whole
