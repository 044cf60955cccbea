r"""Policy gradients: the chain as a policy :math:`\pi_\theta(x_{k+1} | x_k) = N(\mu_k^\theta(x_k), v_k)`.

.. math:: L = -\overline{\sum_k \min(\rho_k A_k,\; \mathrm{clip}(\rho_k, 1 \pm \varepsilon) A_k)}
          + \beta\, \overline{\sum_k \|\mu_k^\theta - \mu_k^{base}\|^2 / 2 v_k},
          \qquad \rho_k = \pi_\theta(x_{k+1}|x_k) / \pi_{old}(x_{k+1}|x_k),

over trajectories of :math:`\pi_{old}`.  The reward is called, never differentiated.  :class:`PolicyGradient` (DDPO, Black et
al. 2023) gives every step the score of its trajectory, :class:`KLPolicyGradient` (DPOK, Fan et al. 2023) adds the second term
at the visited states.  In the first of the ``epochs`` that one batch of trajectories serves, ρ is 1 and nothing is clipped.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Literal, final

import attrs
import torch
from torch import Tensor

from pirf.backprop.base import Loss
from pirf.backprop.experience import Experience, beside, explore, finite, laws, standard_deviation
from pirf.backprop.learned import Batch, Learned, Scoring
from pirf.noise import Noise
from pirf.parallel import gathered
from pirf.rewards import Reward
from pirf.samplers import Chain

__all__ = ["KLPolicyGradient", "Policy", "PolicyGradient"]


@attrs.frozen
class Policy(Scoring):
    """Subclasses say what an action was worth: ``advantages``, and the ``value`` they read it from."""

    clip: float = attrs.field(default=0.2, validator=attrs.validators.gt(0))
    """ε; ``inf`` clips nothing."""
    epochs: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    kl: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    """β, in units of the advantages."""
    dimensions: Literal["sum", "mean"] = attrs.field(default="sum", validator=attrs.validators.in_(("sum", "mean")))
    """Of the log-probabilities: the mean, which released codes take, is a density of nothing but clips later."""
    window: tuple[int, int] | None = attrs.field(default=None, kw_only=True)
    """The steps that are learned; by default all."""

    @property
    def needs_gradient(self) -> bool:
        """Scores are enough."""
        return False

    @property
    def period(self) -> int:
        """The epochs of a batch."""
        return self.epochs

    @property
    def together(self) -> int:
        """Trajectories that begin in the same state."""
        return 1

    @abstractmethod
    def advantages(self, chain: Chain, experience: Experience, learned: Any, prices: Tensor | None) -> Tensor:
        """One per learned step and trajectory; ``prices``: β KL of all steps, (N − start, batch), if any."""

    @property
    def compares(self) -> bool:
        """Where leaving the base has a price."""
        return self.kl > 0

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """The clipped surrogate of the trajectories in use, or of new ones where these have served."""
        state, before = Learned.known(self, state), chain.tally.evaluations
        if state.batch is None or state.batch.epochs >= self.epochs:
            state.batch = self._collect(chain, reward, noise, state)
        used, fresh = state.batch, state.batch.epochs == 0
        total, clipped, apart = torch.zeros(()), 0.0, 0.0
        learned = used.experience.inside(self.window)
        for k, law in laws(chain, used.experience, learned):
            reached, size = used.experience.after(k), law.mean[0].numel() if self.dimensions == "mean" else 1
            density = law.log_probability(reached) / size
            if fresh:
                used.old[k] = density.detach()
            elif k not in used.old:  # a window that opens while the trajectories are in use
                used.old[k] = used.experience.law(chain, k).log_probability(reached) / size
            ratio, advantage = (density - used.old[k]).exp(), used.advantages[used.experience.steps.index(k)]
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
            clipped += float(((ratio - 1).abs() > self.clip).double().mean()) / len(learned)
            total = total - gain.mean()
            if self.kl:
                distance = law.divergence(attrs.evolve(law, mean=used.means[k])).mean()
                total, apart = total + self.kl * distance, apart + float(distance.detach())
        used.epochs += 1
        found = used.experience
        notes = {"clipped": clipped, "kl": apart, "rewards": found.rewards if fresh else 0}
        visited = tuple((chain.levels[k], found.before(k)) for k in learned)
        spent = chain.tally.evaluations - before
        return Loss(total, float(found.scores.mean()), visited, spent, len(learned), state, notes, found.condition)

    def _collect(self, chain: Chain, reward: Reward, noise: Noise, state: Learned) -> Batch:
        value = self.value
        guesses = value is not None and value.guesses
        experience = explore(chain, reward, noise, self.first_graded(chain), guesses, self.together)
        means, prices = beside(chain, state.base, experience, self.kl) if state.base is not None else ({}, None)
        what = type(self).__name__
        advantages = finite(self.advantages(chain, experience, state.value, prices), f"{what}, advantages")
        if value is not None:
            value.learn(state.value, chain, experience, experience.returns(prices), noise.fold("value"))
        return Batch(experience, means, advantages)


@attrs.frozen
class PolicyGradient(Policy):
    """Every step of a trajectory is worth what the trajectory scored, ``standardised`` over the batch or only centred.

    ``group`` trajectories at a time begin in the same state and are compared with each other alone: what is owed to where they
    began, often most of a score, is no action's merit.
    """

    standardised: bool = True
    group: int = attrs.field(default=1, validator=attrs.validators.ge(1))

    @property
    def together(self) -> int:
        """The group."""
        return self.group

    def advantages(self, chain: Chain, experience: Experience, learned: Any, prices: Tensor | None) -> Tensor:
        """(r − mean)/std, or r minus the mean of the others, of the batch or of the group."""
        scores = experience.scores
        standard_deviation(scores, "rewards")  # refused where all are the same
        whole = gathered(scores)  # of all ranks; a group lies within one
        size = self.group if self.group > 1 else len(whole)
        mean = scores.reshape(-1, size).mean(1, keepdim=True).expand(-1, size).reshape(-1) if self.group > 1 else whole.mean()
        gained = scores - mean
        unit = standard_deviation(gained, "rewards in their groups") if self.standardised else (size - 1) / size
        return (gained / unit).expand(len(experience.steps), -1)


@final
@attrs.frozen
class KLPolicyGradient(PolicyGradient):
    r"""The same with a price on leaving the base: for a linear reward bx, exact kernels and advantages that are only
    centred, the mean of step k moves by :math:`v_k b\,w_{k+1}/\beta`.

    The divergence is differentiated at the visited states, as published; that states with a small divergence ahead are worth
    more is left out, which matters where the divergence depends on the state.
    """

    kl: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
