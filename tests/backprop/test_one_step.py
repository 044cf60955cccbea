from collections import Counter

import pytest
import torch
from tolerances import assert_close
from toys import Affine, Quadratic, Tiny, perturb

from pirf.backprop import OneStep
from pirf.denoisers import Handover
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Chain, Euler, Heun


def test_the_gradient_is_c_out_times_the_slope_of_the_reward():
    """∂L/∂θ = c_out(σ_k)(D − y) for r = −½(D − y)², at every step that is drawn."""
    network, sampler = Affine(theta=0.2), Heun(steps=4)
    seen = Counter()
    for update in range(40):
        noise = Noise(3).fold("update", update)[range(3)]
        loss = OneStep(3).loss(Chain(sampler, network, Noise(0)), Quadratic(0.7), noise)
        ((level, x),) = loss.states
        skip, out = 0.25 / (level**2 + 0.25), level * 0.5 / (level**2 + 0.25) ** 0.5
        (gradient,) = torch.autograd.grad(loss.value, [network.theta])
        assert_close(gradient, (out * (skip * x + out * 0.2 - 0.7)).mean())
        assert loss.vjps == 1
        seen[sampler.levels.index(level)] += 1
    assert set(seen) == {1, 2, 3}


def test_the_state_is_that_of_the_chain():
    network, sampler, noise = Tiny(), Heun(steps=4), Noise(3)[range(2)]
    ((level, x),) = OneStep(4).loss(Chain(sampler, network, Noise(0)), Quadratic(), noise).states
    chain = Chain(sampler, network, noise)
    assert torch.equal(x, chain.depart(sampler.levels.index(level))[1].x)


def test_under_a_handover_only_the_tail_is_drawn():
    sampler = Euler(steps=5)
    model = Handover(Tiny().requires_grad_(False), perturb(Tiny()), sampler.before_last(2))
    chain = Chain(sampler, model, Noise(0))
    drawn = {OneStep(5).loss(chain, Quadratic(), Noise(3).fold(i)[range(1)]).states[0][0] for i in range(20)}
    assert drawn == set(sampler.levels[3:5])


def test_more_steps_than_there_are_are_refused():
    with pytest.raises(InputError, match=r"at most 3 steps can be drawn from: got OneStep\(4\)"):
        OneStep(4).loss(Chain(Euler(steps=3), Tiny(), Noise(0)), Quadratic(), Noise(0))
    with pytest.raises(ValueError, match="among"):
        OneStep(0)
