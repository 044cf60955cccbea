r"""The seam for inference-time methods: ``step`` around the sampler's move, ``finish`` after the last.

Guidance never couples the samples of a batch: every norm is per sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import torch
from torch import Tensor, nn

from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import ResidualReward, Reward
from pirf.samplers import Chain, State
from pirf.tensors import Condition, Field, Level

__all__ = ["Guidance", "Term"]


@final
@attrs.frozen
class Term:
    """weight · L(x̂) with L = ‖R‖₂ / rows where the reward has a residual R, and −score where it has none.

    ``active`` is the share of the trajectory during which the term acts.
    """

    reward: Reward = attrs.field()
    weight: float = attrs.field(validator=attrs.validators.ge(0))
    active: tuple[float, float] = (0.0, 1.0)

    @reward.validator
    def _differentiable(self, _: object, reward: Reward) -> None:
        if not reward.differentiable:
            raise InputError(
                "a guidance term needs a differentiable reward",
                got=repr(reward),
                why="its gradient moves the state",
                hint="SVDD(denoiser, reward), which only scores",
            )

    def acts(self, k: int, steps: int) -> bool:
        """Whether step k of ``steps`` lies in the active share."""
        return self.active[0] * steps <= k + 1e-9 and k < self.active[1] * steps - 1e-9

    def losses(self, x: Field, condition: Condition | None) -> Tensor:
        """One loss per sample, of physical fields."""
        if isinstance(self.reward, ResidualReward):
            rows = self.reward.residuals(x, condition).flatten(1)
            losses: Tensor = torch.linalg.vector_norm(rows, dim=1) / rows.shape[1]
        else:
            losses = -self.reward(x, condition)
        return self.weight * losses


class Guidance(Denoiser):
    """A denoiser with guidance around it.  Default: changes nothing."""

    def __init__(self, denoiser: Denoiser) -> None:
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
