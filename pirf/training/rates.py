r"""Learning-rate factors as functions of progress t ∈ [0, 1].  There is no hidden ramp anywhere else."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import final

import attrs

__all__ = ["Constant", "Cosine", "Rate"]

_share = (attrs.validators.ge(0.0), attrs.validators.lt(1.0))


class Rate(ABC):
    """Progress → factor on the learning rate."""

    @abstractmethod
    def __call__(self, progress: float) -> float:
        """The factor at this share of the budget."""


@final
@attrs.frozen
class Constant(Rate):
    """1 after a linear warm-up over the first ``warmup`` of the budget; more than all of it never ends."""

    warmup: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))

    def __call__(self, progress: float) -> float:
        """The factor."""
        return min(1.0, progress / self.warmup) if self.warmup else 1.0


@final
@attrs.frozen
class Cosine(Rate):
    """Linear warm-up if asked for, then half a cosine from 1 to ``final``."""

    warmup: float = attrs.field(default=0.0, validator=_share)
    final: float = attrs.field(default=0.0, validator=_share)

    def __call__(self, progress: float) -> float:
        """The factor."""
        if progress < self.warmup:
            return progress / self.warmup
        t = min(1.0, (progress - self.warmup) / (1 - self.warmup))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * t))
