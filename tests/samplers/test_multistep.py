import math

import torch
from tolerances import assert_close, orders
from toys import flow_errors, normal

from pirf.noise import Noise
from pirf.samplers import Multistep, State


def test_the_order_against_the_closed_form_flow_is_2():
    for order in orders(flow_errors(Multistep))[1:]:
        assert abs(order - 2) < 0.1, orders(flow_errors(Multistep))


def test_two_steps_are_the_formula():
    x, (s, t, r) = normal(2, 1, 3), (4.0, 1.5, 0.5)
    first = Multistep().step(lambda x, level: level * x, State(x), s, t, Noise(0))
    assert_close(first.x, s * x + t / s * (x - s * x))
    second = Multistep().step(lambda x, level: level * x, first, t, r, Noise(0))
    ratio = math.log(s / t) / math.log(t / r)
    blend = (1 + 1 / (2 * ratio)) * t * first.x - 1 / (2 * ratio) * s * x
    assert_close(second.x, r / t * first.x + (1 - r / t) * blend)


def test_an_estimate_linear_in_the_logarithm_of_sigma_is_extrapolated():
    """Two steps of equal ratio: the blend is D + (D − D_previous)/2, the midpoint value in ln σ."""
    x = normal(2, 1, 3)
    first = Multistep().step(lambda x, level: torch.full_like(x, 4.0), State(x), 4.0, 2.0, Noise(0))
    second = Multistep().step(lambda x, level: torch.full_like(x, 2.0), first, 2.0, 1.0, Noise(0))
    assert_close(second.x, 1.0 + 0.5 * (first.x - 1.0))


def test_the_step_to_zero_is_the_estimate_and_the_memory_is_detached():
    x = normal(2, 1, 3).requires_grad_()
    first = Multistep().step(lambda x, level: 0.5 * x, State(x), 4.0, 2.0, Noise(0))
    assert not any(m.requires_grad for m in first.memory)
    last = Multistep().step(lambda x, level: 0.5 * x, first, 2.0, 0.0, Noise(0))
    assert torch.equal(last.x, 0.5 * first.x)
