r"""Distillation: :math:`\lambda\, E\|D_\theta(x_\sigma, \sigma) - D_{base}(x_\sigma, \sigma)\|^2` on the detached states
of the rollout.

Two more evaluations per visited state and update, against none for :class:`WeightAnchor`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.denoisers import Denoiser
from pirf.regularizers.base import Regularizer
from pirf.tensors import Field

__all__ = ["Distillation"]


@final
@attrs.frozen
class Distillation(Regularizer):
    """Mean-square distance of the estimates, averaged over the visited states."""

    strength: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))

    def penalty(self, tuned: Denoiser, base: Denoiser, states: Sequence[tuple[float, Field]]) -> Tensor:
        """Both networks on every state; the base without gradient."""
        total = tuned.like.new_zeros(())
        for level, x in states:
            sigma = torch.tensor(level, dtype=x.dtype, device=x.device)
            with torch.no_grad():
                target = base.for_step(level)(x, sigma)
            total = total + (tuned.for_step(level)(x, sigma) - target).square().mean()
        return self.strength * total / max(len(states), 1)
