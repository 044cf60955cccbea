import math

import attrs
import pytest
import torch
from gaussian import ALPHA, B, Bowl, Recorder, S, Slope, assert_settles, laws, linear, optimum, per_sample, setting, write
from tolerances import assert_close, assert_moment
from toys import Quadratic, Tiny, normal

from pirf.backprop import Fitted, Known, RewardDirectedQ
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain, Heun

BOWL = Bowl()
NOISE = Noise(5)[range(5)]


def optimal(alpha):
    """V = bD + b² v(τ)/2α, for N(m, s²) and bx."""

    def function(x, sigma):
        v = S**2 * sigma**2 / (S**2 + sigma**2)
        return linear().function(x, sigma) + B**2 * v / (2 * alpha)

    return Known(function)


# The estimator is the formula.


def test_of_a_linear_reward_the_samples_mean_is_the_gradient_and_their_variance_the_formula():
    """At the base with V = bD a sample says −c ξ², c = (1 − τ'/τ) b w_{k+1}: mean −c, variance 2c²."""
    chain, _ = setting(6, samples=6000)
    strategy = RewardDirectedQ(ALPHA, linear())
    loss, found = per_sample(strategy, chain, Slope(), Noise(5)[range(6000)], strategy.init(chain, Slope(), Noise(1)))
    for draws, (_, w, share) in zip(found[:, 0], laws(chain), strict=True):
        assert_moment(draws, -share * B * w, errors=3)
        assert_moment((draws + share * B * w) ** 2, 2 * (share * B * w) ** 2, errors=3)
    assert (loss.evaluations, loss.vjps, loss.notes["rewards"]) == (18, 6, 1)  # trajectory, base, trained steps


def test_of_a_quadratic_reward_the_samples_mean_is_the_gradient():
    """−E[∂μ (∇V_{k+1}(x_{k+1}) − α δ/v)], though no ∇V is asked for; away from base and optimum."""
    chain, network = BOWL.setting(5, samples=4000)
    strategy = RewardDirectedQ(BOWL.alpha, BOWL.value())
    state = strategy.init(chain, BOWL.reward(), Noise(1))
    write(network, 0.1 * normal(5, 2, seed=3))
    _, found = per_sample(strategy, chain, BOWL.reward(), Noise(5)[range(4000)], state)
    for draws, expected in zip(found.flatten(0, 1), BOWL.gradient(chain).flatten(), strict=True):
        assert_moment(draws, float(expected), errors=3)


# The stationary point.


@pytest.mark.parametrize("steps", [5, 20, 80])
@pytest.mark.parametrize("alpha", [2.0, ALPHA])
def test_at_the_optimum_policy_and_value_agree_along_every_path(steps, alpha):
    """G ≡ 0, not only in the mean, for any number of steps; anywhere else they do not."""
    chain, network = setting(steps, samples=5)
    strategy = RewardDirectedQ(alpha, optimal(alpha))
    state = strategy.init(chain, Slope(), Noise(1))
    before, _ = per_sample(strategy, chain, Slope(), NOISE, state)
    with torch.no_grad():
        network.shift.copy_(optimum(chain, alpha=alpha)[:, None, None, None].expand_as(network.shift))
    loss, found = per_sample(strategy, chain, Slope(), NOISE, state)
    assert loss.notes["martingale"] < 1e-20 * before.notes["martingale"]
    assert float(found.abs().max()) < 1e-9


@pytest.mark.parametrize("steps", [5, 20, 80])
def test_what_it_shifts_the_mean_by_is_s_squared_b_over_alpha(steps):
    """With α = 2, as published, s²b/2; the chain begins at σ_0, which leaves τ/(s² + τ) of it."""
    chain, network = setting(steps)
    chain = chain.keyed(NOISE)
    plain = chain.run(chain.initial()).x.detach()
    with torch.no_grad():
        network.shift.copy_(optimum(chain, alpha=2.0))
    shifted, top = chain.run(chain.initial()).x.detach(), chain.levels[0] ** 2
    assert_close(shifted - plain, S**2 * B / 2 * top / (S**2 + top))
    assert RewardDirectedQ().temperature == 2


