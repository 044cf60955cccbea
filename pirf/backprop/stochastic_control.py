r"""Stochastic control by iteration (PI-FT, reconstructed from secondary text): each step's shift is the slope it leads to,

.. math:: \delta_k \leftarrow \frac{v_k}{\alpha}\, E\,\nabla V_{k+1}(\mu_k^{base} + \delta_k + \sqrt{v_k}\,\epsilon),

a fixed-point iteration that contracts by :math:`-v_k\kappa_k/\alpha`, κ the curvature of −V, and diverges where that exceeds 1.
Here the network is regressed on the right-hand side: :math:`L = \overline{\sum_k \|\mu_k^\theta - \text{target}_k\|^2 / 2v_k}`,
the targets fixed for ``epochs`` updates.  A step is solved after the ones that follow it, whose policy its value is about:
``updates`` updates at the last, then one earlier.  How a change is answered by the next is measured at every batch, and an
iteration that diverges is stopped.

*Quadratic case.*  V = −½λ(x − y)², λ = α = 1, v = ½, y = 2, μ = 0: 1, ½, ¾, … → 2/3.
"""

from __future__ import annotations

import math
from typing import Any, final

import attrs
import torch

from pirf.backprop.base import GradientStrategy, Loss
from pirf.backprop.experience import beside, explore, laws
from pirf.backprop.learned import Batch, Learned, Scoring
from pirf.backprop.value_gradient import asked, slope
from pirf.backprop.values import Fitted, Value
from pirf.errors import NumericalError
from pirf.noise import Noise
from pirf.parallel import summed
from pirf.rewards import Reward
from pirf.samplers import Chain

__all__ = ["StochasticControl"]


@final
@attrs.frozen
class StochasticControl(Scoring):
    """Towards p·exp(r/``temperature``), step by step from the last; V ≈ E[r | x] less what the steps ahead cost."""

    temperature: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    value: Value = Fitted(structured=False)
    epochs: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    updates: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    """Updates of one step before its predecessor's turn; after the first comes the last again.  ``None``: all at once."""
    turn: int = 0

    @property
    def needs_gradient(self) -> bool:
        """Where its value does."""
        return self.value.needs_gradient

    @property
    def period(self) -> int:
        """New targets are set at a step's turn, and when they have served."""
        return math.lcm(self.epochs, self.updates or 1)

    def at(self, update: int) -> GradientStrategy:
        """The step whose turn it is."""
        return self if self.updates is None else attrs.evolve(self, turn=self.turn + update // self.updates)

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """The regression on the targets in use, or on new ones where these have served."""
        self.admit(reward)
        state, before = Learned.known(self, state), chain.tally.evaluations
        if state.batch is None or state.batch.epochs >= self.epochs or not state.batch.means.keys() & self._turns(state.batch):
            state.batch = self._collect(chain, reward, noise, state)
        used = state.batch
        used.epochs, fresh = used.epochs + 1, used.epochs == 0
        found, total = used.experience, torch.zeros(())
        for k, law in laws(chain, found, sorted(used.means)):
            total = total + law.divergence(attrs.evolve(law, mean=used.means[k])).mean()
        visited = tuple((chain.levels[k], found.before(k)) for k in sorted(used.means))
        rewards, vjps = asked(self.value, chain, sorted(used.means)) if fresh else (0, 0)
        notes = {"contraction": used.contraction, "rewards": found.rewards + 2 * rewards if fresh else 0}
        spent, graded = chain.tally.evaluations - before, len(used.means) + 2 * vjps
        return Loss(total, float(found.scores.mean()), visited, spent, graded, state, notes, found.condition)

    def _collect(self, chain: Chain, reward: Reward, noise: Noise, state: Learned) -> Batch:
        found = explore(chain, reward, noise, self.first_graded(chain), self.value.guesses)
        assert state.base is not None
        means, prices = beside(chain, state.base, found, self.temperature)
        batch = Batch(found, {})
        for k in self._turns(batch):
            law, reached = found.law(chain, k), found.after(k)
            pull = law.variance / self.temperature
            uphill = slope(self.value, state.value, chain, reward, reached, k + 1)
            batch.means[k] = means[k] + pull * uphill
            change = batch.means[k] - law.mean
            next_change = pull * (slope(self.value, state.value, chain, reward, reached + change, k + 1) - uphill)
            squares = summed(torch.stack([next_change.square().sum(), change.square().sum()]))  # over all ranks
            factor = float((squares[0] / squares[1].clamp_min(1e-60)).sqrt())
            if factor > 1:
                raise NumericalError(
                    f"StochasticControl diverges: a change of step {k} is answered by one {factor:.3g} times as large "
                    f"(v κ > α with v = {law.variance:.3g}, α = {self.temperature:g}); weights untouched. "
                    "Try a larger temperature, or more steps."
                )
            batch.contraction = max(batch.contraction, factor)
        self.value.learn(state.value, chain, found, found.returns(prices), noise.fold("value"))
        return batch

    def _turns(self, batch: Batch) -> set[int]:
        """The steps that are regressed now."""
        steps = batch.experience.steps
        return set(steps) if self.updates is None else {steps[-1 - self.turn % len(steps)]}
