"""Conditioned estimates of Gaussian data against dense linear algebra; then the law that every sampler makes of them."""

import math
from itertools import pairwise

import attrs
import pytest
import torch
from conditional import SCALING, SHAPE, SIZE, conditioned, correlated, diagonal, estimate, law, observations, posterior, pushed
from tolerances import assert_close
from toys import Function, Quadratic, Tiny, normal, perturb

from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError
from pirf.guidance import Below, PseudoinverseGuidance, Term
from pirf.inference import draw, sample
from pirf.noise import Noise
from pirf.rewards import Observation
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.scaling import Colour, Scaling

SAMPLERS = [Euler, Heun, Multistep, Ancestral]
OBSERVATIONS = observations()
LEVELS = (0.002, 0.3, 1.0, 80.0)
EXACT = {"iterations": 6}  # five rows at the most are independent


def level(sigma):
    return torch.tensor(sigma, dtype=torch.float64)


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("sigma", LEVELS)
@pytest.mark.parametrize("iterations", [0, 3])
def test_for_an_isotropic_prior_it_is_the_conditional_mean(name, sigma, iterations):
    oracle, observation = diagonal(0.7**2), OBSERVATIONS[name]
    guided = PseudoinverseGuidance(oracle, observation, spread=0.7, iterations=iterations)
    x = math.hypot(0.7, sigma) * normal(3, *SHAPE)
    assert_close(guided(x, level(sigma)), estimate(oracle, observation, x, sigma))


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("sigma", LEVELS)
@pytest.mark.parametrize("make", [diagonal, correlated])
def test_with_iterations_it_is_the_conditional_mean_of_every_gaussian_prior(name, sigma, make):
    oracle, observation = make(), OBSERVATIONS[name]
    x = math.hypot(0.7, sigma) * normal(3, *SHAPE)
    expected = estimate(oracle, observation, x, sigma)
    assert_close(PseudoinverseGuidance(oracle, observation, **EXACT)(x, level(sigma)), expected)
    if 1 > sigma > 0.1:  # without them it is not: at these levels the prior's shape tells
        off = (PseudoinverseGuidance(oracle, observation)(x, level(sigma)) - expected).abs().max()
        assert off > 0.01 * expected.abs().max()


@attrs.frozen
class Blur(Colour):
    """A mean over the last axis of three points, added: I + ⅓·11ᵀ."""

    def colour(self, z):
        return z + z.mean(-1, keepdim=True)

    def whiten(self, x):
        return x - x.mean(-1, keepdim=True) / 2


@pytest.mark.parametrize("name", OBSERVATIONS)
@pytest.mark.parametrize("iterations", [0, 6])
def test_a_model_in_whitened_units_is_asked_in_its_own(name, iterations):
    oracle = GaussianDenoiser(SHAPE, 0.2, 0.25, scaling=Scaling((0.1, -2.0), (2.0, 0.5), Blur()))
    x, observation = normal(3, *SHAPE), OBSERVATIONS[name]
    found = PseudoinverseGuidance(oracle, observation, iterations=iterations)(x, level(0.7))
    assert_close(found, estimate(oracle, observation, x, 0.7))
    assert not torch.allclose(found, estimate(diagonal(0.25), observation, x, 0.7))


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("name", OBSERVATIONS)
def test_a_sampler_takes_it_for_the_denoiser_of_the_conditional_law(kind, name):
    """Every level, every memory: the trajectory is that of the exact denoiser of p(x0 | y)."""
    oracle, observation = correlated(), OBSERVATIONS[name]
    ours = sample(PseudoinverseGuidance(oracle, observation, **EXACT), kind(steps=10), 4)
    theirs = sample(posterior(oracle, observation), kind(steps=10), 4)
    assert_close(ours, theirs, unit=10 * float(theirs.abs().max()))


def limit(oracle, observation, start):
    """Where the flow of the conditional law takes σ₀z: m' + √(C'/(C' + σ₀²)) (σ₀z − m')."""
    mean, covariance = conditioned(*law(oracle), observation)
    variances, basis = torch.linalg.eigh(covariance)
    variances = variances.clamp_min(0)
    contraction = basis @ torch.diag((variances / (variances + start**2)).sqrt()) @ basis.T
    return mean - contraction @ mean, start * contraction


