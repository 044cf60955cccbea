import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from pirf.errors import InputError
from pirf.schedules import EDM, Levels, Linear, Logarithmic


@given(st.integers(2, 60), st.floats(1e-4, 0.5), st.floats(1, 200), st.floats(1, 10))
def test_levels_descend_from_max_through_min_to_zero(steps, low, high, rho):
    for schedule in (EDM(low, high, rho), Linear(low, high), Logarithmic(low, high)):
        levels = schedule.levels(steps)
        assert len(levels) == steps + 1
        assert all(a > b for a, b in pairwise(levels))
        assert levels[-1] == 0
        assert_close(torch.tensor([levels[0] / high, levels[-2] / low], dtype=torch.float64), 1.0)


@given(st.integers(3, 40))
def test_the_roots_of_the_levels_are_equidistant(steps):
    roots = torch.tensor(EDM().levels(steps)[:-1], dtype=torch.float64) ** (1 / 7)
    assert_close(roots.diff(), (0.002 ** (1 / 7) - 80 ** (1 / 7)) / (steps - 1))


def test_rho_one_is_linear_and_a_single_step_starts_at_the_top():
    assert_close(torch.tensor(EDM(1.0, 3.0, 1.0).levels(3), dtype=torch.float64), torch.tensor([3.0, 2.0, 1.0, 0.0]).double())
    assert_close(torch.tensor(EDM().levels(1), dtype=torch.float64), torch.tensor([80.0, 0.0]).double())


@given(st.integers(3, 40))
def test_linear_is_rho_one_and_logarithmic_its_limit(steps):
    """(σ_max^{1/ρ} + …)^ρ → equal ratios as ρ → ∞, with an error of order 1/ρ."""
    linear, geometric = Linear(0.1, 5.0).levels(steps), Logarithmic(0.1, 5.0).levels(steps)
    assert_close(torch.tensor(linear, dtype=torch.float64), torch.tensor(EDM(0.1, 5.0, 1.0).levels(steps), dtype=torch.float64))
    gaps = [
        max(abs(math.log(a / b)) for a, b in zip(EDM(0.1, 5.0, rho).levels(steps)[:-1], geometric[:-1], strict=True))
        for rho in (1e3, 2e3)
    ]
    assert abs(gaps[0] / gaps[1] - 2) < 0.01


def test_levels_one_by_one():
    assert Levels((3.0, 1.0, 0.0)).levels(2) == (3.0, 1.0, 0.0)
    with pytest.raises(InputError, match="steps=2 belongs to these levels: got steps=3"):
        Levels((3.0, 1.0, 0.0)).levels(3)


@pytest.mark.parametrize("bad", [(1.0,), (0.0,), (1.0, 2.0, 0.0), (1.0, 1.0, 0.0), (2.0, 1.0), (math.inf, 1.0, 0.0)])
def test_levels_that_do_not_descend_to_zero_are_refused(bad):
    with pytest.raises(InputError, match="strictly decreasing levels with 0 at the end are needed: got"):
        Levels(bad)


def test_a_schedule_is_a_value():
    assert eval(repr(EDM(0.01, 10.0, 5.0))) == EDM(0.01, 10.0, 5.0)
    assert hash(EDM()) == hash(EDM(0.002, 80.0, 7.0))


@pytest.mark.parametrize("bad", [(1.0, 1.0), (2.0, 1.0)])
def test_inverted_levels_are_refused(bad):
    with pytest.raises(InputError, match="sigma_min < sigma_max is needed: got"):
        EDM(*bad)


@pytest.mark.parametrize("bad", [{"sigma_min": 0.0}, {"sigma_max": -1.0}, {"rho": 0.0}])
def test_non_positive_constants_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        EDM(**bad)
