r"""Value gradients: every step's mean climbs the value of where it leads.

.. math:: \nabla L = -\overline{\sum_k (\partial_\theta \mu_k^\theta)^T \nabla V_{k+1}(x_{k+1})}
          + \eta\, \nabla\, \overline{\sum_k \|\mu_k^\theta - \mu_k^{base}\|^2 / 2 v_k}

at the visited states: the pathwise gradient of one step, the rest of the trajectory replaced by V.  :class:`ValueGradient`
(VARD, reconstructed from secondary text) fits V to scores alone, so that the reward needs no gradient.

*Closed forms.*  A linear reward moves step k by :math:`\delta_k = v_k b\,w_{k+1}/\eta`, one step with V = r = −½λ(x − y)² its
mean by :math:`v\lambda(y - \mu)/(\eta + v\lambda)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import attrs
import torch

from pirf.backprop.base import GradientStrategy, Loss
from pirf.backprop.experience import beside, explore, finite, laws
from pirf.backprop.learned import Learned, Scoring
from pirf.backprop.values import Fitted, Value
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain
from pirf.tensors import Field

__all__ = ["ValueGradient", "asked", "climb", "slope"]


def slope(value: Value, learned: Any, chain: Chain, reward: Reward, x: Field, k: int) -> Field:
    """∇V(x_k), finite."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        values = value.at(learned, chain, reward, leaf, k)
        if not values.requires_grad:
            raise InputError(
                "the gradient of a value is needed",
                got=f"{value!r}, which does not depend on x at step {k}",
                why=f"{reward!r} has no gradient, and nothing else in the value has one",
                hint="Fitted(structured=False), a value that is a network alone",
            )
        (found,) = torch.autograd.grad(values.sum(), leaf)
    return finite(found, "gradient of the value network")


def asked(value: Value, chain: Chain, steps: Sequence[int]) -> tuple[int, int]:
    """Calls of the reward and products with the denoiser's Jacobian that the slopes after these steps take, per sample."""
    return (len(steps), sum(k + 1 < chain.steps for k in steps)) if value.needs_gradient else (0, 0)


def climb(
    strategy: GradientStrategy,
    chain: Chain,
    reward: Reward,
    noise: Noise,
    state: Any,
    value: Value,
    kl: float,
    priced: bool,
    window: tuple[int, int] | None = None,
) -> Loss:
    """One batch of new trajectories, the value's slope at every arrival; with ``priced`` the value foresees the prices."""
    strategy.admit(reward)
    state, before = Learned.known(strategy, state), chain.tally.evaluations
    found = explore(chain, reward, noise, strategy.first_graded(chain), value.guesses)
    means, prices = beside(chain, state.base, found, kl) if state.base is not None else ({}, None)
    total, apart, learned = torch.zeros(()), 0.0, found.inside(window)
    for k, law in laws(chain, found, learned):
        total = total - (law.mean * slope(value, state.value, chain, reward, found.after(k), k + 1)).flatten(1).sum(1).mean()
        if kl:
            distance = law.divergence(attrs.evolve(law, mean=means[k])).mean()
            total, apart = total + kl * distance, apart + float(distance.detach())
    value.learn(state.value, chain, found, found.returns(prices if priced else None), noise.fold("value"))
    visited = tuple((chain.levels[k], found.before(k)) for k in learned)
    rewards, vjps = asked(value, chain, learned)
    notes = {"kl": apart, "rewards": found.rewards + rewards}
    spent = chain.tally.evaluations - before
    return Loss(total, float(found.scores.mean()), visited, spent, len(learned) + vjps, state, notes)


@final
@attrs.frozen
class ValueGradient(Scoring):
    """η = ``kl``: climb V ≈ E[r | x], stay near the base."""

    value: Value = Fitted(structured=False)
    kl: float = attrs.field(default=1.0, validator=attrs.validators.ge(0))

    @property
    def needs_gradient(self) -> bool:
        """Where its value does."""
        return self.value.needs_gradient

    @property
    def compares(self) -> bool:
        """Where leaving the base has a price."""
        return self.kl > 0

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """−Σ μ·∇V + η KL."""
        return climb(self, chain, reward, noise, state, self.value, self.kl, priced=False)
