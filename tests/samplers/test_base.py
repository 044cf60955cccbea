import math

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf.errors import InputError
from pirf.samplers import Ancestral, Euler, Heun, Multistep, State, Transition
from pirf.schedules import EDM

SAMPLERS = [Euler, Heun, Multistep, Ancestral]


@given(st.sampled_from(SAMPLERS), st.integers(2, 30), st.data())
def test_the_handover_level_lies_between_the_two_departures(kind, steps, data):
    count = data.draw(st.integers(1, steps - 1))
    sampler = kind(steps=steps)
    level = sampler.before_last(count)
    assert level == math.sqrt(sampler.levels[steps - count - 1] * sampler.levels[steps - count])
    assert sum(0 < s < level for s in sampler.levels) == count


@pytest.mark.parametrize("count", [0, -1, 5, 6])
def test_a_handover_needs_steps_on_both_sides(count):
    with pytest.raises(InputError, match=f"got {count};"):
        Heun(steps=5).before_last(count)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_no_steps_are_refused(kind):
    for steps in (0, -3):
        with pytest.raises(InputError, match=f"at least one step: got steps={steps}"):
            kind(steps=steps)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_sampler_is_a_frozen_printable_value(kind):
    sampler = kind(steps=7, schedule=EDM(rho=5.0))
    assert eval(repr(sampler)) == sampler
    assert hash(eval(repr(sampler))) == hash(sampler)
    assert attrs.evolve(sampler, steps=8).levels == EDM(rho=5.0).levels(8)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        sampler.steps = 3


@given(st.floats(1e-3, 1e2), st.integers(0, 1000))
def test_the_log_probability_is_that_of_a_normal_law(variance, seed):
    mean, x = normal(3, 2, 4, seed=seed), normal(3, 2, 4, seed=seed + 1)
    expected = torch.distributions.Normal(mean, math.sqrt(variance)).log_prob(x).sum((1, 2))
    assert_close(Transition(mean, variance).log_probability(x), expected)


def test_a_detached_state_is_a_leaf_of_its_own():
    with torch.inference_mode():
        state = State(normal(2, 1, 3), (normal(2, 1, 3),))
    leaf = state.detach()
    assert not leaf.x.is_inference()
    assert not leaf.memory[0].is_inference()
    x = leaf.x.requires_grad_()
    (x * leaf.memory[0]).sum().backward()
    assert torch.equal(x.grad, leaf.memory[0])
