"""The shipped contracts accept what the package ships and catch each broken law."""

from typing import final

import attrs
import pytest
import torch

import pirf
from pirf.samplers import Sampler, State
from pirf.testing import ConstantNetwork, ContractError, check_denoiser, check_reward, check_sampler, check_strategy

PROBLEM = pirf.problems.poisson(8)
EXAMPLE = PROBLEM.sample(4)


@pytest.mark.parametrize("reward", [PROBLEM.reward, PROBLEM.solution_norm, pirf.Sum((PROBLEM.reward, PROBLEM.solution_norm))])
def test_shipped_rewards(reward):
    check_reward(reward, EXAMPLE + 0.1 * EXAMPLE.roll(1, 0))


@pytest.mark.parametrize("sampler", [pirf.Euler(60), pirf.Heun(20), pirf.Multistep(20), pirf.Ancestral(60)])
def test_shipped_samplers(sampler):
    check_sampler(sampler)


@pytest.mark.parametrize(
    "strategy",
    [pirf.Full(), pirf.Full(segments=2), pirf.LastSteps(1), pirf.LastSteps(2), pirf.LayerTruncated(pirf.LastSteps(2))],
)
def test_shipped_strategies(strategy):
    check_strategy(strategy)


@pytest.mark.parametrize("denoiser", [PROBLEM.oracle(), ConstantNetwork((2, 4, 4)), pirf.UNet((2, 8, 8), channels=8)])
def test_shipped_denoisers(denoiser):
    check_denoiser(denoiser)


@attrs.frozen
class Broken(pirf.PDEReward):
    fault: str

    def residual(self, x):
        a, u = x[:, :1], x[:, 1:]
        if self.fault == "couples":
            return a + u - u.mean()
        if self.fault == "dtype":
            return (a + u).double()
        if self.fault == "threshold":
            return a + torch.sign(u)
        if self.fault == "blind":
            return u
        return a + u

    def __call__(self, x, condition=None):
        scores = super().__call__(x, condition)
        return scores.mean() if self.fault == "scalar" else scores


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        ("couples", "must not influence"),
        ("dtype", "float32"),
        ("threshold", "derivative is not 0"),
        ("blind", "channel 0 is seen"),
        ("scalar", "one score per sample"),
    ],
)
def test_broken_rewards_are_caught(fault, law):
    check_reward(Broken("none"), EXAMPLE)
    with pytest.raises(ContractError, match=law) as caught:
        check_reward(Broken(fault), EXAMPLE)
    assert "\n" not in str(caught.value)


def test_a_sampler_that_forgets_between_calls_is_caught():
    @final
    @attrs.frozen
    class Forgetful(Sampler):
        past: list = attrs.field(factory=list)

        def step(self, denoise, state, departure, arrival, noise):
            self.past.append(len(self.past))
            estimate = denoise(state.x, departure)
            return State(estimate + (arrival / departure) * (state.x - estimate) * (1 + 1e-3 * len(self.past)))

    with pytest.raises(ContractError, match="split"):
        check_sampler(Forgetful(steps=4))


def test_a_strategy_that_draws_unkeyed_noise_is_caught():
    @final
    @attrs.frozen
    class Restless(pirf.GradientStrategy):
        inner: pirf.GradientStrategy = pirf.LastSteps(1)
        calls: list = attrs.field(factory=list)

        def loss(self, chain, reward, noise, state=None):
            self.calls.append(1)
            loss = self.inner.loss(chain, reward, noise, state)
            return attrs.evolve(loss, value=loss.value * len(self.calls))

    with pytest.raises(ContractError, match="same noise"):
        check_strategy(Restless())
