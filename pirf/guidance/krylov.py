r"""A few products with a matrix that is only known by them, one system for every sample: generalised conjugate residuals
(Eisenstat, Elman and Schultz 1983), which leave the smallest residual that so many products allow.

The number of products is fixed, so that their price is known beforehand, and what they give is the answer.  The matrix need
not be symmetric or positive: the Jacobian of a network is neither, and conjugate gradients take steps of any size there.  Here
the residual never grows.  A sample that has converged stays where it is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from pirf.tensors import Field

__all__ = ["Rows", "least_squares", "smallest_residual"]

Rows = Float[Tensor, "batch rows"]


def smallest_residual(
    apply: Callable[[Rows], Rows], rhs: Rows, products: int, inverse: Callable[[Rows], Rows], unit: Rows
) -> Rows:
    """The w that makes ``apply(w) − rhs`` smallest, measured in the ``unit`` of each row, with an approximate ``inverse``."""

    def inner(a: Rows, b: Rows) -> Tensor:
        return (a * b / unit.square()).sum(1, keepdim=True)

    w, r = torch.zeros_like(rhs), rhs
    rounding = 100 * torch.finfo(rhs.dtype).eps
    done = rounding**2 * inner(rhs, rhs)
    known: list[tuple[Rows, Rows]] = []
    for _ in range(products):
        running = inner(r, r) > done
        direction = inverse(r)
        image = apply(direction)
        whole = inner(image, image).sqrt()
        for d, a in known * 2:  # twice is enough: the images are orthogonal to rounding
            along = inner(image, a)
            direction, image = direction - along * d, image - along * a
        size = inner(image, image).sqrt()
        scale = torch.where(running & (size > rounding * whole), 1 / size, 0)  # of an old image's span only noise is left
        direction, image = scale * direction, scale * image
        step = inner(r, image)
        w, r = w + step * direction, r - step * image
        known.append((direction, image))
    return w


def least_squares(
    forward: Callable[[Field], Rows], transposed: Callable[[Rows], Field], rhs: Rows, iterations: int, ridge: float
) -> Field:
    """The δ of the row space of J that minimises ‖Jδ − rhs‖² + ridge · ‖δ‖², by CGLS; every sample stops by itself."""

    def square(a: Tensor) -> Tensor:
        return a.flatten(1).square().sum(1)

    r = rhs
    s = transposed(r)
    column = (-1, *[1] * (s.ndim - 1))
    delta, direction, size = torch.zeros_like(s), s, square(s)
    eps = torch.finfo(rhs.dtype).eps ** 2
    least, enough, norm = eps * size, eps * square(rhs), torch.zeros_like(size)
    for _ in range(iterations):
        running = (size > least) & (square(r) > enough)
        if not bool(running.any()):
            break
        image = forward(direction)
        curvature = square(image) + ridge * square(direction)
        # Where rows contradict each other r stays, and Jᵀr is rounding once it is small against ‖J‖‖r‖: nothing to follow.
        norm = torch.maximum(norm, torch.where(running, square(image) / square(direction), 0))
        running = running & (curvature > 0) & (size > 100 * eps * norm * square(r))
        step = torch.where(running, size / curvature, 0)
        delta, r = delta + step.reshape(column) * direction, r - step[:, None] * image
        s = transposed(r) - ridge * delta
        following = torch.where(running, square(s), size)
        growth = torch.where(running, following / size, 0)
        direction = torch.where(running.reshape(column), s + growth.reshape(column) * direction, direction)
        size = following
    return delta
