"""Candidates by value: on the linear testbed every sample is known from its noise, its law from order statistics."""

import math
from itertools import pairwise

import attrs
import numpy as np
import pytest
import torch
from scipy.special import ndtr
from tolerances import assert_close, assert_moment
from toys import Function, Quadratic, Tiny, normal, perturb

from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError, NumericalError
from pirf.guidance import SVDD
from pirf.inference import branches, draw
from pirf.noise import Noise
from pirf.rewards import BlackBox, Reward, Scaled
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, State
from pirf.scaling import Scaling

EXACT, PLUG_IN = Ancestral(steps=20, spread=1.0), Ancestral(steps=20)
SAMPLERS = [Ancestral(steps=5), Ancestral(steps=5, eta=0.5), Ancestral(steps=5, spread=0.5)]


@attrs.frozen
class Slope(Reward):
    """Σ x."""

    def __call__(self, x, condition=None):
        return x.flatten(1).sum(1)


def total(x):
    return x.flatten(1).sum(1)


def oracle():
    """m = 0, s = 1."""
    return GaussianDenoiser((1, 1))


def factors(sampler):
    """√v_k w_{k+1}: what one standard normal number of step k moves the sample by."""
    chain = Chain(sampler, oracle())
    state = State(torch.zeros(1, 1, 1, dtype=torch.float64))
    return [math.sqrt(chain.transition(k, state).variance) / (1 + chain.levels[k + 1] ** 2) for k in range(chain.steps)]


def run(sampler, denoiser, samples):
    chain = Chain(sampler, denoiser, Noise(3)[samples])
    return chain.run(chain.initial()).x, chain.tally


def draws(noise, k, count):
    """The numbers of the candidates of step k."""
    noise = noise.fold("transition", k)
    streams = [noise, *(noise.fold("candidate", j) for j in range(1, count))]
    return torch.stack([stream.normal((1, 1), torch.float64) for stream in streams])


@pytest.mark.parametrize("sampler", [EXACT, PLUG_IN])
@pytest.mark.parametrize("count", [2, 4])
def test_the_best_of_a_linear_reward_is_the_largest_number_of_every_step(sampler, count):
    noise = Noise(3)[range(3)]
    plain, _ = run(sampler, oracle(), range(3))
    kept, _ = run(sampler, SVDD(oracle(), Slope(), count), range(3))
    numbers = [draws(noise, k, count) for k in range(20)]
    gained = sum(f * (n.amax(0) - n[0]) for f, n in zip(factors(sampler), numbers, strict=True))
    assert_close(kept - plain, gained)


def largest(count):
    """The expected maximum of so many standard normal numbers."""
    x = np.linspace(-9, 9, 20001)
    return float((x * count * np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * ndtr(x) ** (count - 1)).sum() * (x[1] - x[0]))


def test_the_shift_of_the_best():
    """Exact kernels: Σ√v w = 3.032 at N = 20.  Plug-in kernels have less variance and shift by 1.32/2.40/3.32."""
    for count, exact, plug_in in ((2, 1.711, 1.316), (4, 3.121, 2.401), (8, 4.317, 3.321)):
        assert abs(sum(factors(EXACT)) * largest(count) - exact) < 5e-4
        assert abs(sum(factors(PLUG_IN)) * largest(count) - plug_in) < 5e-4
    x, _ = run(EXACT, SVDD(oracle(), Slope(), 4), range(400))
    assert_moment(x, 3.121)