def test_newton_steps_find_it():
    """The same gradient at any weights: −(1 − τ'/τ)(b w − α δ/v) in the mean; α (1 − τ'/τ)²/v is its slope."""
    chain, network = setting(5)
    strategy, state = RewardDirectedQ(ALPHA, optimal(ALPHA)), None
    state = strategy.init(chain, Slope(), Noise(1))
    stiff = torch.tensor([ALPHA * share**2 / v for v, _, share in laws(chain)], dtype=torch.float64)
    for i in range(40):  # G shrinks with the distance, and its noise with it: the convergence is linear
        loss = strategy.loss(chain, Slope(), Noise(5).fold(i)[range(200)], state)
        (gradient,) = torch.autograd.grad(loss.value, [network.shift])
        with torch.no_grad():
            network.shift.sub_(gradient / stiff)
    assert_close(network.shift, optimum(chain))


# What is sampled there.


def test_of_a_quadratic_reward_descent_ends_where_the_tilted_law_is():
    assert_settles(RewardDirectedQ(BOWL.alpha, BOWL.value()))


# What it needs.


def test_the_value_is_told_the_sampled_price_of_the_steps_ahead():
    """Returns are r − α Σ_{j ≥ k} log(π_θ/π_base), of a shift δ: (δ √v ξ + ½δ²)/v with the ξ that were drawn."""
    chain, network = setting(4)
    strategy = RewardDirectedQ(ALPHA, Recorder())
    state = strategy.init(chain, Slope(), Noise(1))
    with torch.no_grad():
        network.shift.copy_(optimum(chain))
    strategy.loss(chain, Slope(), NOISE, state)
    ((returns, experience),) = strategy.value.seen
    ahead = torch.zeros_like(experience.scores)
    for k in reversed(range(4)):
        law = experience.law(chain, k)
        delta = list(laws(chain))[k][2] * float(network.shift.detach()[k])
        ahead = ahead + ALPHA * (delta * (experience.after(k) - law.mean).flatten() + delta**2 / 2) / law.variance
        assert_close(returns[k], experience.scores - ahead)


@attrs.frozen
class Deaf(Reward):
    """A black box: scored, never differentiated."""

    def __call__(self, x, condition=None):
        return Quadratic(0.3)(x.detach())


@pytest.mark.parametrize("structured", [True, False])
def test_a_black_box_is_all_it_needs(structured):
    """Bit for bit what a differentiable reward gives, with either value."""
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    strategy = RewardDirectedQ(1.0, Fitted(structured, width=4, pretrain=1, batch=8))
    losses = [strategy.loss(chain, r, NOISE, strategy.init(chain, r, Noise(1))) for r in (Deaf(), Quadratic(0.3))]
    first, second = (torch.autograd.grad(loss.value, list(chain.denoiser.parameters())) for loss in losses)
    assert all(torch.equal(a, b) and bool(a.any()) for a, b in zip(first, second, strict=True))
    assert losses[0].notes["rewards"] == (4 if structured else 1)
    assert math.isclose(losses[0].notes["martingale"], float(losses[0].value.detach()))


def test_what_it_needs_is_said():
    strategy = RewardDirectedQ()
    with pytest.raises(InputError, match=r"^RewardDirectedQ needs transition probabilities: got Heun\("):
        strategy.first_graded(Chain(Heun(steps=3), Tiny(), Noise(0)))
    with pytest.raises(InputError, match=r"^RewardDirectedQ needs its state: got state=None"):
        strategy.loss(Chain(Ancestral(steps=3), Tiny(), Noise(0)), Quadratic(), NOISE)
    with pytest.raises(ValueError, match="temperature"):
        RewardDirectedQ(0.0)
