r"""Trajectories as experience: :math:`x_{k+1} \sim N(\mu_k(x_k), v_k)`, drawn without a graph, and what they scored.

What a strategy without a gradient of the reward learns from: states, the estimates that the steps made anyway, one score per
trajectory.  Every density and divergence is that of :meth:`pirf.samplers.chain.Chain.transition`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.backprop.base import first_trained, score
from pirf.denoisers import Denoiser
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.parallel import gathered
from pirf.rewards import Reward
from pirf.samplers import Chain, State, StochasticSampler, Transition
from pirf.tensors import Condition, Field

__all__ = ["Experience", "beside", "drawn", "explore", "finite", "laws", "random_steps", "standard_deviation", "standardised"]


@final
@attrs.frozen(eq=False)
class Experience:
    """One batch of trajectories from step ``start``: x_start … x_N, the estimates of its steps, the scores of x_N."""

    start: int
    states: tuple[Field, ...]
    estimates: tuple[Field, ...]
    guesses: Tensor | None
    """Scores of the estimates, (N − start, batch), where they were asked for."""
    scores: Tensor
    """In the dtype and on the device of the states."""
    steps: tuple[int, ...]
    """Those with a variance: the others have no density and are not learned."""
    evaluations: int
    condition: Condition | None = None
    """What each trajectory was told."""

    @property
    def rewards(self) -> int:
        """Calls of the reward per sample."""
        return 1 + (0 if self.guesses is None else len(self.guesses))

    def before(self, k: int) -> Field:
        """x_k."""
        return self.states[k - self.start]

    def after(self, k: int) -> Field:
        """x_{k+1}."""
        return self.states[k + 1 - self.start]

    def returns(self, prices: Tensor | None = None) -> Tensor:
        """From every step on, (N − start, batch): the score, less the prices still to be paid."""
        whole = self.scores.expand(len(self.estimates), -1)
        return whole if prices is None else whole - prices.flip(0).cumsum(0).flip(0)

    def inside(self, window: tuple[int, int] | None) -> tuple[int, ...]:
        """Those of the steps that lie in the window, if there is one."""
        return tuple(k for k in self.steps if window is None or window[0] <= k < window[1])

    def whole(self) -> Experience:
        """The states and scores of all ranks' trajectories, in the order of their samples."""
        states, guesses = tuple(gathered(x) for x in self.states), self.guesses
        known = None if guesses is None else gathered(guesses, -1)
        return attrs.evolve(self, states=states, guesses=known, scores=gathered(self.scores))

    def law(self, chain: Chain, k: int) -> Transition:
        """The transition that step k was drawn from; no evaluation."""
        assert isinstance(chain.sampler, StochasticSampler)
        estimate = self.estimates[k - self.start]
        return chain.sampler.transition(lambda *_: estimate, State(self.before(k)), chain.levels[k], chain.levels[k + 1])


def random_steps(chain: Chain, name: str) -> int:
    """The first step that is learned, of a sampler that draws its steps: refused otherwise."""
    if not isinstance(chain.sampler, StochasticSampler):
        raise InputError(
            f"{name} needs transition probabilities",
            got=repr(chain.sampler),
            why="an ODE step has no density, so that nothing is explored",
            hint="Ancestral(steps=20), or Ancestral(eta=0, spread=0.1): Euler with a Gaussian policy over scores",
        )
    return min(first_trained(chain), chain.steps - 1)


def drawn(chain: Chain, first: int) -> tuple[int, ...]:
    """The steps from ``first`` on that have a variance."""
    sampler = chain.sampler
    assert isinstance(sampler, StochasticSampler)
    return tuple(k for k in range(first, chain.steps) if sampler.variance(*chain.levels[k : k + 2]) > 0)