def softened(slope, count):
    """E Σ_j softmax(slope·ξ)_j ξ_j of so many normal numbers, with 1/Σe = ∫e^(−tΣe)dt and t = e^y/count."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    y = np.linspace(-40, 12, 2001)
    t, power = np.exp(y)[:, None] / count, np.exp(slope * nodes)
    kernel = np.exp(-t * power) * weights / weights.sum()
    inner = (kernel * power * nodes).sum(1) * kernel.sum(1) ** (count - 1) * t[:, 0]
    return count * float(inner.sum() * (y[1] - y[0]))


def test_the_shift_of_a_soft_choice():
    """Exact kernels, α = 1: towards s²b/α = 1, from below, as the candidates become many; plug-in kernels end at .60."""
    shifts = [sum(f * softened(f, count) for f in factors(EXACT)) for count in (4, 16, 64, 256)]
    for shift, expected in zip(shifts, (0.719, 0.926, 0.981, 0.995), strict=True):
        assert abs(shift - expected) < 1e-3
    assert abs(sum(f * softened(f, 256) for f in factors(PLUG_IN)) - 0.60) < 5e-3
    x, _ = run(EXACT, SVDD(oracle(), Slope(), 4, temperature=1.0), range(1000))
    assert_moment(x, shifts[0])


def test_one_of_the_candidates_is_kept_in_proportion_to_the_exponential_of_its_value():
    guided = SVDD(oracle(), Slope(), 4, temperature=0.5)
    values = torch.tensor([0.3, -0.2, 0.9, 0.0], dtype=torch.float64)
    kept = guided._choose(values[:, None].expand(4, 4000), Noise(5)[range(4000)])
    for j, share in enumerate(torch.softmax(values / 0.5, 0)):
        assert_moment(kept == j, float(share))
    surely = torch.tensor([-1e9, 0.0, -1e9], dtype=torch.float64)
    assert (guided._choose(surely[:, None].expand(3, 50), Noise(5)[range(50)]) == 1).all()


def test_only_the_ratio_of_reward_and_temperature_counts():
    soft, _ = run(EXACT, SVDD(oracle(), Slope(), 3, temperature=0.25), range(4))
    assert torch.equal(run(EXACT, SVDD(oracle(), Scaled(Slope(), 4.0), 3, temperature=1.0), range(4))[0], soft)
    assert torch.equal(run(EXACT, SVDD(oracle(), BlackBox(total), 3, temperature=0.25), range(4))[0], soft)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_one_candidate_is_the_plain_sampler_bit_for_bit(sampler, temperature):
    base = Tiny()
    for model in (base, Handover(base, perturb(Tiny()), sampler.before_last(2), channels=(1,))):
        plain, cost = run(sampler, model, range(3))
        x, tally = run(sampler, SVDD(model, Quadratic(), 1, temperature), range(3))
        assert torch.equal(x, plain)
        assert tally.evaluations == cost.evaluations


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_samples_are_guided_alone(sampler, temperature):
    guided = SVDD(GaussianDenoiser((2, 6, 6), 0.2, torch.linspace(0.2, 2.0, 72)), Quadratic(1.0), 3, temperature)
    whole, _ = run(sampler, guided, range(6))
    for part in ([4, 0, 5], [3], [5, 4, 3, 2, 1, 0]):
        assert torch.equal(run(sampler, guided, part)[0], whole[part])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_chain_split_anywhere_is_the_chain(sampler):
    """With the estimate that lies ahead, and without it."""
    chain = Chain(sampler, SVDD(Tiny(), Quadratic(1.0), 2), Noise(3)[range(2)])
    whole = chain.run(chain.initial()).x
    for cut in range(6):
        state = chain.run(chain.initial(), 0, cut)
        assert torch.equal(chain.run(state, cut).x, whole)
        assert torch.equal(chain.run(state.detach(), cut).x, whole)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_it_asks_for_is_what_it_counts(sampler):
    """1 + M(N − 1) evaluations; a reward for every candidate."""
    asked, scored = [], []
    network = Function(lambda x, sigma, condition: asked.append(float(sigma)) or 0.5 * x)

    @attrs.frozen
    class Counting(Reward):
        def __call__(self, x, condition=None):
            scored.append(x)
            return Quadratic()(x)

    _, tally = run(sampler, SVDD(network, Counting(), 3), range(2))
    assert tally.evaluations == len(asked) == 1 + 3 * 4
    assert asked == [sampler.levels[0], *(level for level in sampler.levels[1:-1] for _ in range(3))]
    assert len(scored) == 3 * (5 if sampler.spread else 4)


def test_costs_are_per_sample():
    figures = draw(SVDD(Tiny(), Quadratic(), 4), Ancestral(steps=5), 5, batch=2)
    assert (figures.evaluations, figures.vjps) == (17, 0)


def test_a_fitted_value_takes_the_place_of_the_reward():
    """The exact value of the linear reward keeps the same candidates, at the evaluations of the plain sampler."""
    guided = SVDD(oracle(), Slope(), 3, value=lambda x, sigma: total(x / (1 + sigma**2)))
    x, tally = run(EXACT, guided, range(4))
    assert_close(x, run(EXACT, SVDD(oracle(), Slope(), 3), range(4))[0])
    assert tally.evaluations == 20
    against = SVDD(oracle(), Slope(), 3, value=lambda x, sigma: -total(x))
    assert (run(PLUG_IN, against, range(4))[0] < run(PLUG_IN, oracle(), range(4))[0]).all()


def test_values_are_those_of_physical_fields_under_the_condition():
    """One step before the last, by hand: the estimates of the candidates, in physical units, against the target."""
    told = Function(lambda x, sigma, condition: 0.5 * x + condition["shift"].reshape(-1, 1, 1), (1, 4))
    told.scaling = Scaling((0.7,), (3.0,))
    condition = {"shift": normal(3)}
    chain = Chain(Ancestral(steps=4), SVDD(told, Quadratic(2.0), 3), Noise(3)[range(3)], condition)
    plain = attrs.evolve(chain, denoiser=told)
    x = normal(3, 1, 4)
    law, noise = plain.transition(2, State(x)), chain.noise.fold("transition", 2)
    candidates = torch.stack([law.draw(noise), law.draw(noise.fold("candidate", 1)), law.draw(noise.fold("candidate", 2))])
    scores = torch.stack([Quadratic(2.0)(0.7 + 3.0 * plain.predict(c, 3)) for c in candidates])
    assert torch.equal(chain.step(2, State(x)).x, candidates[scores.argmax(0), range(3)])


def test_it_asks_the_network_of_the_step_that_follows():
    seen = {"base": [], "tuned": []}
    base, tuned = (Function(lambda x, s, c, name=name: seen[name].append(float(s)) or 0.5 * x) for name in seen)
    sampler = Ancestral(steps=4)
    run(sampler, SVDD(Handover(base, tuned, sampler.before_last(2)), Quadratic(), 2), range(2))
    s = sampler.levels
    assert seen == {"base": [s[0], s[1], s[1]], "tuned": [s[2], s[2], s[3], s[3]]}


def test_more_candidates_are_not_worse_at_a_step():
    x = normal(6, 2, 8, 8)
    scores = []
    for count in (1, 2, 4, 8):
        chain = Chain(Ancestral(steps=4), SVDD(Tiny(), Quadratic(1.0), count), Noise(3)[range(6)])
        state = chain.step(2, State(x))
        scores.append(Quadratic(1.0)(chain.predict(state.x, 3)).detach())
    for fewer, more in pairwise(scores):
        assert (more >= fewer).all()
    assert (scores[-1] > scores[0]).any()


def test_what_lies_ahead_is_not_handed_to_another_network():
    other, sampler = perturb(Tiny()), Ancestral(steps=4)
    root = SVDD(Tiny(), Quadratic(1.0), 2)
    finish = branches(root, sampler, 2, 3)
    chain = Chain(sampler, root, Noise(0)[range(3)])
    state = chain.run(chain.initial(), 0, 2)
    theirs = attrs.evolve(chain, denoiser=other)
    assert torch.equal(finish(other), theirs.run(State(state.x), 2).x.detach())


@pytest.mark.parametrize("sampler", [Euler(steps=3), Heun(steps=3), Multistep(steps=3)])
def test_an_ode_has_no_candidates(sampler):
    with pytest.raises(InputError, match="transition probabilities need a stochastic sampler: got"):
        run(sampler, SVDD(Tiny(), Quadratic()), range(2))


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"SVDD needs steps with a variance: got Ancestral\(.*eta=0.0"):
        run(Ancestral(steps=3, eta=0.0), SVDD(Tiny(), Quadratic()), range(2))
    for bad in ({"count": 0}, {"temperature": -1.0}, {"temperature": float("nan")}):
        with pytest.raises(InputError, match="at least one candidate and a temperature of 0 or more are needed: got"):
            SVDD(Tiny(), Quadratic(), **bad)
    with pytest.raises(InputError, match="guidance wraps a plain denoiser: got SVDD"):
        SVDD(SVDD(Tiny(), Quadratic()), Quadratic())
    with pytest.raises(NumericalError, match=r"Scaled\(.*\) gave nan for a candidate at σ = "):
        run(Ancestral(steps=3), SVDD(Tiny(), Scaled(Quadratic(float("nan")), 1.0)), range(2))
