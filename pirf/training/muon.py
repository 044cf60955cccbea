r"""Muon (Jordan et al. 2024):
:math:`W \leftarrow (1 - \eta\lambda) W - \eta \sqrt{\max(1, \tfrac{rows}{columns})}\;\mathrm{polar}(M)`,
:math:`M` the momentum of the gradient and :math:`\mathrm{polar}(U S V^T) = U V^T`.

Every direction of a weight matrix moves equally far, however small its gradient.  That matters for fields: a smooth
mode of the solution has a small gradient beside the grid-scale noise, and Adam learns it last.  The polar factor comes
from five steps of an odd quintic iteration, which leaves the singular values between about 0.7 and 1.2: near enough.

The decay λ bounds the gain of a layer by about 1/λ.  Without it a network without norms grows until it blows up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, cast, final, overload

import torch
from torch import Tensor, nn

from pirf.errors import InputError

__all__ = ["Muon", "polar"]

# p(s) = a s + b s³ + c s⁵: the steepest at 0 (a⁵ ≈ 485 in five steps) of those that stay near 1 once they are there.
_QUINTIC = (3.4445, -4.7750, 2.0315)


def polar(matrices: Tensor, steps: int = 5) -> Tensor:
    """U Vᵀ of each matrix U S Vᵀ of a stack, roughly; the scale of the matrix does not matter."""
    a, b, c = _QUINTIC
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-30)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    factor: Tensor = x if wide else x.mT
    return factor


@final
class Muon(torch.optim.Optimizer):
    """Muon for weights that are matrices (kernels are flattened to one row per output), Adam for all others.

    Biases, norms and matrices thinner than four rows or columns (an output layer) take Adam at ``lr`` · ``others``.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float = 1e-2,
        momentum: float = 0.95,
        decay: float = 0.2,
        others: float = 0.3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if not 0 <= momentum < 1:
            raise InputError(
                "a momentum in [0, 1) is needed", got=momentum, why="older gradients must fade", hint="momentum=0.95"
            )
        super().__init__(
            parameters, {"lr": lr, "momentum": momentum, "decay": decay, "others": others, "betas": betas, "eps": eps}
        )

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of every parameter that has a gradient."""
        with torch.enable_grad():
            value = None if closure is None else closure()
        for group in self.param_groups:
            trained = [p for p in group["params"] if p.grad is not None]
            stacks: dict[tuple[int, int], list[nn.Parameter]] = {}
            for p in trained:
                if _is_matrix(p):
                    stacks.setdefault((p.shape[0], p[0].numel()), []).append(p)
            for shape, matrices in stacks.items():  # equal shapes go through one batched product
                self._orthogonal(group, shape, matrices)
            self._adam(group, [p for p in trained if not _is_matrix(p)])
        return value

    def _orthogonal(self, group: dict[str, Any], shape: tuple[int, int], matrices: list[nn.Parameter]) -> None:
        gradients = torch.stack([cast(Tensor, p.grad).reshape(shape) for p in matrices])
        for p in matrices:
            self.state[p].setdefault("momentum", cast(Tensor, p.grad).clone())
        buffers = torch.stack([self.state[p]["momentum"].reshape(shape) for p in matrices])
        buffers.lerp_(gradients, 1 - group["momentum"])
        update = polar(gradients.lerp(buffers, group["momentum"])) * self._gain(shape)  # Nesterov's look ahead
        for p, buffer, change in zip(matrices, buffers, update, strict=True):
            self.state[p]["momentum"].copy_(buffer.reshape(p.shape))
            p.mul_(1 - group["lr"] * group["decay"]).sub_(change.reshape(p.shape), alpha=group["lr"])

    def _adam(self, group: dict[str, Any], parameters: list[nn.Parameter]) -> None:
        first, second = group["betas"]
        for p in parameters:
            state, gradient = self.state[p], cast(Tensor, p.grad)
            if not state:
                state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            state["step"] += 1
            state["exp_avg"].lerp_(gradient, 1 - first)
            state["exp_avg_sq"].lerp_(gradient.square(), 1 - second)
            count = float(state["step"])
            spread = (state["exp_avg_sq"] / (1 - second**count)).sqrt_().add_(group["eps"])
            p.addcdiv_(state["exp_avg"], spread, value=-group["lr"] * group["others"] / (1 - first**count))

    def effective_rate(self, parameter: Tensor) -> float:
        """Length of the step per length of the gradient: what a proximal threshold is measured in."""
        group = next(g for g in self.param_groups if any(p is parameter for p in g["params"]))
        state, lr = self.state[parameter], float(group["lr"])
        if "momentum" in state:
            shape = (parameter.shape[0], parameter[0].numel())
            length = self._gain(shape) * math.sqrt(min(shape))
            return lr * length / max(float(torch.linalg.vector_norm(state["momentum"])), 1e-30)
        second = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
        return lr * float(group["others"]) / max(float(second.mean().sqrt()), 1e-30)

    @staticmethod
    def _gain(shape: tuple[int, int]) -> float:
        return math.sqrt(max(1.0, shape[0] / shape[1]))


def _is_matrix(p: Tensor) -> bool:
    return p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= 4
