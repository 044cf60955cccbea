r"""One step of a sampler: (x at σ) → (x at σ'), as a frozen value that knows nothing of rewards or training.

The state is x and the sampler's own detached memory, so that a chain split at any point equals the unsplit one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import attrs
from torch import Tensor

from pirf.errors import InputError
from pirf.noise import Noise
from pirf.schedules import EDM, Schedule
from pirf.tensors import Field

__all__ = ["Denoise", "Sampler", "State", "StochasticSampler", "Transition"]

Denoise = Callable[[Field, float], Field]
"""(x, σ) → estimate of x0: the network that the step belongs to, its condition bound."""


@final
@attrs.frozen(eq=False)
class State:
    """Where a trajectory stands: x, what the sampler remembers (detached), and the last estimate of the step that led here."""

    x: Field
    memory: tuple[Tensor, ...] = ()
    estimate: Field | None = None
    known: tuple[Tensor, ...] = ()
    """What the next step's network remembers of its evaluation at exactly this x."""
    ahead: Field | None = None
    """The next step's first estimate, at exactly this x, where something has asked for it already."""

    def detach(self) -> State:
        """The same values, ready to be a leaf: clones, so that inference tensors never reach a saved activation."""
        return State(self.x.detach().clone(), tuple(m.detach().clone() for m in self.memory))


@final
@attrs.frozen(eq=False)
class Transition:
    """The Gaussian law N(mean, variance·I) of one stochastic step."""

    mean: Field
    variance: float
    estimate: Field | None = None

    def draw(self, noise: Noise) -> Field:
        """Mean + √variance · ξ."""
        return self.mean + math.sqrt(self.variance) * noise.normal(self.mean.shape[1:], self.mean.dtype, self.mean.device)

    def log_probability(self, x: Field) -> Tensor:
        """Log N(x; mean, variance) of each sample."""
        squares = ((x - self.mean) ** 2).flatten(1)
        return -0.5 * (squares / self.variance + math.log(2 * math.pi * self.variance)).sum(1)

    def divergence(self, other: Transition) -> Tensor:
        """Kullback–Leibler divergence from ``other``, which has the same variance: ‖μ − μ'‖² / 2v of each sample."""
        return ((self.mean - other.mean) ** 2).flatten(1).sum(1) / (2 * self.variance)


def _count(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if not isinstance(value, int) or value < 1:
        raise InputError("a sampler takes at least one step", got=f"steps={value}", why="it has to reach σ=0", hint="steps=20")


@attrs.frozen
class Sampler(ABC):
    """A number of steps, their noise levels, and the rule for one step."""

    steps: int = attrs.field(default=20, validator=_count)
    schedule: Schedule = EDM()

    @property
    def levels(self) -> tuple[float, ...]:
        """σ_0 > … > σ_N = 0."""
        return self.schedule.levels(self.steps)

    @abstractmethod
    def step(self, denoise: Denoise, state: State, departure: float, arrival: float, noise: Noise) -> State:
        """Move from σ = ``departure`` to σ' = ``arrival``; all evaluations of the step go through ``denoise``."""

    def before_last(self, count: int) -> float:
        """The handover level before the last ``count`` steps, √(σ_{N−K−1} σ_{N−K})."""
        if not 1 <= count < self.steps:
            raise InputError(
                f"between 1 and {self.steps - 1} steps can follow a handover",
                got=count,
                why=f"the sampler takes {self.steps} steps and the first must be the base's",
                hint="before_last(1)",
            )
        return math.sqrt(self.levels[self.steps - count - 1] * self.levels[self.steps - count])


@attrs.frozen
class StochasticSampler(Sampler):
    """A sampler whose step is a Gaussian transition: policy gradients read their log-probabilities here."""

    @property
    @abstractmethod
    def memoryless(self) -> bool:
        """Whether the end of the chain is independent of its beginning."""

    @abstractmethod
    def variance(self, departure: float, arrival: float) -> float:
        """That of the step, the same in every dimension and at every state."""

    @abstractmethod
    def transition(self, denoise: Denoise, state: State, departure: float, arrival: float) -> Transition:
        """Mean and variance of the step."""

    def step(self, denoise: Denoise, state: State, departure: float, arrival: float, noise: Noise) -> State:
        """One draw of the transition; nothing is drawn where it has no variance."""
        law = self.transition(denoise, state, departure, arrival)
        return State(law.mean if law.variance == 0 else law.draw(noise), (), law.estimate)