@pytest.mark.parametrize(("kind", "order"), [(Euler, 1), (Heun, 2)])
def test_mean_and_covariance_converge_with_the_order_of_the_sampler(kind, order):
    """Pushed through the chain, at N = 20, 80 and 320; the limit differs from the posterior by what σ₀ = 80 forgets."""
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[0, 0, 0], mask[1, 2, 2] = True, True
    oracle, observation = correlated(), Observation(mask, normal(*SHAPE), (0.0, 0.1))
    mean, covariance = conditioned(*law(oracle), observation)
    errors = []
    for steps in (20, 80, 320):
        sampler = kind(steps=steps)
        centre, linear = pushed(Chain(sampler, PseudoinverseGuidance(oracle, observation, iterations=2)))
        there, contraction = limit(oracle, observation, sampler.levels[0])
        errors.append([float((centre - there).norm()), float((linear @ linear.T - contraction @ contraction.T).norm())])
    for coarse, fine in zip(*errors[1:], strict=True):
        assert abs(math.log(coarse / fine, 4) - order) < 0.2
    assert float((there - mean).norm()) < 0.02 * float(mean.norm())
    assert float((contraction @ contraction.T - covariance).norm()) < 1e-3 * float(covariance.norm())


def test_a_term_follows_the_covariance_and_a_relative_one_goes_its_share_of_the_way():
    oracle, observation, s = diagonal(0.25), OBSERVATIONS["noisy"], 0.7
    x, r2 = normal(3, *SHAPE), 0.25 * s**2 / (0.25 + s**2)
    plain, seen = PseudoinverseGuidance(oracle, observation)(x, level(s)), oracle(x, level(s))
    scale = torch.tensor(SCALING.scale).double().reshape(-1, 1, 1)
    gradient = scale * (SCALING.physical(seen) - 1.5)  # of ½‖f − 1.5‖², in normalised units

    absolute = PseudoinverseGuidance(oracle, observation, [Term(Quadratic(1.5), 0.2)])(x, level(s))
    assert_close(absolute, plain - r2 * 0.2 * gradient)
    relative = PseudoinverseGuidance(oracle, observation, [Term(Quadratic(1.5), 0.2, relative=True)])(x, level(s))
    loss, size = -Quadratic(1.5)(SCALING.physical(seen)), gradient.flatten(1).square().sum(1)
    assert_close(relative, plain - 0.2 * (loss / size).reshape(-1, 1, 1, 1) * gradient)
    above = PseudoinverseGuidance(oracle, observation, [Term(Quadratic(1.5), Below(0.2, s / 2))])
    assert torch.equal(above(x, level(s)), plain)


@pytest.mark.parametrize(("kind", "evaluations"), [(Euler, 5), (Heun, 9), (Multistep, 5), (Ancestral, 5)])
@pytest.mark.parametrize("iterations", [0, 2])
def test_costs(kind, evaluations, iterations):
    """One evaluation and 1 + iterations products, as asked of the network and as counted; terms cost nothing."""
    asked, products = [], []

    def network(x, sigma, condition):
        asked.append(float(sigma))
        out = 0.5 * x
        out.register_hook(products.append)
        return out

    guided = PseudoinverseGuidance(Function(network, SHAPE), OBSERVATIONS["noisy"], [Term(Quadratic())], iterations=iterations)
    cost = draw(guided, kind(steps=5), 4)
    assert cost.evaluations == len(asked) == evaluations
    assert cost.vjps == len(products) == evaluations * (1 + iterations)


def test_every_step_of_a_network_has_the_same_wrapper():
    base, tuned = Tiny(SHAPE), perturb(Tiny(SHAPE))
    below = Euler(steps=4).before_last(2)
    guided = PseudoinverseGuidance(Handover(base, tuned, below), OBSERVATIONS["noisy"])
    assert guided.for_step(2 * below) is guided.for_step(3 * below) is not guided.for_step(below / 2)
    assert [id(p) for p in guided.tunable()] == [id(p) for p in tuned.parameters()]
    chains = [Chain(Multistep(steps=4), PseudoinverseGuidance(d, OBSERVATIONS["noisy"])) for d in (guided.inner, base, tuned)]
    ours, prefix, tail = chains
    state = ours.run(ours.initial(), 0, 2)
    assert torch.equal(state.x, prefix.run(prefix.initial(), 0, 2).x)
    assert torch.equal(ours.run(state, 2).x, tail.run(state.detach(), 2).x) is False  # the memory of the base is void
    assert torch.equal(ours.step(2, state).x, tail.step(2, type(state)(state.x)).x)


