r"""What a strategy without the reward's gradient carries from update to update: base, value network, trajectories in use."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, final

import attrs
import torch
from torch import Tensor

from pirf.backprop.base import GradientStrategy, Kept
from pirf.backprop.experience import Experience
from pirf.backprop.values import Value
from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain
from pirf.tensors import Field

__all__ = ["Batch", "Learned"]


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

    @classmethod
    def of(
        cls, strategy: GradientStrategy, chain: Chain, reward: Reward, noise: Noise, value: Value | None, with_base: bool
    ) -> Learned:
        """Before the first update: a frozen copy of the denoiser, a value fitted to its trajectories."""
        start = strategy.first_graded(chain)
        base = copy.deepcopy(chain.denoiser).requires_grad_(False) if with_base else None
        return cls(base, None if value is None else value.init(chain, reward, noise, start))

    def tensors(self) -> dict[str, Tensor]:
        """The value network and its optimizer; the base is made again from the start, trajectories in use are not kept."""
        return self.value.tensors() if isinstance(self.value, Kept) else {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Into a state that was made in the same way."""
        if isinstance(self.value, Kept):
            self.value.restore(tensors)

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
