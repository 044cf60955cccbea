r"""Rewards made of rewards: :math:`\sum_j w_j r_j`, and the stop-gradient into what is given.

Wrap, don't subclass: every combination is again a reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import attrs
import torch

from pirf.errors import InputError, instance
from pirf.rewards.base import ResidualReward, Reward
from pirf.tensors import Condition, Field, Residual, Score

__all__ = ["Decades", "Given", "Scaled", "Sum", "balance"]


def _reward(_: object, __: object, reward: Any) -> None:
    instance("a reward inside a reward", reward, Reward, hint="an instance such as problem.reward")


def _rewards(_: object, __: object, rewards: Any) -> None:
    instance("a tuple of rewards", rewards, (tuple, list), hint="Sum((problem.reward, observation))")
    for reward in rewards:
        _reward(None, None, reward)


@final
@attrs.frozen
class Scaled(Reward):
    """weight · reward."""

    reward: Reward = attrs.field(validator=_reward)
    weight: float = attrs.field(validator=attrs.validators.gt(0))

    @property
    def differentiable(self) -> bool:
        """The inner reward's."""
        return self.reward.differentiable

    def __call__(self, x: Field, condition: Condition | None = None) -> Score:
        """The weighted score."""
        return self.weight * self.reward(x, condition)


@final
@attrs.frozen
class Sum(Reward):
    """The sum of rewards."""

    rewards: tuple[Reward, ...] = attrs.field(validator=(_rewards, attrs.validators.min_len(1)))

    @property
    def differentiable(self) -> bool:
        """If all of them are."""
        return all(reward.differentiable for reward in self.rewards)

    def __call__(self, x: Field, condition: Condition | None = None) -> Score:
        """The sum of the scores."""
        return torch.stack([reward(x, condition) for reward in self.rewards]).sum(0)


@final
@attrs.frozen
class Decades(Reward):
    r""":math:`-\log_{10}(\varepsilon - r/\text{unit})`: how many decades a negative score has gained on ``unit``.

    Its gradient is a relative one, so that samples with small residuals count as much as wild ones; ε is where gains end.
    """

    reward: Reward = attrs.field(validator=_reward)
    unit: float = attrs.field(validator=attrs.validators.gt(0))
    epsilon: float = attrs.field(default=1e-3, validator=attrs.validators.gt(0))

    @property
    def differentiable(self) -> bool:
        """The inner reward's."""
        return self.reward.differentiable

    def __call__(self, x: Field, condition: Condition | None = None) -> Score:
        """0 at −unit, 1 at a tenth of it."""
        return -torch.log10(self.epsilon - self.reward(x, condition) / self.unit)


@final
@attrs.frozen
class Given(ResidualReward):
    """The same value, but no gradient into what the problem takes as given: whole channels, or the first ``frames`` of all.

    Without it the cheapest way to please a reward is often to bend the given fields (blurring a permeability, flattening an
    initial state).
    """

    reward: Reward = attrs.field(validator=_reward)
    channels: tuple[int, ...] = ()
    frames: int = attrs.field(default=0, validator=attrs.validators.ge(0))

    @property
    def differentiable(self) -> bool:
        """The inner reward's."""
        return self.reward.differentiable

    def __call__(self, x: Field, condition: Condition | None = None) -> Score:
        """The inner score, its gradient restricted to what is solved for."""
        return self.reward(self._detached(x), condition)

    def residuals(self, x: Field, condition: Condition | None = None) -> Residual:
        """The inner residual, where there is one."""
        if not isinstance(self.reward, ResidualReward):
            raise InputError(
                "a reward with a residual is needed",
                got=repr(self.reward),
                why="only residuals can be projected on or normed row by row",
                hint="wrapping a PDEReward in Given",
            )
        return self.reward.residuals(self._detached(x), condition)

    def _detached(self, x: Field) -> Field:
        given = torch.zeros(x.shape[1:3], dtype=torch.bool, device=x.device)
        given[list(self.channels)] = True
        given[:, : self.frames] = True
        return torch.where(given.reshape(*given.shape, *[1] * (x.ndim - 3)), x.detach(), x)


def balance(
    rewards: Sequence[Reward], fields: Field, weights: Sequence[float] | None = None, condition: Condition | None = None
) -> Sum:
    """Σ wⱼ · decades that rⱼ has gained over its mean on ``fields``, typically samples of the base model.

    A rule instead of a constant per problem: every term starts near 0, whatever its unit, and gaining a decade counts the
    same at any level.  A plain sum of squares is all about its stiffest term and its worst samples.
    """
    _rewards(None, None, rewards)
    weights = [1.0] * len(rewards) if weights is None else list(weights)
    with torch.no_grad():
        units = [float(-reward(fields, condition).mean()) for reward in rewards]
    for reward, unit in zip(rewards, units, strict=True):
        if not unit > 0 or unit == float("inf"):
            raise InputError(
                "rewards can be balanced on fields that score finitely and below zero",
                got=f"a mean of {-unit:g} for {reward!r}",
                why="each term is measured in units of its own mean",
                hint="samples of the untuned model",
            )
    return Sum(tuple(Scaled(Decades(r, unit), w) for r, unit, w in zip(rewards, units, weights, strict=True)))
