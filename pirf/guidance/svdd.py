r"""Soft value-based decoding (SVDD, Li et al. 2024): of M candidates for the next state, keep one by its value,
:math:`x_{k+1} = x^{(j)},\ x^{(i)} \sim N(\mu_k, v_k I),\ P(j) \propto e^{V(x^{(j)})/\alpha},\ V(x) = r(D(x, \sigma_{k+1}))`.

Nothing is differentiated, so that a black box guides as well as an equation.  α = 0 keeps the best candidate.  Where a step
arrives at σ = 0 the value is the reward of the sample itself.

*Cost.*  The estimate of the candidate that is kept is the one from which the next step departs: 1 + M(N − 1) evaluations
and M(N − 1) rewards per sample, M more where the last step has a variance; with a fitted ``value`` of (x, σ) the N
evaluations of the plain sampler and as many values as there were rewards.

*Linear case.*  For a reward bx and Gaussian data N(m, s²) with exact kernels, the best of M shifts the mean by
:math:`e_M \sum_k \sqrt{v_k}\, w_{k+1}` with :math:`e_M` the expected maximum of M standard normal numbers and
:math:`w = s^2/(s^2 + \sigma^2)`: without bound as M grows.  With a temperature the shift tends to :math:`s^2 b/\alpha`, that
of p·exp(r/α).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from pirf.denoisers import Denoiser
from pirf.errors import InputError, NumericalError, instance, numbers
from pirf.guidance.base import Guidance, fitting
from pirf.noise import Noise
from pirf.rewards import Decades, Observation, Reward, Sum
from pirf.samplers import Chain, State, Transition
from pirf.tensors import Field, Score

__all__ = ["SVDD"]

_NOTHING = 1e-12
"""A mean square that counts as zero."""


@final
class SVDD(Guidance):
    """``SVDD(denoiser, reward, count=4)``: ``count`` candidates a step, for stochastic samplers.

    ``value`` maps (x, σ) of normalised states to one score per sample, in place of the reward of the estimate.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        reward: Reward,
        count: int = 4,
        temperature: float = 0.0,
        value: Callable[[Field, float], Score] | None = None,
    ) -> None:
        super().__init__(denoiser)
        instance("a reward that scores the candidates", reward, Reward, hint="SVDD(base, problem.reward)")
        numbers("SVDD(base, reward, count=4)", count=count, temperature=temperature)
        if count < 1 or not temperature >= 0:
            raise InputError(
                "at least one candidate and a temperature of 0 or more are needed",
                got=f"count={count}, temperature={temperature}",
                why="one of the candidates is kept, with probability ∝ exp(V/temperature)",
                hint="SVDD(base, reward, count=4)",
            )
        self.reward, self.count, self.temperature, self.value = reward, count, temperature, value

    @classmethod
    def posterior(
        cls,
        denoiser: Denoiser,
        observation: Observation,
        reward: Reward | None = None,
        *,
        count: int = 4,
        temperature: float = 0.0,
    ) -> SVDD:
        """Candidates by the decades that they gain in misfit and, where there is an equation, in its residual."""
        terms = (fitting(denoiser, observation), *([] if reward is None else [reward]))
        total = Sum(tuple(Decades(term, 1.0, epsilon=_NOTHING) for term in terms))
        return cls(denoiser, total, count, temperature)

    def extra_repr(self) -> str:
        """What is asked of the candidates."""
        return f"{self.reward!r}, count={self.count}, temperature={self.temperature}, value={self.value!r}"

    def step(self, chain: Chain, k: int, state: State, noise: Noise) -> State:
        """One transition, ``count`` draws from it, one of them kept."""
        with torch.no_grad():
            law = chain.transition(k, state)
            if law.variance == 0 and k + 1 < chain.steps:
                raise InputError(
                    "SVDD needs steps with a variance",
                    got=repr(chain.sampler),
                    why="all candidates would be the same",
                    hint="Ancestral(steps=20)",
                )
            if law.variance == 0:
                return State(law.mean, (), law.estimate)
            candidates = self._draws(law, noise)
            values, estimates = zip(*(self._judge(chain, k + 1, x) for x in candidates), strict=True)
            kept = self._choose(torch.stack(values), noise)
            return State(_pick(candidates, kept), (), law.estimate, ahead=_pick(estimates, kept))

    def _draws(self, law: Transition, noise: Noise) -> list[Field]:
        """The plain sampler's own draw, then those of a stream beside it."""
        return [law.draw(noise), *(law.draw(noise.fold("candidate", j)) for j in range(1, self.count))]

    def _judge(self, chain: Chain, at: int, x: Field) -> tuple[Score, Field | None]:
        """The value of x at level ``at``, and the estimate that it took, if it took one."""
        asked = self.reward if self.value is None or at == chain.steps else self.value
        if asked is self.value:
            estimate, values = None, self.value(x, chain.levels[at])
        else:
            estimate = chain.predict(x, at) if at < chain.steps else None
            values = self.reward(chain.physical(x if estimate is None else estimate), chain.condition)
        if bool(torch.isnan(values).any()):
            raise NumericalError(f"{asked!r} gave nan for a candidate at σ = {chain.levels[at]:.4g}. Try a finite value.")
        return values, estimate

    def _choose(self, values: Tensor, noise: Noise) -> Tensor:
        """The index of one candidate for every sample, from values ``(candidate, batch)``."""
        if self.temperature == 0:
            return values.argmax(0)
        shares = torch.softmax(values.double() / self.temperature, 0).cumsum(0)
        drawn = noise.fold("choice").uniform(shares.dtype, shares.device)
        return (shares[:-1] <= drawn * shares[-1]).sum(0)


def _pick(candidates: Sequence[Field | None], kept: Tensor) -> Any:
    fields = [x for x in candidates if x is not None]
    return torch.stack(fields)[kept, torch.arange(len(kept), device=kept.device)] if fields else None
