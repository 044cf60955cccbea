import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pirf.training import Constant, Cosine

shares = st.floats(0, 1)
warmups = st.floats(0.01, 0.9)


@given(shares, warmups)
def test_constant_is_one_after_a_linear_warm_up(t, warmup):
    assert Constant()(t) == 1
    assert Constant(warmup)(t) == min(1, t / warmup)


@given(shares, warmups, st.floats(0, 0.9))
def test_cosine_is_the_formula(t, warmup, final):
    rate = Cosine(warmup, final)
    if t < warmup:
        assert rate(t) == t / warmup
    else:
        assert math.isclose(
            rate(t), final + (1 - final) * math.cos(math.pi / 2 * (t - warmup) / (1 - warmup)) ** 2, abs_tol=1e-12
        )
    assert rate(1.0) == final
    assert math.isclose(rate(warmup), 1.0)


def test_a_warm_up_longer_than_the_budget_never_ends():
    assert Constant(4.0)(1.0) == 0.25


@pytest.mark.parametrize(("kind", "bad"), [(Constant, -0.1), (Cosine, -0.1), (Cosine, 1.0)])
def test_shares_outside_the_unit_interval_are_refused(kind, bad):
    with pytest.raises(ValueError, match="warmup"):
        kind(warmup=bad)
