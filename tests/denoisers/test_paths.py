"""A path is its own inverse read backwards, and its derivatives are those of its formulas."""

import math
from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close

from pirf.denoisers.paths import CosinePath, DiscreteVP, LinearPath, VarianceExploding, VariancePreserving
from pirf.errors import InputError

DDPM = DiscreteVP.from_betas(torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64))
PATHS = [LinearPath(), LinearPath(reversed=True), CosinePath(), VariancePreserving(), VariancePreserving(2.0, 2.0)]
PATHS += [VariancePreserving(5.0, 1.0), DDPM, DiscreteVP((0.9, 0.5, 0.01)), VarianceExploding()]


def number(value):
    return torch.tensor(value, dtype=torch.float64)


def share(path, at):
    """A time on the path."""
    return number(at * (len(path.alphas_bar) - 1) if isinstance(path, DiscreteVP) else at)


@pytest.mark.parametrize("path", PATHS, ids=repr)
@given(st.floats(1e-3, 0.999))
def test_the_time_of_the_level_of_a_time_is_that_time(path, at):
    t = share(path, at)
    assert_close(path.time(path.sigma(t)), t)
    assert_close(path.sigma(path.time(path.sigma(t))), path.sigma(t))


@pytest.mark.parametrize("path", PATHS, ids=repr)
@given(st.floats(1e-3, 0.999))
def test_a_level_is_where_its_time_is(path, at):
    """α, β and their slopes, found from σ, against the formulas in t and what autograd makes of them."""
    t = share(path, at).requires_grad_()
    alpha, beta = path.alpha(t), path.beta(t)
    slopes = [torch.autograd.grad(v, t, allow_unused=True)[0] if v.requires_grad else None for v in (alpha, beta)]
    point = path.at((beta / alpha).detach())
    assert_close(point.time, t)
    assert_close(point.alpha, alpha, unit=1.0)
    assert_close(point.beta, beta, unit=1.0)
    kink = isinstance(path, DiscreteVP) and abs(float(t.detach()) - round(float(t.detach()))) < 1e-6
    for found, expected in zip((point.alpha_slope, point.beta_slope), slopes, strict=True):
        if not kink:  # there the level has two slopes
            assert_close(found, 0.0 if expected is None else expected, unit=20.0)


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_levels_rise_with_noise_over_the_whole_span(path):
    low, high = path.span
    levels = torch.logspace(math.log10(max(low, 2e-3)), math.log10(min(high, 80.0)), 200, dtype=torch.float64)
    times = path.time(levels)
    ahead = -1 if path == LinearPath(reversed=True) else 1
    assert float((ahead * times.diff()).min()) > 0
    assert_close(path.sigma(times), levels)


def test_the_continuous_schedule_spans_what_it_says():
    for path in (VariancePreserving(), VariancePreserving(2.0, 2.0), VariancePreserving(5.0, 1.0)):
        assert_close(path.time(number(path.span[1])), 1.0)
        assert_close(path.alpha(number(1.0)), math.exp(-(path.beta_min + path.beta_max) / 4))


def test_the_steps_of_ddpm_have_their_own_levels():
    alphas_bar = list(accumulate((1 - b for b in torch.linspace(1e-4, 0.02, 1000).double().tolist()), lambda a, b: a * b))
    path = DiscreteVP(alphas_bar)
    steps = torch.arange(1000, dtype=torch.float64)
    a = torch.tensor(alphas_bar, dtype=torch.float64)
    assert_close(path.alpha(steps), a.sqrt())
    assert_close(path.beta(steps), (1 - a).sqrt(), unit=1.0)
    assert_close(path.time(((1 - a) / a).sqrt()), steps)
    middle = path.sigma(steps[:-1] + 0.5)
    assert_close(middle**2, path.sigma(steps[:-1]) * path.sigma(steps[1:]))


def test_many_steps_of_ddpm_are_the_continuous_schedule():
    """β_i = b(i/T)/T: the levels at t = i/T meet with an error of order 1/T."""
    continuous = VariancePreserving()
    errors = []
    for steps in (250, 500, 1000, 2000):
        times = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
        path = DiscreteVP.from_betas((0.1 + 19.9 * times) / steps)
        middle = steps // 2
        errors.append(abs(path.alphas_bar[middle - 1] - float(continuous.alpha(number(0.5)) ** 2)))
    assert all(1.8 < a / b < 2.2 for a, b in pairwise(errors))


def test_beyond_the_ends_a_discrete_path_is_told_as_its_ends():
    low, high = DDPM.span
    assert float(DDPM.time(number(low / 10))) == 0
    assert float(DDPM.time(number(high * 10))) == 999


def test_paths_are_values():
    assert len({repr(path) for path in PATHS}) == len(set(PATHS)) == len(PATHS)
    for path in PATHS:
        assert isinstance(path, DiscreteVP) or eval(repr(path)) == path
    assert repr(DDPM).startswith("DiscreteVP(<1000 steps, σ 0.01 to 157.4, ")
    assert DiscreteVP.from_betas([0.5, 0.5]) == DiscreteVP((0.5, 0.25))


@pytest.mark.parametrize("bad", [(), (0.5,), (0.5, 0.5), (0.5, 0.6), (1.0, 0.5), (0.5, 0.0), (float("nan"), 0.5)])
def test_a_path_whose_levels_do_not_rise_is_refused(bad):
    with pytest.raises(InputError, match="falling numbers between 0 and 1") as refusal:
        DiscreteVP(bad)
    assert "\n" not in str(refusal.value)
