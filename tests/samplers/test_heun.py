import torch
from tolerances import assert_close, orders
from toys import flow_errors, normal

from pirf.noise import Noise
from pirf.samplers import Heun, State


def test_the_order_against_the_closed_form_flow_is_2():
    for order in orders(flow_errors(Heun))[1:]:
        assert abs(order - 2) < 0.1, orders(flow_errors(Heun))


def test_one_step_is_the_formula():
    """D = x/2: slope x/2σ; Euler point x(1 + (σ'−σ)/2σ); the correction averages both slopes."""
    x, s, t = normal(2, 1, 3), 2.0, 0.5
    moved = Heun().step(lambda x, level: 0.5 * x, State(x), s, t, Noise(0))
    predicted = x * (1 + (t - s) / (2 * s))
    assert_close(moved.x, x + (t - s) / 2 * (x / (2 * s) + predicted / (2 * t)))
    assert torch.equal(moved.estimate, 0.5 * predicted)


def test_a_flow_linear_in_sigma_is_exact():
    """A constant estimate has trajectories linear in σ, which every consistent method follows exactly."""
    x = normal(2, 1, 3)
    assert_close(Heun().step(lambda x, s: torch.ones_like(x), State(x), 2.0, 0.5, Noise(0)).x, 1 + 0.25 * (x - 1))
