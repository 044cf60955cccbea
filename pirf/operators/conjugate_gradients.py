r"""Preconditioned conjugate gradients for symmetric positive definite operators, a batch of systems at once.

A sample stops by itself, so that its solution does not depend on its batch.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pirf.errors import InputError, NumericalError
from pirf.tensors import Field

__all__ = ["conjugate_gradients"]

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
