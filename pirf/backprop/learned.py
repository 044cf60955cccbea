r"""What a strategy without the reward's gradient carries from update to update: base, value network, trajectories in use."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, final

import attrs
import torch
from torch import Tensor

from pirf.backprop.base import GradientStrategy, Kept
from pirf.backprop.experience import Experience, random_steps
from pirf.backprop.values import Value
from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain
from pirf.tensors import Field

__all__ = ["Batch", "Learned", "Scoring"]


@final
@attrs.define(eq=False)
class Batch:
    """Trajectories in use, and what their steps are compared with: means, advantages (steps, batch), first densities."""

    experience: Experience
    means: dict[int, Field]
    advantages: Tensor = attrs.field(factory=lambda: torch.empty(0))
    old: dict[int, Tensor] = attrs.field(factory=dict)
    epochs: int = 0
    contraction: float = 0.0


@final
@attrs.define(eq=False)
class Learned:
    """Changed in place by the updates."""

    base: Denoiser | None = None
    value: Any = None
    batch: Batch | None = None

    def tensors(self) -> dict[str, Tensor]:
        """The value network and its optimizer; the base is made again from the start, trajectories in use are not kept."""
        return self.value.tensors() if isinstance(self.value, Kept) else {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Into a state that was made in the same way."""
        if isinstance(self.value, Kept):
            self.value.restore(tensors)

    def copied(self) -> Learned:
        """As it is now: an update that runs out of memory begins again from there.  What no update changes is shared."""
        value = copy.deepcopy(self.value) if isinstance(self.value, Kept) else self.value
        batch = None if self.batch is None else attrs.evolve(self.batch, old=dict(self.batch.old))
        return Learned(self.base, value, batch)

    @classmethod
    def known(cls, strategy: GradientStrategy, state: Any) -> Learned:
        """``state``, refused where it is not one."""
        if isinstance(state, Learned):
            return state
        raise InputError(
            f"{type(strategy).__name__} needs its state",
            got=f"state={state!r}",
            why="it keeps the base, the value network and the trajectories in use",
            hint="state = strategy.init(chain, reward, noise), before the first update",
        )


class Scoring(GradientStrategy):
    """Strategies that learn from trajectories and what they scored, read from the sampler's transitions."""

    @property
    def value(self) -> Value | None:
        """What states before the end are worth, where that is asked.  Default: it is not."""
        return None

    @property
    def separable(self) -> bool:
        """Trajectories are compared with each other, and serve several updates."""
        return False

    @property
    def compares(self) -> bool:
        """Whether the base is asked what it would have done.  Default: it is."""
        return True

    def first_graded(self, chain: Chain) -> int:
        """The first step with a trained weight, of a sampler that draws its steps."""
        return random_steps(chain, type(self).__name__)

    def init(self, chain: Chain, reward: Reward, noise: Noise) -> Learned:
        """A frozen copy of the denoiser where the base is asked, and the value, fitted to its trajectories."""
        start = self.first_graded(chain)
        base = copy.deepcopy(chain.denoiser).requires_grad_(False) if self.compares else None
        return Learned(base, None if self.value is None else self.value.init(chain, reward, noise, start))
