r"""Weight regularisation (PIRF):
:math:`\lambda \sum_{\text{tensors}} \|w - w_0\|_2`, unsquared: a group
lasso around the base.

Its minimiser keeps a tensor at exactly :math:`w_0` while :math:`\|\nabla L\| \le \lambda`; for
:math:`\tfrac c2 \|w - t\|^2` it is :math:`w_0 + (t - w_0) \max(0, 1 - \lambda/(c\|t - w_0\|))`.  A subgradient
under Adam misses that on the first step and chatters around it ever after, so the default is the proximal map, whose
threshold is :math:`\eta\lambda` under SGD and :math:`\eta\lambda/\sqrt{\overline{\hat v}}` per tensor under Adam.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, final, runtime_checkable

import attrs
import torch
from torch import Tensor

from pirf.denoisers import Denoiser
from pirf.regularizers.base import Regularizer, anchored
from pirf.tensors import Field

__all__ = ["WeightAnchor"]


@runtime_checkable
class _Rated(Protocol):
    """An optimizer that says itself how long a step is per length of the gradient."""

    def effective_rate(self, parameter: Tensor) -> float: ...


@final
@attrs.frozen
class WeightAnchor(Regularizer):
    """``form="proximal"`` (default) and ``"subgradient"``: λ Σ‖w − w0‖₂; ``"squared"``: ½ λ Σ‖w − w0‖₂²."""

    strength: float = attrs.field(default=1e-3, validator=attrs.validators.ge(0))
    form: Literal["proximal", "subgradient", "squared"] = attrs.field(
        default="proximal", validator=attrs.validators.in_(("proximal", "subgradient", "squared"))
    )

    def penalty(self, tuned: Denoiser, base: Denoiser, states: Sequence[tuple[float, Field]]) -> Tensor:
        """Zero in the proximal form."""
        if self.form == "proximal":
            return tuned.like.new_zeros(())
        norms = [torch.linalg.vector_norm(w - origin.detach()) for w, origin in anchored(tuned, base)]
        total = torch.stack([0.5 * n**2 if self.form == "squared" else n for n in norms]).sum()
        return self.strength * total

    @torch.no_grad()
    def after_step(self, tuned: Denoiser, base: Denoiser, optimizer: torch.optim.Optimizer) -> None:
        """Pull every tensor towards w0 by its threshold, or onto it."""
        if self.form != "proximal":
            return
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        for w, origin in anchored(tuned, base):
            if id(w) not in groups:
                continue
            threshold = self.strength * _effective_rate(w, groups[id(w)], optimizer)
            change = w - origin
            distance = torch.linalg.vector_norm(change)
            w.copy_(origin + change * torch.clamp(1 - threshold / distance.clamp_min(1e-38), min=0))


def _effective_rate(w: Tensor, group: dict[str, Any], optimizer: torch.optim.Optimizer) -> float:
    """The learning rate that the tensor actually sees: lr, lr/√mean(v̂) under Adam, or what the optimizer says."""
    if isinstance(optimizer, _Rated):
        return optimizer.effective_rate(w)
    state, lr = optimizer.state[w], float(group["lr"])
    if "exp_avg_sq" not in state:
        return lr
    _, beta = group["betas"]
    second = state["exp_avg_sq"] / (1 - beta ** float(state["step"]))
    return lr / max(float(second.mean().sqrt()), 1e-30)
