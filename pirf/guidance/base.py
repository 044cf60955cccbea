r"""The seam for inference-time methods: ``step`` around the sampler's move, ``finish`` after the last.

Guidance never couples the samples of a batch: every norm is per sample.

Every guidance has a way in of the same form, ``posterior(denoiser, observation, reward=None)``: the guidance of this denoiser
by these measurements and, where there is one, by this equation.  What it needs beyond that has defaults without units.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import final

import attrs
import torch
from torch import Tensor, nn

from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance
from pirf.guidance.weights import Weight, weigh, zero_or_more
from pirf.noise import Noise
from pirf.rewards import Observation, ResidualReward, Reward
from pirf.samplers import Chain, State
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field, Level

__all__ = ["Guidance", "Term"]


@final
@attrs.frozen
class Term:
    r"""weight · L(x̂) with L = ‖R‖₂ / rows where the reward has a residual R, and −score where it has none.

    ``active`` is the share of the trajectory during which the term acts, (from, to) between 0 and 1; ``weight`` may be a rule
    of the noise level.

    A ``relative`` term has a weight without units: 1 is the step that would take L to zero if L were linear in the estimate,
    :math:`L\,\nabla L/\|\nabla L\|^2` in normalised units.  Where R is linear and has a zero, a weight below 2 never leads
    away from the solutions, whatever the number of rows, the units and the conditioning.  An L below zero is taken as met: a
    score that is not bounded by 0 needs a plain weight.

    ``together`` takes one norm over the whole batch, as released code does.  That couples the samples: a sample then depends on
    its neighbours.  It is here for comparison only.
    """

    reward: Reward = attrs.field()
    weight: float | Weight = attrs.field(default=1.0, validator=zero_or_more)
    active: tuple[float, float] = attrs.field(default=(0.0, 1.0))
    relative: bool = False
    together: bool = False

    @reward.validator
    def _differentiable(self, _: object, reward: object) -> None:
        if not isinstance(reward, Reward) or not reward.differentiable:
            raise InputError(
                "a guidance term needs a differentiable reward",
                got=repr(reward),
                why="its gradient moves the state",
                hint="an instance such as problem.reward, or SVDD(denoiser, reward), which only scores",
            )

    @active.validator
    def _share(self, _: object, active: object) -> None:
        numbers = isinstance(active, Sequence) and all(isinstance(share, Real) for share in active)
        if not (numbers and isinstance(active, Sequence) and len(active) == 2 and 0 <= active[0] <= active[1] <= 1):
            raise InputError(
                "the share of the steps in which a term acts, (from, to) between 0 and 1, is needed",
                got=f"active={active}",
                why="the term would never act",
                hint="active=(0.8, 1.0), the last fifth",
            )

    def __attrs_post_init__(self) -> None:
        if self.relative and self.together:
            raise InputError(
                "a term is relative or together",
                got="both",
                why="a step relative to each sample's own gradient has no norm of the batch",
                hint="together=False",
            )

    def acts(self, k: int, steps: int) -> bool:
        """Whether step k of ``steps`` lies in the active share."""
        return self.active[0] * steps <= k + 1e-9 and k < self.active[1] * steps - 1e-9

    def at(self, sigma: float) -> float:
        """The weight at a noise level."""
        return weigh(self.weight, sigma)

    def losses(self, x: Field, condition: Condition | None, sigma: float = math.inf) -> Tensor:
        """One weighted loss per sample, of physical fields."""
        weighted: Tensor = self.at(sigma) * self._unweighted(x, condition)
        return weighted

    def gradient(self, estimate: Field, scaling: Scaling, condition: Condition | None, sigma: float) -> Field:
        """By which the estimate is pulled, in normalised units: that of the losses, or the relative step."""
        with torch.enable_grad():
            leaf = estimate.detach().clone().requires_grad_()
            losses = self._unweighted(scaling.physical(leaf), condition)
            (gradient,) = torch.autograd.grad(losses.sum(), leaf)
        if self.relative:
            size = gradient.flatten(1).square().sum(1)
            steps = torch.where(size > 0, losses.detach().clamp_min(0) / size, 0)
            gradient = steps.reshape(-1, *[1] * (estimate.ndim - 1)) * gradient
        scaled: Tensor = self.at(sigma) * gradient
        return scaled

    def _unweighted(self, x: Field, condition: Condition | None) -> Tensor:
        if not isinstance(self.reward, ResidualReward):
            return -self.reward(x, condition)
        rows = self.reward.residuals(x, condition).flatten(1)
        if self.together:
            whole: Tensor = torch.linalg.vector_norm(rows) / rows.numel()
            return whole.expand(len(rows))
        losses: Tensor = torch.linalg.vector_norm(rows, dim=1) / rows.shape[1]
        return losses


class Guidance(Denoiser):
    """A denoiser with guidance around it.  Default: changes nothing."""

    def __init__(self, denoiser: Denoiser) -> None:
        instance("a denoiser to guide", denoiser, Denoiser, hint='pirf.load("poisson-32")')
        super().__init__(denoiser.shape, denoiser.scaling)
        if isinstance(denoiser, Guidance):
            raise InputError(
                "guidance wraps a plain denoiser",
                got=type(denoiser).__name__,
                why="two guidances would each claim the step",
                hint="one guidance with several terms",
            )
        self.inner = denoiser

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The unguided estimate."""
        return self.inner(x, sigma, condition)

    def start(self, z: Field) -> Field:
        """The inner denoiser's."""
        return self.inner.start(z)

    def for_step(self, departure: float) -> Denoiser:
        """The inner denoiser's."""
        return self.inner.for_step(departure)

    def admit(self, levels: Sequence[float]) -> None:
        """The inner denoiser's."""
        self.inner.admit(levels)

    def tunable(self) -> list[nn.Parameter]:
        """The inner denoiser's."""
        return self.inner.tunable()

    def step(self, chain: Chain, k: int, state: State, noise: Noise) -> State:
        """Step k; ``chain.advance`` makes the sampler's own move."""
        return chain.advance(k, state)

    def finish(self, chain: Chain, x: Field) -> Field:
        """After the last step."""
        return x


def fitting(denoiser: Denoiser, observation: Observation) -> Observation:
    """The observation, if it measures what the denoiser makes."""
    instance("a denoiser", denoiser, Denoiser, hint='pirf.load("poisson-32")')
    if not isinstance(observation, Observation) or observation.operator.shape != denoiser.shape:
        raise InputError(
            f"an observation of fields of shape {denoiser.shape} is needed",
            got=observation.operator.shape if isinstance(observation, Observation) else type(observation).__name__,
            why="that is what the denoiser makes",
            hint="Observation(mask, values, noise=0.01) with a mask of that shape",
        )
    return observation
