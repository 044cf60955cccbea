import torch
from tolerances import assert_close, orders
from toys import flow_errors, normal

from pirf.noise import Noise
from pirf.samplers import Euler, State


def test_the_order_against_the_closed_form_flow_is_1():
    for order in orders(flow_errors(Euler))[1:]:
        assert abs(order - 1) < 0.1, orders(flow_errors(Euler))


def test_one_step_is_the_formula():
    x = normal(2, 1, 3)
    moved = Euler().step(lambda x, s: 0.2 * x, State(x), 2.0, 0.5, Noise(0))
    assert_close(moved.x, 0.2 * x + 0.5 / 2.0 * (x - 0.2 * x))
    assert torch.equal(moved.estimate, 0.2 * x)


def test_a_constant_estimate_is_approached_exactly():
    x = normal(2, 1, 3)
    moved = Euler().step(lambda x, s: torch.ones_like(x), State(x), 2.0, 0.5, Noise(0))
    assert_close(moved.x, 1 + 0.25 * (x - 1))
