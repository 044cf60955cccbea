r"""Reward-directed q-learning: policy and value agree along every trajectory, or are taught to.

With the running reward :math:`-g^2\|a - \hat s\|^2` and the score r at the end, the optimal value satisfies along *every* path

.. math:: G_k = V(x_{k+1}) - V(x_k) - \alpha \log \frac{\pi_\theta(x_{k+1}|x_k)}{\pi_{base}(x_{k+1}|x_k)} = 0,

the martingale condition for :math:`q(a) = -g^2\|a - a^*\|^2`, :math:`a^* = \hat s + \tfrac12\nabla V`, in continuous time, with
α = 2: for η = 1 twice the divergence of a step is :math:`g^2\|\Delta s\|^2 dt`.  The policy descends
:math:`\overline{\sum_k G_k^2}`, V is fitted to the returns :math:`r - \alpha\sum_{j \ge k} \log(\pi_\theta / \pi_{base})_j`.
A linear reward shifts the mean by :math:`s^2 b/\alpha`, for any number of steps with exact kernels.

Reconstructed from secondary text and derived for discrete transitions: where the original estimates the score from data, the
reference here is the untuned model.
"""

from __future__ import annotations

from typing import Any, final

import attrs
import torch

from pirf.backprop.base import Loss
from pirf.backprop.experience import beside, explore, finite, laws
from pirf.backprop.learned import Learned, Scoring
from pirf.backprop.values import Fitted, Value
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain

__all__ = ["RewardDirectedQ"]


@final
@attrs.frozen
class RewardDirectedQ(Scoring):
    """Towards p·exp(r/``temperature``); only the score of trajectories is asked for."""

    temperature: float = attrs.field(default=2.0, validator=attrs.validators.gt(0))
    value: Value = Fitted(structured=False)

    @property
    def needs_gradient(self) -> bool:
        """Scores are enough."""
        return False

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """Σ G² / 2α over new trajectories, V held."""
        state, before = Learned.known(self, state), chain.tally.evaluations
        assert state.base is not None
        found = explore(chain, reward, noise, self.first_graded(chain), self.value.guesses)
        means, _ = beside(chain, state.base, found, self.temperature)
        gained = finite(self.value.along(state.value, chain, found), "value network").diff(dim=0)
        total, prices = torch.zeros(()), torch.zeros_like(gained)
        for k, law in laws(chain, found, found.steps):
            reached = found.after(k)
            ratio = law.log_probability(reached) - attrs.evolve(law, mean=means[k]).log_probability(reached)
            prices[k - found.start] = self.temperature * ratio.detach()
            gap = gained[k - found.start] - self.temperature * ratio
            total = total + gap.square().mean() / (2 * self.temperature)
        self.value.learn(state.value, chain, found, found.returns(prices), noise.fold("value"))
        visited = tuple((chain.levels[k], found.before(k)) for k in found.steps)
        notes = {"martingale": float(total.detach()), "rewards": found.rewards}
        spent = chain.tally.evaluations - before
        return Loss(total, float(found.scores.mean()), visited, spent, len(found.steps), state, notes)
