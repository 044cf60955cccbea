import math

import torch
from tolerances import assert_close, orders
from toys import normal

from pirf.operators import etdrk4
from pirf.operators.exponential import repeated


def test_a_linear_equation_is_solved_exactly():
    v, rates = normal(3, 5), torch.tensor([-1e3, -7.0, -1e-9, 0.0, 0.5], dtype=torch.float64)
    assert_close(etdrk4(v, 0.3, rates, torch.zeros_like), v * torch.exp(0.3 * rates))


def test_a_constant_force_is_integrated_exactly():
    """v' = Lv + 1 from 0: (e^{hL} − 1)/L, also where L is so small that the formula cancels."""
    rates = torch.tensor([-40.0, -1.0, -1e-7, 0.0, 2.0], dtype=torch.float64)
    expected = torch.where(rates == 0, 0.3, torch.expm1(0.3 * rates) / torch.where(rates == 0, 1.0, rates))
    assert_close(etdrk4(torch.zeros_like(rates), 0.3, rates, torch.ones_like), expected)


def test_fourth_order_on_a_stiff_logistic_equation():
    """v' = −λv + λv² has the solution v = 1/(1 + e^{λt}) from ½."""
    errors = []
    for steps in (16, 32, 64):
        v = torch.tensor([0.5], dtype=torch.float64)
        for _ in range(steps):
            v = etdrk4(v, 1 / steps, torch.tensor([-5.0], dtype=torch.float64), lambda y: 5 * y * y)
        errors.append(abs(float(v) - 1 / (1 + math.exp(5))))
    assert abs(orders(errors)[-1] - 4) < 0.1, orders(errors)


def test_it_keeps_the_precision_of_its_input():
    v = normal(4, dtype=torch.float32)
    assert etdrk4(v, 0.1, -torch.ones(4), torch.sin).dtype == torch.float32
    assert etdrk4(v.to(torch.complex64), 0.1, -torch.ones(4), torch.sin).dtype == torch.complex64


def test_many_steps_are_single_steps_and_remembering_less_changes_no_gradient():
    """``count`` steps against a loop of one: values to the last bit, gradients too, with every step run twice."""
    rates = -torch.linspace(0, 9, 5, dtype=torch.float64)
    gradients, values = [], []
    for whole in (True, False):
        v = out = normal(3, 5).requires_grad_()
        if whole:
            out = etdrk4(v, 0.1, rates, torch.sin, 6)
        else:
            for _ in range(6):
                out = etdrk4(out, 0.1, rates, torch.sin)
        gradients.append(torch.autograd.grad(out.square().sum(), v)[0])
        values.append(out.detach())
    assert torch.equal(*values)
    assert torch.equal(*gradients)


def test_repeated_steps_store_their_inputs_alone():
    """Five products in a step are not remembered: what autograd saves outside of them is one tensor per step."""
    saved = []
    v = normal(7).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        out = repeated(lambda y: y * y.sin() * y.cos() * y.exp(), v, 4)
    assert len(saved) <= 4
    (gradient,) = torch.autograd.grad(out.sum(), v)
    assert float(gradient.abs().max()) > 0
