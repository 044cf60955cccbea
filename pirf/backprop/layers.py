r"""Layer-wise truncation: only the last stages of the network train, and the frozen trunk stays out of the graph.

The trunk runs without gradient exactly when the incoming state carries none, which at K = 1 is always: its activations
are not saved and the backward pass stops at its end, with gradients equal on the trained tensors.
"""

from __future__ import annotations

from typing import Any, final

import attrs
from torch import nn

from pirf.backprop.base import GradientStrategy, Loss
from pirf.denoisers import Denoiser
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain

__all__ = ["LayerTruncated"]


@final
@attrs.frozen
class LayerTruncated(GradientStrategy):
    """Any strategy, on the last ``stages`` stages: ``LayerTruncated(LastSteps(2), stages=1)``."""

    inner: GradientStrategy
    stages: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    def trainable(self, denoiser: Denoiser) -> list[nn.Parameter]:
        """The parameters of the last stages."""
        return denoiser.last_stages(self.stages)

    def init(self, chain: Chain, reward: Reward, noise: Noise) -> Any:
        """The inner strategy's."""
        return self.inner.init(chain, reward, noise)

    def first_graded(self, chain: Chain) -> int:
        """The inner strategy's."""
        return self.inner.first_graded(chain)

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """The inner loss, on a chain whose denoiser keeps its trunk out of the graph."""
        truncated = attrs.evolve(chain, denoiser=chain.denoiser.frozen_trunk(self.stages))
        return self.inner.loss(truncated, reward, noise, state)
