import math

import pytest
import torch
from tolerances import assert_close
from toys import Affine, Quadratic, Tiny, scramble, tiny_unet

from pirf.backprop import Full
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.schedules import Logarithmic


def gradients(strategy, network, sampler, samples=2):
    chain = Chain(sampler, network, Noise(0))
    loss = strategy.loss(chain, Quadratic(0.3), Noise(5)[range(samples)])
    return loss, torch.autograd.grad(loss.value, list(network.parameters()))


@pytest.mark.parametrize(("steps", "leverage"), [(20, 0.79857), (40, 0.78603), (80, 0.78317)])
def test_the_leverage_of_all_heun_steps(steps, leverage):
    """∂x_N/∂θ for D = c_skip x + c_out θ, and its limit s·arctan(σ_max/s) = .782273 with second order."""
    network = Affine()
    x = Full().rollout(Chain(Heun(steps=steps), network, Noise(0))).x
    (sensitivity,) = torch.autograd.grad(x.sum(), [network.theta])
    assert abs(float(sensitivity) - leverage) < 1e-5
    assert abs(0.5 * math.atan(80 / 0.5) - 0.782273) < 1e-6


@pytest.mark.parametrize("kind", [Euler, Heun, Multistep, Ancestral])
@pytest.mark.parametrize("segments", [1, 2, 3, 5, 50])
def test_checkpointed_is_plain_bit_for_bit(kind, segments):
    network, sampler = Tiny(), kind(steps=5)
    plain, expected = gradients(Full(), network, sampler)
    loss, got = gradients(Full(segments=segments), network, sampler)
    assert torch.equal(loss.value, plain.value)
    assert loss.evaluations == plain.evaluations
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


def test_as_many_segments_as_steps_recompute_one_evaluation_at_a_time():
    """The backward pass asks for them one by one, the last first; of a longer segment it makes all from its start."""
    network, asked = Tiny(), []
    plain = network.encode
    network.encode = lambda x, c_noise, condition, last: asked.append(float(c_noise[0])) or plain(x, c_noise, condition, last)
    gradients(Full(segments=8), network, Heun(steps=8))
    assert len(asked) == 2 * 15
    assert asked[15:] == asked[14::-1]
    asked.clear()
    gradients(Full(segments=4), network, Heun(steps=8))
    assert asked[15:18] == asked[12:15]


@pytest.mark.parametrize("kind", [Heun, Multistep])
def test_checkpointed_is_plain_on_a_unet(kind):
    network, sampler = tiny_unet(), kind(steps=3)
    _, expected = gradients(Full(), network, sampler)
    _, got = gradients(Full(segments=2), network, sampler)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", [Euler, Heun, Ancestral])
def test_the_gradient_is_that_of_finite_differences(kind):
    """Sixth-order central differences of the loss in four random directions of weight space."""
    network = Tiny((2, 4, 4), width=2)
    scramble(network, 0.3)
    sampler = kind(steps=3, schedule=Logarithmic(0.2, 2.0))
    parameters = list(network.parameters())
    _, exact = gradients(Full(), network, sampler)
    origin = [p.detach().clone() for p in parameters]

    def value(direction, h):
        with torch.no_grad():
            for p, o, d in zip(parameters, origin, direction, strict=True):
                p.copy_(o + h * d)
        return float(Full().loss(Chain(sampler, network, Noise(0)), Quadratic(0.3), Noise(5)[range(2)]).value.detach())

    for seed in range(4):
        direction = [Noise(seed).fold("direction", i).normal(p.shape, torch.float64)[0] for i, p in enumerate(parameters)]
        length = math.sqrt(sum(float(d.square().sum()) for d in direction))
        direction = [d / length for d in direction]
        h = 1e-2
        odd = [value(direction, k * h) - value(direction, -k * h) for k in (1, 2, 3)]
        slope = (45 * odd[0] - 9 * odd[1] + odd[2]) / (60 * h)
        analytic = sum(float((g * d).sum()) for g, d in zip(exact, direction, strict=True))
        assert_close(slope, analytic, unit=sum(float(g.norm() * d.norm()) for g, d in zip(exact, direction, strict=True)))


def test_costs_and_states_are_those_of_the_chain():
    network = Tiny()
    loss, _ = gradients(Full(), network, Heun(steps=4))
    assert loss.evaluations == loss.vjps == 7
    assert [level for level, _ in loss.states] == list(Heun(steps=4).levels[:-1])
    assert not any(x.requires_grad for _, x in loss.states)
    segmented, _ = gradients(Full(segments=2), network, Heun(steps=4))
    assert [level for level, _ in segmented.states] == [Heun(steps=4).levels[0], Heun(steps=4).levels[2]]


def test_segments_are_positive():
    with pytest.raises(ValueError, match="segments"):
        Full(segments=0)
    assert eval(repr(Full(segments=3))) == Full(segments=3)
