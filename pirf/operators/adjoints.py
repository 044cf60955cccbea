r"""Derivatives as formulas: a map with its tangent map :math:`v \mapsto Jv` and its transpose :math:`w \mapsto J^Tw`.

Autograd remembers the fields between the steps of a formula and replays the steps backwards.  A transpose that is known as a
formula needs the input alone, and of a linear map nothing, in fewer passes over the fields.  The formulas are made of
differentiable functions, so they have derivatives in turn: second ones, forward over reverse, batches of tangents.

A compiler gets the plain map: it finds the passes to fuse and the fields to recompute by itself, and it cannot trace custom
forward derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import torch
from torch import Tensor

__all__ = ["affine", "plain", "smooth"]


def affine(
    x: Tensor, value: Callable[[Tensor], Tensor], tangent: Callable[[Tensor], Tensor], transpose: Callable[[Tensor], Tensor]
) -> Tensor:
    """``value(x)`` whose derivatives are ``tangent(v)`` and ``transpose(w)`` at every x; nothing is saved."""
    return value(x) if plain() else _apply(x, value, tangent, transpose, False)


def smooth(
    x: Tensor,
    value: Callable[[Tensor], Tensor],
    tangent: Callable[[Tensor, Tensor], Tensor],
    transpose: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """``value(x)`` whose derivatives at x are ``tangent(x, v)`` and ``transpose(x, w)``; only x is saved."""
    return value(x) if plain() else _apply(x, value, tangent, transpose, True)


def plain() -> bool:
    """Whether to leave derivatives to autograd: a compiler is to see the formula, or nobody will ask for a transpose."""
    return torch.compiler.is_compiling() or not torch.is_grad_enabled()


@final
class _Formula(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, value: Callable[..., Tensor], tangent: Callable[..., Tensor], transpose: Callable[..., Tensor], at: bool
    ) -> Tensor:
        return value(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, _, ctx.tangent, ctx.transpose, at = inputs
        point = (x,) if at else ()
        ctx.save_for_backward(*point)
        ctx.save_for_forward(*point)

    @staticmethod
    def jvp(ctx: Any, v: Tensor, *_: None) -> Tensor:
        out: Tensor = ctx.tangent(*ctx.saved_tensors, v)
        return out

    @staticmethod
    def backward(ctx: Any, w: Tensor) -> tuple[Tensor, None, None, None, None]:
        return ctx.transpose(*ctx.saved_tensors, w), None, None, None, None


_apply: Callable[..., Tensor] = _Formula.apply
