"""Several regularizers at once: the sum of their penalties, their proximal maps in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.denoisers import Denoiser
from pirf.regularizers.base import Regularizer
from pirf.tensors import Field

__all__ = ["Together"]


@final
@attrs.frozen
class Together(Regularizer):
    """``Together((WeightAnchor(1e-3), Distillation(0.1)))``."""

    parts: tuple[Regularizer, ...]

    def penalty(self, tuned: Denoiser, base: Denoiser, states: Sequence[tuple[float, Field]]) -> Tensor:
        """The sum."""
        return sum((part.penalty(tuned, base, states) for part in self.parts), tuned.like.new_zeros(()))

    def after_step(self, tuned: Denoiser, base: Denoiser, optimizer: torch.optim.Optimizer) -> None:
        """One after the other."""
        for part in self.parts:
            part.after_step(tuned, base, optimizer)
