import math

import pytest
import torch
from toys import Affine, Constant, Quadratic, Tiny

from pirf.backprop import Full, LastSteps
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.schedules import Levels


def gradients(strategy, network, sampler):
    loss = strategy.loss(Chain(sampler, network, Noise(0)), Quadratic(0.3), Noise(5)[range(2)])
    return loss, torch.autograd.grad(loss.value, list(network.parameters()))


@pytest.mark.parametrize("steps", [20, 40, 80])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_leverage_is_an_arctangent(steps, count):
    """∂x_N/∂θ over the last K steps is s·arctan(σ_{N−K}/s), to 0.1 %."""
    network, sampler = Affine(), Heun(steps=steps)
    (sensitivity,) = torch.autograd.grad(LastSteps(count).rollout(Chain(sampler, network, Noise(0))).x.sum(), [network.theta])
    assert abs(float(sensitivity) / (0.5 * math.atan(sampler.levels[steps - count] / 0.5)) - 1) < 1e-3


def test_the_share_of_the_whole_that_truncation_keeps():
    """At N = 20: K = 1, 2, 5 keep .25, .83, 12 % of the leverage of the whole chain."""
    whole = math.atan(80 / 0.5)
    for count, percent in ((1, 0.25), (2, 0.83), (5, 12)):
        share = math.atan(Heun(steps=20).levels[20 - count] / 0.5) / whole
        assert abs(100 * share / percent - 1) < 0.05


@pytest.mark.parametrize("kind", [Euler, Heun, Multistep, Ancestral])
def test_all_steps_are_full_bit_for_bit(kind):
    network, sampler = Tiny(), kind(steps=4)
    whole, expected = gradients(Full(), network, sampler)
    loss, got = gradients(LastSteps(4), network, sampler)
    assert torch.equal(loss.value, whole.value)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [Euler, Heun, Multistep, Ancestral])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_gradient_is_that_of_the_suffix_from_a_constant_state(kind, count):
    network, sampler = Tiny(), kind(steps=4)
    loss, got = gradients(LastSteps(count), network, sampler)
    chain = Chain(sampler, network, Noise(5)[range(2)])
    with torch.no_grad():
        state = chain.run(chain.initial(), 0, 4 - count)
    value = -Quadratic(0.3)(chain.run(state, 4 - count).x).mean()
    assert torch.equal(loss.value, value)
    for a, b in zip(got, torch.autograd.grad(value, list(network.parameters())), strict=True):
        assert torch.equal(a, b)


def test_costs():
    network = Tiny()
    for count, graded in ((1, 1), (2, 3), (3, 5)):
        loss, _ = gradients(LastSteps(count), network, Heun(steps=5))
        assert loss.evaluations == 9
        assert loss.vjps == graded
        assert [level for level, _ in loss.states] == list(Heun(steps=5).levels[5 - count : 5])
        assert loss.score == -float(loss.value.detach())


def test_a_weight_of_other_levels_gets_no_gradient():
    """The last step of D ≡ θ returns θ itself: sensitivity 1, whatever came before."""
    network = Constant()
    _, (gradient,) = gradients(LastSteps(1), network, Euler(steps=3, schedule=Levels((9.0, 3.0, 1.0, 0.0))))
    assert float(gradient) == -0.3


@pytest.mark.parametrize("count", [0, -1])
def test_no_steps_are_refused(count):
    with pytest.raises(InputError, match=r"at least one step must be differentiated: got LastSteps\("):
        LastSteps(count)


def test_more_steps_than_the_sampler_takes_are_refused():
    with pytest.raises(InputError, match=r"at most 3 steps can be differentiated: got LastSteps\(4\)"):
        gradients(LastSteps(4), Tiny(), Euler(steps=3))
