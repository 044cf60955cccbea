r"""The seam between a chain and an optimizer: chain × reward × noise → :math:`L(\theta)` with its gradient.

A pathwise strategy differentiates :math:`L = -\overline{r(x_N)}` straight through (a part of) the chain and implements only
``rollout``.  Strategies that learn something beside the denoiser keep it in an explicit state.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, final, runtime_checkable

import attrs
import torch
from torch import Tensor, nn

from pirf.denoisers import Denoiser
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, State
from pirf.tensors import Condition, Field, Score, spoiled

__all__ = ["GradientStrategy", "Kept", "Loss", "Pathwise", "Rollout", "score"]

Visited = tuple[float, Field]


@final
@attrs.frozen(eq=False)
class Loss:
    """What one update needs: the value to differentiate, what was visited on the way, and what it cost per sample."""

    value: Tensor
    score: float
    states: tuple[Visited, ...] = ()
    evaluations: int = 0
    vjps: int = 0
    state: Any = None
    notes: Mapping[str, float] = attrs.field(factory=dict)
    """What a strategy has to say of itself, for the history."""
    condition: Condition | None = None
    """What the samples of ``states`` were told, where they are not those of the noise."""


@final
@attrs.frozen(eq=False)
class Rollout:
    """The final state with its graph, and the (level, detached x) from which the graded steps departed."""

    x: Field
    states: tuple[Visited, ...]
    others: tuple[Field, ...] = ()
    """More estimates of the final state, whose scores count as much as its own."""


@runtime_checkable
class Kept(Protocol):
    """A strategy's state that goes into every checkpoint: what could not be made again from the start of the run."""

    def tensors(self) -> dict[str, Tensor]:
        """By name."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Write them back, in place."""


class GradientStrategy(ABC):
    """Frozen: which steps, layers and estimator carry gradient."""

    @property
    def needs_gradient(self) -> bool:
        """Whether it differentiates the reward; a strategy that only scores with it says False."""
        return True

    def admit(self, reward: Reward) -> None:
        """Refuse a reward without a gradient where one is needed, before anything is computed."""
        if self.needs_gradient and not reward.differentiable:
            raise InputError(
                f"{type(self).__name__} needs a differentiable reward",
                got=repr(reward),
                why="its gradient would be asked for, and it only gives scores",
                hint="ContinuousTime, PolicyGradient or ValueGradient, which only score, or SVDD when sampling",
            )

    @property
    def separable(self) -> bool:
        """Whether the loss is a mean over samples, so that parts of a batch add up.  Default: it is."""
        return True

    @property
    def period(self) -> int:
        """After multiples of so many updates no trajectories are in use: checkpoints are written there.  Default: always."""
        return 1

    def trainable(self, denoiser: Denoiser) -> list[nn.Parameter]:
        """What the optimizer gets.  Default: all that may be tuned."""
        return denoiser.tunable()

    def init(self, chain: Chain, reward: Reward, noise: Noise) -> Any:
        """The state of a strategy that learns something itself.  Default: none."""
        return None

    def at(self, update: int) -> GradientStrategy:
        """The strategy of this update.  Default: always the same."""
        return self

    def prepare(self, chain: Chain) -> Chain:
        """The chain as this strategy evaluates it.  Default: as it is."""
        return chain

    def first_graded(self, chain: Chain) -> int:
        """The earliest step that may carry gradient; all before it is a prefix."""
        return 0

    @abstractmethod
    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """The loss of the samples of ``noise``."""


class Pathwise(GradientStrategy):
    """Reward gradients through the chain itself; needs a differentiable reward."""

    @abstractmethod
    def rollout(self, chain: Chain) -> Rollout:
        """From the chain's noise to x_N, with a graph over the steps that this strategy differentiates."""

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """−mean score of the final samples, in physical units."""
        self.admit(reward)
        keyed = attrs.evolve(chain, noise=noise, tally=type(chain.tally)())
        rollout = self.rollout(keyed)
        finals = (rollout.x, *rollout.others)
        scores = torch.stack([score(reward, keyed.physical(x), keyed.condition) for x in finals])
        if not scores.requires_grad:
            raise InputError(
                f"{type(self).__name__} needs a differentiable reward and trainable steps",
                got=f"a score without gradient from {reward!r}",
                why="the final sample does not depend on any trainable weight, or the reward stops its gradient",
                hint="a PDEReward, and more differentiated steps",
            )
        chain.tally.evaluations += keyed.tally.evaluations
        graded = keyed.tally.evaluations - keyed.tally.ungraded
        return Loss(-scores.mean(), float(scores[0].detach().mean()), rollout.states, keyed.tally.evaluations, graded, state)


def first_trained(chain: Chain) -> int:
    """The first step whose network has a weight that requires a gradient; N if none has."""
    networks = (chain.denoiser.for_step(level) for level in chain.levels[:-1])
    return next((k for k, network in enumerate(networks) if any(p.requires_grad for p in network.parameters())), chain.steps)


def visitor(into: list[Visited], chain: Chain) -> Any:
    """A ``visit`` for :meth:`Chain.run` that notes (level, detached x)."""

    def visit(k: int, state: State) -> None:
        into.append((chain.levels[k], state.x.detach()))

    return visit


def score(reward: Reward, fields: Field, condition: Condition | None) -> Score:
    """The scores, refused before any harm when one of them is not finite."""
    scores = reward(fields, condition)
    if not bool(torch.isfinite(scores).all()):
        bad = spoiled(fields)
        where = f"channel(s) {bad} of the sample are not finite" if bad else "the fields are finite, their score is not"
        raise NumericalError(f"{reward!r} gave {float(scores.detach().mean())}: {where}; weights untouched. Try a smaller lr.")
    return scores
