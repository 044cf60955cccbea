import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from torch import nn
from toys import Constant, Tiny, normal, perturb

from pirf.regularizers import WeightAnchor


class Holder(Constant):
    """One vector of weights."""

    def __init__(self, values):
        super().__init__()
        self.theta = nn.Parameter(values.clone())


def descend(optimizer, anchor, tuned, base, gradient, steps):
    for _ in range(steps):
        tuned.theta.grad = gradient(tuned.theta.detach())
        optimizer.step()
        anchor.after_step(tuned, base, optimizer)
    return tuned.theta.detach()


@given(st.integers(0, 1000), st.floats(0.2, 3), st.floats(0.01, 3))
def test_proximal_descent_reaches_the_group_lasso(seed, curvature, strength):
    """½c‖w − t‖² + λ‖w − w0‖ is minimal at w0 + (t − w0)·max(0, 1 − λ/(c‖t − w0‖)), and there exactly w0 if that is 0."""
    w0, target = normal(5, seed=seed), normal(5, seed=seed + 1)
    base, tuned = Holder(w0), Holder(w0)
    optimizer = torch.optim.SGD(tuned.parameters(), lr=0.5 / curvature)
    got = descend(optimizer, WeightAnchor(strength), tuned, base, lambda w: curvature * (w - target), 60)
    shrink = max(0.0, 1 - strength / (curvature * float((target - w0).norm())))
    assert_close(got, w0 + (target - w0) * shrink, unit=float((target - w0).norm()))
    if shrink == 0:
        assert torch.equal(got, w0)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.sampled_from([1 - 1e-6, 0.5, 1 + 1e-6, 2.0]), st.floats(1e-5, 1.0))
def test_under_adam_a_tensor_stays_exactly_while_its_gradient_is_below_the_strength(seed, size, ratio, lr):
    """The first step of ideal Adam (ε = 0) moves by lr·√n in norm; the threshold lr·λ/√mean(g²) is as long iff λ ≥ ‖g‖."""
    w0, gradient = normal(6, seed=seed), size * normal(6, seed=seed + 1)
    base, tuned = Holder(w0), Holder(w0)
    anchor = WeightAnchor(ratio * float(gradient.norm()))
    optimizer = torch.optim.Adam(tuned.parameters(), lr=lr, eps=0.0)
    got = descend(optimizer, anchor, tuned, base, lambda w: gradient, 1)
    assert torch.equal(got, w0) == (ratio >= 1)
    if ratio < 1:
        assert_close(got - w0, -lr * (1 - ratio) * gradient.sign(), unit=lr * 1e3 if lr < 1e-3 else lr * 10)


def test_the_proximal_map_shortens_by_its_threshold():
    w0, w = normal(4), normal(4, seed=1)
    base, tuned = Holder(w0), Holder(w)
    optimizer = torch.optim.SGD(tuned.parameters(), lr=0.2)
    tuned.theta.grad = torch.zeros(4, dtype=torch.float64)
    WeightAnchor(0.3).after_step(tuned, base, optimizer)
    change = tuned.theta.detach() - w0
    assert_close(change.norm(), (w - w0).norm() - 0.2 * 0.3)
    assert_close(change / change.norm(), (w - w0) / (w - w0).norm())


@given(st.integers(0, 1000), st.floats(1e-3, 1e2))
def test_the_smooth_forms_are_their_formulas(seed, strength):
    base, tuned = Tiny(seed=1), perturb(Tiny(seed=1), 0.1, seed)
    for form, value, slope in (
        ("subgradient", lambda d: d.norm(), lambda d: d / d.norm()),
        ("squared", lambda d: 0.5 * d.square().sum(), lambda d: d),
    ):
        penalty = WeightAnchor(strength, form).penalty(tuned, base, ())
        changes = [p.detach() - q.detach() for p, q in zip(tuned.parameters(), base.parameters(), strict=True)]
        assert_close(penalty, strength * sum(value(d) for d in changes))
        for gradient, d in zip(torch.autograd.grad(penalty, list(tuned.parameters())), changes, strict=True):
            assert_close(gradient, strength * slope(d))


def test_at_the_base_every_form_is_zero_and_pulls_nowhere():
    base, tuned = Tiny(), Tiny()
    for form in ("subgradient", "squared"):
        penalty = WeightAnchor(1.0, form).penalty(tuned, base, ())
        assert float(penalty.detach()) == 0
        assert all(float(g.norm()) == 0 for g in torch.autograd.grad(penalty, list(tuned.parameters())))
    assert not WeightAnchor().penalty(tuned, base, ()).requires_grad


def test_only_what_trains_is_anchored():
    base, tuned = Tiny(), perturb(Tiny())
    tuned.one.requires_grad_(False)
    with torch.no_grad():
        expected = math.fsum(
            float((p - q).norm()) for p, q in zip(tuned.parameters(), base.parameters(), strict=True) if p.requires_grad
        )
    assert_close(WeightAnchor(1.0, "subgradient").penalty(tuned, base, ()), expected)
    before = tuned.one.weight.clone()
    optimizer = torch.optim.SGD([p for p in tuned.parameters() if p.requires_grad], lr=1e6)
    WeightAnchor(1.0).after_step(tuned, base, optimizer)
    assert torch.equal(tuned.one.weight, before)
    for p, q in zip(tuned.parameters(), base.parameters(), strict=True):
        assert torch.equal(p, q) == p.requires_grad  # an enormous threshold puts every trained tensor back


def test_smooth_forms_leave_the_weights_alone():
    base, tuned = Holder(normal(4)), Holder(normal(4, seed=1))
    before = tuned.theta.detach().clone()
    for form in ("subgradient", "squared"):
        WeightAnchor(1.0, form).after_step(tuned, base, torch.optim.SGD(tuned.parameters(), lr=1.0))
    assert torch.equal(tuned.theta.detach(), before)


def test_values_and_refusals():
    assert eval(repr(WeightAnchor(0.1, "squared"))) == WeightAnchor(0.1, "squared")
    for bad in ({"strength": -1.0}, {"form": "lasso"}):
        with pytest.raises(Exception, match=next(iter(bad))):
            WeightAnchor(**bad)