def explore(chain: Chain, reward: Reward, noise: Noise, start: int, guesses: bool = False, group: int = 1) -> Experience:
    """Trajectories of the current weights, ``group`` at a time from one state, which may be a stored one."""
    if len(noise) % group:
        raise InputError(
            f"a batch of groups of {group} is needed",
            got=f"{len(noise)} trajectories",
            why="each group is compared with itself",
            hint=f"batch={group * max(1, len(noise) // group)}",
        )
    together = noise if group == 1 else noise[[noise.samples[i - i % group] for i in range(len(noise))]]
    mine = attrs.evolve(chain, noise=noise, tally=type(chain.tally)())
    if group > 1:  # those that are compared with each other are told the same
        mine = attrs.evolve(mine, condition=attrs.evolve(mine, noise=together).condition)
    visited: list[State] = []
    with torch.no_grad():
        first, departed = attrs.evolve(mine, noise=together).depart(start)
        final = mine.run(departed, first, visit=lambda k, state: visited.append(state))
        trail = [*visited, final]
        estimates = tuple(state.estimate.detach() for state in trail[1:] if state.estimate is not None)
        seen = (*estimates, final.x) if guesses else (final.x,)
        found = torch.stack([score(reward, mine.physical(x), mine.condition).detach() for x in seen])
        scores = found.to(final.x)  # what a black box returns may be of another kind
    chain.tally.evaluations += mine.tally.evaluations
    random = drawn(chain, first)
    if not random:
        raise InputError(
            "a step with a variance is needed",
            got=f"{chain.sampler!r} from step {first}",
            why="the step to σ=0 is deterministic and has no density",
            hint="a handover before the last 2 steps or more, or Ancestral(spread=0.5)",
        )
    states = tuple(state.x for state in trail)
    guessed = scores[:-1] if guesses else None
    return Experience(first, states, estimates, guessed, scores[-1], random, mine.tally.evaluations, mine.condition)


def laws(chain: Chain, experience: Experience, steps: Sequence[int]) -> Iterator[tuple[int, Transition]]:
    """The transitions from visited states under the chain's weights, with a graph where these are trained.

    One evaluation each; in a graph it is made again in the backward pass, so that memory is that of one.
    """
    chain = attrs.evolve(chain, recompute=True, condition=experience.condition)
    for k in steps:
        yield k, chain.transition(k, State(experience.before(k)))


def beside(chain: Chain, base: Denoiser, experience: Experience, weight: float) -> tuple[dict[int, Field], Tensor]:
    """The base's means at the visited states, and what leaving it cost: weight · KL of every step, (N − start, batch)."""
    untuned, means = attrs.evolve(chain, denoiser=base, quick=None, prefixes=None), {}
    prices = experience.scores.new_zeros(len(experience.estimates), len(experience.scores))
    with torch.no_grad():
        for k, law in laws(untuned, experience, experience.steps):
            means[k] = law.mean
            prices[k - experience.start] = weight * experience.law(chain, k).divergence(law)
    return means, prices


def standardised(values: Tensor, what: str, limit: float | None = None) -> Tensor:
    """(values − mean) / standard deviation over the batch of all ranks (the last dimension), cut at ±``limit``."""
    out = (values - gathered(values, -1).mean(-1, keepdim=True)) / standard_deviation(values, what)[..., None]
    return out if limit is None else out.clamp(-limit, limit)


def standard_deviation(values: Tensor, what: str) -> Tensor:
    """Over the batch of all ranks (the last dimension), refused where it is zero."""
    finite(values, what)
    values = gathered(values, -1)
    rows = values.reshape(-1, values.shape[-1])
    spread = rows.std(1) if rows.shape[1] > 1 else torch.zeros_like(rows[:, 0])
    equal = spread <= 16 * torch.finfo(rows.dtype).eps * rows.abs().amax(1)
    if bool(equal.any()):
        raise NumericalError(
            f"{what}: all {rows.shape[1]} values of a batch are {float(rows[equal][0, 0]):.6g} and prefer no trajectory to "
            "another; weights untouched. Try a larger batch, or a reward that tells samples apart."
        )
    return spread.reshape(values.shape[:-1])


def finite(values: Tensor, what: str) -> Tensor:
    """The values, refused when one of them is not finite."""
    if not bool(torch.isfinite(values).all()):
        raise NumericalError(
            f"{what}: {int((~torch.isfinite(values)).sum())} of {values.numel()} values are not finite; weights untouched. "
            "Try a smaller learning rate of the value network, or of the policy."
        )
    return values
