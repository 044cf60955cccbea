"""Trajectories: what is seen is what the chain does, and every number about it is refused where it could not be used."""

import math

import pytest
import torch
from gaussian import S, Slope, setting
from tolerances import assert_close
from toys import Quadratic, Tiny, perturb

from pirf.backprop.experience import beside, explore, laws, standard_deviation, standardised
from pirf.denoisers import Handover
from pirf.errors import NumericalError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain

SAMPLER = Ancestral(steps=5, spread=0.4)


def test_a_trajectory_is_the_chains():
    chain = Chain(SAMPLER, Tiny(), Noise(3)[range(4)])
    found = explore(chain, Quadratic(), chain.noise, 0)
    assert torch.equal(found.states[0], chain.initial().x)
    for k in range(5):
        assert torch.equal(found.after(k), chain.run(chain.initial(), 0, k + 1).x)
        assert torch.equal(found.estimates[k], chain.predict(found.before(k), k))
    assert torch.equal(found.scores, Quadratic()(found.states[-1]))
    assert not any(x.requires_grad for x in (*found.states, *found.estimates, found.scores))


def test_the_known_law_is_the_evaluated_one():
    chain = Chain(SAMPLER, Tiny(), Noise(3)[range(4)])
    found = explore(chain, Quadratic(), chain.noise, 0)
    for k, law in laws(chain, found, found.steps):
        known = found.law(chain, k)
        assert torch.equal(known.mean, law.mean)
        assert known.variance == law.variance


def test_what_it_costs_is_counted():
    chain = Chain(SAMPLER, Tiny(), Noise(3)[range(4)])
    found = explore(chain, Quadratic(), chain.noise, 0, guesses=True)
    assert (found.evaluations, found.rewards, chain.tally.evaluations) == (5, 6, 5)
    for k in range(5):
        assert torch.equal(found.guesses[k], Quadratic()(found.estimates[k]))
    beside(chain, chain.denoiser, found, 1.0)
    list(laws(chain, found, (1, 3)))
    assert chain.tally.evaluations == 5 + 5 + 2


def test_prices_are_divergences_and_returns_foresee_them():
    base, model = Tiny(), perturb(Tiny())
    chain = Chain(SAMPLER, model, Noise(3)[range(4)])
    found = explore(chain, Quadratic(), chain.noise, 0)
    means, prices = beside(chain, base, found, 0.7)
    other = Chain(SAMPLER, base, chain.noise)
    for (k, mine), (_, theirs) in zip(laws(chain, found, found.steps), laws(other, found, found.steps), strict=True):
        assert torch.equal(means[k], theirs.mean)
        distance = ((mine.mean - theirs.mean) ** 2).flatten(1).sum(1) / (2 * mine.variance)
        assert_close(prices[k], 0.7 * distance)
    returns = found.returns(prices)
    assert_close(returns[-1], found.scores - prices[-1])
    assert_close(returns[0], found.scores - prices.sum(0))
    assert torch.equal(found.returns()[2], found.scores)


def test_densities_are_normal():
    chain = Chain(SAMPLER, Tiny(), Noise(3)[range(4)])
    found = explore(chain, Quadratic(), chain.noise, 0)
    for k, law in laws(chain, found, found.steps):
        normal = torch.distributions.Normal(law.mean, math.sqrt(law.variance))
        assert_close(law.log_probability(found.after(k)), normal.log_prob(found.after(k)).flatten(1).sum(1))


def test_a_stored_prefix_is_where_experience_begins():
    handover = Handover.split(Tiny(), SAMPLER.before_last(2))
    found = explore(Chain(SAMPLER, handover, Noise(0)), Quadratic(), Noise(3)[range(4)], 3)
    assert (found.start, found.steps, len(found.states), len(found.estimates)) == (3, (3, 4), 3, 2)


def test_plug_in_kernels_do_not_learn_their_last_step():
    chain, _ = setting(4, spread=0.0)
    assert explore(chain, Slope(), Noise(3)[range(2)], 0).steps == (0, 1, 2)
    chain, _ = setting(4, spread=S)
    assert explore(chain, Slope(), Noise(3)[range(2)], 0).steps == (0, 1, 2, 3)


def test_standardised_rows_have_mean_zero_and_deviation_one():
    rows = 3 + 5 * Noise(0)[range(2)].normal((40,), torch.float64)
    out = standardised(rows, "numbers")
    assert_close(out.mean(1), 0.0, unit=1.0)
    assert_close(out.std(1), 1.0)
    assert_close(standardised(7 * rows - 2, "numbers"), out)


@pytest.mark.parametrize(("values", "message"), [
    ([[1.0, 2.0], [4.0, 4.0]], "numbers: all 2 values of a batch are 4 and prefer no trajectory to another; weights untouched"),
    ([2.5], "numbers: all 1 values of a batch are 2.5"),
    ([1.0, math.nan], "numbers: 1 of 2 values are not finite; weights untouched"),
    ([1.0, math.inf, 2.0], "numbers: 1 of 3 values are not finite"),
])  # fmt: skip
def test_numbers_without_a_preference_are_refused(values, message):
    with pytest.raises(NumericalError, match=message):
        standard_deviation(torch.tensor(values), "numbers")
