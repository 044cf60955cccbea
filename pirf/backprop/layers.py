r"""Layer-wise truncation: only the last stages of the network train, and the frozen trunk stays out of the graph.

The trunk runs without gradient exactly when the incoming state carries none, which at K = 1 is always: its activations
are not saved and the backward pass stops at its end, with gradients equal on the trained tensors.

From the second graded evaluation on, the state depends on the weights and an exact gradient passes through the trunk:
:math:`\partial D/\partial x = c_{skip} + c_{out}\,\partial F/\partial x`.  ``state_path="preconditioner"`` keeps
:math:`c_{skip}` alone, which leaves every trunk out of the graph.  How far that errs depends on the network: at low noise
:math:`c_{skip}` is nearly 1, while a good denoiser removes what does not belong to the data, which is what a residual
feels most.  ``benchmarks/cosines.py`` measures the cosine with the exact gradient: look at it first.  Beyond K = 2 it is
refused, and dropping the path altogether is not offered.
"""

from __future__ import annotations

from typing import Any, Literal, final

import attrs
from torch import nn

from pirf.backprop.base import GradientStrategy, Loss
from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain

__all__ = ["LayerTruncated"]


@final
@attrs.frozen
class LayerTruncated(GradientStrategy):
    """Any strategy, on the last ``stages`` stages: ``LayerTruncated(LastSteps(2), stages=1)``."""

    inner: GradientStrategy = attrs.field()
    stages: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    state_path: Literal["exact", "preconditioner"] = attrs.field(
        default="exact", validator=attrs.validators.in_(("exact", "preconditioner"))
    )

    @inner.validator
    def _strategy(self, _: object, inner: object) -> None:
        instance("a strategy to truncate", inner, GradientStrategy, hint="LayerTruncated(LastSteps(2), stages=1)")

    @property
    def period(self) -> int:
        """The inner strategy's."""
        return self.inner.period

    def trainable(self, denoiser: Denoiser) -> list[nn.Parameter]:
        """The parameters of the last stages."""
        return denoiser.last_stages(self.stages)

    @property
    def needs_gradient(self) -> bool:
        """The inner strategy's."""
        return self.inner.needs_gradient

    def init(self, chain: Chain, reward: Reward, noise: Noise) -> Any:
        """The inner strategy's."""
        return self.inner.init(chain, reward, noise)

    def at(self, update: int) -> GradientStrategy:
        """The inner strategy's turn."""
        return attrs.evolve(self, inner=self.inner.at(update))

    def first_graded(self, chain: Chain) -> int:
        """The inner strategy's, no more than two steps back without the exact path."""
        first = self.inner.first_graded(chain)
        if self.state_path == "preconditioner" and chain.steps - first > 2:
            raise InputError(
                "the preconditioner can stand for the trunk over two steps at most",
                got=f"{chain.steps - first} graded steps of {self.inner!r}",
                why="further back its gradient points elsewhere",
                hint="state_path='exact', or LastSteps(2)",
            )
        return first

    def prepare(self, chain: Chain) -> Chain:
        """With a denoiser that keeps its trunk out of the graph."""
        denoiser = chain.denoiser.frozen_trunk(self.stages, self.state_path == "exact")
        return self.inner.prepare(attrs.evolve(chain, denoiser=denoiser))

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """The inner loss on the prepared chain."""
        self.first_graded(chain)
        return self.inner.loss(self.prepare(chain), reward, noise, state)
