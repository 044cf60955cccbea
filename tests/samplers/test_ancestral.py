import math

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, assert_moment
from toys import Tiny, normal

from pirf.denoisers import GaussianDenoiser
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, State
from pirf.schedules import Logarithmic

M, S2 = 0.3, 0.7


def chain(eta=1.0, samples=1, steps=6, shape=(1, 3)):
    oracle = GaussianDenoiser(shape, M, S2)
    return Chain(Ancestral(steps=steps, schedule=Logarithmic(0.2, 4.0), eta=eta), oracle, Noise(1)[range(samples)])


@given(st.floats(0, 1), st.integers(0, 4))
def test_mean_and_variance_are_the_formula(eta, k):
    c, x = chain(eta), normal(2, 1, 3)
    s, t = c.levels[k], c.levels[k + 1]
    law = c.transition(k, State(x))
    up = eta**2 * t**2 * (s**2 - t**2) / s**2
    estimate = M + S2 / (S2 + s**2) * (x - M)
    assert_close(torch.tensor(law.variance, dtype=torch.float64), up, unit=t**2)
    assert_close(law.mean, estimate + math.sqrt(t**2 - up) / s * (x - estimate))


@given(st.integers(0, 4))
def test_the_memoryless_kernel_is_the_bridge(k):
    """η = 1 is q(x'|x, x0 = D) of the forward process: mean D + (σ'/σ)²(x − D), variance σ'²(σ²−σ'²)/σ²."""
    c, x = chain(), normal(2, 1, 3)
    s, t = c.levels[k], c.levels[k + 1]
    estimate = c.predict(x, k)
    law = c.transition(k, State(x))
    assert_close(law.mean, estimate + (t / s) ** 2 * (x - estimate))
    assert_close(torch.tensor(law.variance, dtype=torch.float64), t**2 * (s**2 - t**2) / s**2)


@given(st.integers(0, 5))
def test_with_the_spread_of_the_data_the_kernel_is_exact(k):
    """Variance (s² + τ')(τ − τ')/(s² + τ), mean m + (s² + τ')/(s² + τ)(x − m): Bayes' rule for N(m, s²)."""
    c, x = chain(), normal(2, 1, 3)
    exact = attrs.evolve(c, sampler=attrs.evolve(c.sampler, spread=math.sqrt(S2)))
    tau, arrival = c.levels[k] ** 2, c.levels[k + 1] ** 2
    law = exact.transition(k, State(x))
    assert_close(torch.tensor(law.variance, dtype=torch.float64), (S2 + arrival) * (tau - arrival) / (S2 + tau))
    assert_close(law.mean, M + (S2 + arrival) / (S2 + tau) * (x - M))


def test_without_noise_it_is_euler():
    network = Tiny()
    ours = Chain(Ancestral(steps=4, eta=0.0), network, Noise(1)[range(2)])
    theirs = Chain(Euler(steps=4), network, Noise(1)[range(2)])
    assert_close(ours.run(ours.initial()).x, theirs.run(theirs.initial()).x)


def test_a_step_has_the_moments_of_its_law_and_its_own_stream():
    c = chain(samples=4000, shape=(1, 4))
    start = State(torch.full((4000, 1, 4), 1.3, dtype=torch.float64))
    law, moved = c.transition(2, start), c.step(2, start).x
    z = (moved - law.mean) / math.sqrt(law.variance)
    assert_moment(z, 0.0)
    assert_moment(z**2, 1.0)
    assert_moment(z**4, 3.0)
    other = (c.step(1, start).x - c.transition(1, start).mean) / math.sqrt(c.transition(1, start).variance)
    assert_moment(z * other, 0.0)


def test_the_log_probability_is_the_entropy_on_average():
    c = chain(samples=4000)
    start = State(torch.zeros(4000, 1, 3, dtype=torch.float64))
    law = c.transition(0, start)
    assert_moment(law.log_probability(c.step(0, start).x), -1.5 * (1 + math.log(2 * math.pi * law.variance)))


def test_the_sampled_variance_follows_its_recursion():
    """x' = a x + (1−a)... on the oracle is linear: the variance of the chain's end is known exactly."""
    c = chain(samples=6000, steps=8, shape=(1, 1))
    variance = c.levels[0] ** 2
    for k in range(c.steps):
        s, t = c.levels[k], c.levels[k + 1]
        w = S2 / (S2 + s**2)
        up = t**2 * (s**2 - t**2) / s**2
        variance = (w + (t / s) ** 2 * (1 - w)) ** 2 * variance + up
    x = c.run(c.initial()).x
    mean = float(x.mean())
    assert_moment((x - mean) ** 2 * 6000 / 5999, variance)


def test_the_last_step_is_deterministic():
    c = chain()
    assert c.transition(c.steps - 1, State(normal(1, 1, 3))).variance == 0


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_stochasticity_beyond_its_range_is_refused(eta):
    with pytest.raises(ValueError, match="eta"):
        Ancestral(eta=eta)
    with pytest.raises(ValueError, match="spread"):
        Ancestral(spread=-1.0)