def test_one_level_for_each_sample_outside_a_chain():
    oracle, observation, x = correlated(), OBSERVATIONS["sums"], normal(3, *SHAPE)
    levels = torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)
    together = PseudoinverseGuidance(oracle, observation, iterations=3)(x, levels)
    for i in range(3):
        assert_close(together[i : i + 1], PseudoinverseGuidance(oracle, observation, iterations=3)(x[i : i + 1], levels[i]))


def test_gradients_are_its_own_matter():
    """With or without a graph around it, and in inference mode, the values are the same."""
    guided, x = PseudoinverseGuidance(Tiny(SHAPE), OBSERVATIONS["noisy"], iterations=2), normal(2, *SHAPE)
    plain = guided(x, level(0.5))
    assert not plain.requires_grad
    with torch.no_grad():
        assert torch.equal(guided(x, level(0.5)), plain)
    with torch.inference_mode():
        assert torch.equal(guided(x.clone(), level(0.5).clone()), plain)


def test_a_jacobian_that_is_no_covariance_does_not_explode():
    """Neither symmetric nor positive: more products leave a smaller misfit of the linearisation, never a larger one."""
    wild = 0.2 * normal(SIZE, SIZE, seed=8)
    network = Function(lambda x, sigma, condition: (x.flatten(1) @ wild.T).reshape(x.shape), SHAPE)
    network.scaling = SCALING
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[0] = True
    observation, x, misfits = Observation(mask, normal(*SHAPE)), normal(1, *SHAPE, seed=5), []
    for iterations in range(1, 10):
        guided = PseudoinverseGuidance(network, observation, iterations=iterations)
        misfits.append(float(observation.misfit(SCALING.physical(guided(x, level(0.7)))).norm()))
    assert all(b <= a * (1 + 1e-9) for a, b in pairwise(misfits))
    assert misfits[-1] < 1e-9 < 1e-2 < misfits[0]


def test_posterior_is_a_way_in():
    oracle, observation = correlated(), OBSERVATIONS["noisy"]
    guided = PseudoinverseGuidance.posterior(oracle, observation, Quadratic(), weight=Below(0.3), iterations=2)
    assert guided.terms == (Term(Quadratic(), Below(0.3), relative=True),)
    assert "Term(reward=Quadratic" in repr(guided)
    assert PseudoinverseGuidance.posterior(oracle, observation).terms == ()


def test_bad_guidance_is_refused():
    oracle, observation = diagonal(), OBSERVATIONS["noisy"]
    with pytest.raises(InputError, match=r"an observation of fields of shape \(1, 4\) is needed: got \(2, 3, 3\)"):
        PseudoinverseGuidance(GaussianDenoiser((1, 4)), observation)
    with pytest.raises(InputError, match="a positive spread and a count of iterations are needed: got spread=0"):
        PseudoinverseGuidance(oracle, observation, spread=0.0)
    for term in (Term(Quadratic(), 1.0, (0.8, 1.0)), Term(observation, together=True)):
        with pytest.raises(InputError, match="terms that act by the noise level, sample by sample, are needed: got Term"):
            PseudoinverseGuidance(oracle, observation, [term])
    with pytest.raises(InputError, match=r"needs one noise level for the batch: got 0.1 to 1"):
        PseudoinverseGuidance(oracle, observation, [Term(Quadratic())])(normal(2, *SHAPE), torch.tensor([0.1, 1.0]))


def test_samples_and_their_chain_are_the_same_thing():
    guided = PseudoinverseGuidance(diagonal(), OBSERVATIONS["some exact"], iterations=2)
    chain = Chain(Heun(steps=5), guided, Noise(3)[range(3)])
    assert torch.equal(sample(guided, Heun(steps=5), 3, seed=3), chain.physical(chain.run(chain.initial()).x))
