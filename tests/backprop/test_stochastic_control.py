import attrs
import pytest
import torch
from gaussian import (
    ALPHA,
    B,
    Bowl,
    Recorder,
    S,
    Single,
    Slope,
    assert_settles,
    laws,
    linear,
    optimum,
    per_sample,
    setting,
    write,
)
from tolerances import assert_close, assert_moment
from toys import Constant, Quadratic, Tiny, normal

from pirf.backprop import Known, LayerTruncated, StochasticControl
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun
from pirf.training import finetune

BOWL = Bowl()
NOISE = Noise(5)[range(5)]


def bowl(curvature=1.0, target=2.0):
    return Known(lambda x, sigma: Quadratic(target, curvature)(x))


# The estimator is the formula.


@pytest.mark.parametrize("spread", [S, 0.0])
def test_of_a_linear_reward_every_sample_gives_the_gradient(spread):
    """(1 − τ'/τ) (δ_k/v_k − b w_{k+1}/α) at every step with a variance, itself without variance."""
    chain, network = setting(6, spread, samples=5)
    strategy = StochasticControl(ALPHA, linear())
    state = strategy.init(chain, Slope(), Noise(1))
    weights = normal(6, seed=2)
    with torch.no_grad():
        network.shift.copy_(weights[:, None, None, None].expand_as(network.shift))
    loss, found = per_sample(strategy, chain, Slope(), NOISE, state)
    expected = [
        share * (share * float(c) / v - B / ALPHA * w) if v else 0.0
        for c, (v, w, share) in zip(weights, laws(chain), strict=True)
    ]
    assert_close(found, torch.tensor(expected, dtype=torch.float64)[:, None, None])
    learned = 6 - (spread == 0)
    assert (loss.evaluations, loss.vjps) == (6 + learned + learned, learned)  # trajectory, base, trained steps
    assert loss.notes["rewards"] == 1


def test_of_a_quadratic_reward_the_samples_mean_is_the_gradient():
    """E[∂μ (δ/v − ∇V_{k+1}(x_{k+1})/α)] for constants and slopes, away from base and optimum."""
    box = attrs.evolve(BOWL, alpha=2.0)
    strategy = StochasticControl(2.0, box.value())
    chain, network = box.setting(5, samples=4000)
    state = strategy.init(chain, box.reward(), Noise(1))
    write(network, 0.1 * normal(5, 2, seed=3))
    _, found = per_sample(strategy, chain, box.reward(), Noise(5)[range(4000)], state)
    for draws, expected in zip(found.flatten(0, 1), box.gradient(chain).flatten() / 2.0, strict=True):
        assert_moment(draws, float(expected), errors=3)


# The stationary point, and how it is reached.


def solve(strategy, chain, reward, noise, state):
    """One regression, exactly: the loss is ½(θ − mean target)²/v up to a constant, v = ½."""
    loss = strategy.loss(chain, reward, noise, state)
    (gradient,) = torch.autograd.grad(loss.value, [chain.denoiser.theta])
    with torch.no_grad():
        chain.denoiser.theta.sub_(0.5 * gradient)
    return loss


def test_one_step_iterates_one_half_three_quarters_to_two_thirds():
    """v = ½, λ = α = 1, y = 2, μ = 0: δ ← ½(2 − δ) = 1, ½, ¾, … → 2/3; every change is half the one before it."""
    chain = Chain(Single(), Constant((1, 1)), Noise(0))
    strategy = StochasticControl(1.0, bowl(), epochs=1)
    state, expected, losses = strategy.init(chain, Quadratic(2.0), Noise(1)), 0.0, []
    for i in range(40):
        losses.append(solve(strategy, chain, Quadratic(2.0), Noise(5).fold(i)[range(4)], state))
        expected = 0.5 * (2 - expected)
        assert_close(chain.denoiser.theta, expected)
    assert_close(chain.denoiser.theta, 2 / 3)
    for loss in losses:
        assert_close(loss.notes["contraction"], 0.5)


@pytest.mark.parametrize(("curvature", "alpha"), [(0.2, 1.0), (1.0, 0.6), (3.0, 1.6)])
def test_the_contraction_that_is_reported_is_v_kappa_over_alpha(curvature, alpha):
    chain = Chain(Single(), Constant((1, 1), 0.3), Noise(0))
    strategy = StochasticControl(alpha, bowl(curvature))
    loss = strategy.loss(chain, Quadratic(), NOISE, strategy.init(chain, Quadratic(), Noise(1)))
    assert_close(loss.notes["contraction"], 0.5 * curvature / alpha)


def test_over_many_steps_the_worst_contraction_is_reported():
    chain, _ = BOWL.setting(6)
    strategy = StochasticControl(1.0, BOWL.value())
    loss = strategy.loss(chain, BOWL.reward(), NOISE, strategy.init(chain, BOWL.reward(), Noise(1)))
    factors = [v * BOWL.shape(level)[1] for (v, _, _), level in zip(laws(chain, 1.0), chain.levels[1:], strict=True)]
    assert 0.4 < max(factors) < 1
    assert_close(loss.notes["contraction"], max(factors))


def test_an_iteration_that_diverges_is_stopped_before_harm():
    """v κ/α = 1.5: in exact arithmetic 3, −3/2, 21/4, … — and one line instead."""
    chain = Chain(Single(), Constant((1, 1), 0.3), Noise(0))
    strategy = StochasticControl(1.0, bowl(3.0))
    state = strategy.init(chain, Quadratic(), Noise(1))
    with pytest.raises(NumericalError) as caught:
        strategy.loss(chain, Quadratic(), NOISE, state)
    assert str(caught.value) == (
        "StochasticControl diverges: a change of step 0 is answered by one 1.5 times as large (v κ > α with v = 0.5, α = 1); "
        "weights untouched. Try a larger temperature, or more steps."
    )
    assert float(chain.denoiser.theta.detach()) == 0.3
    assert state.batch is None


def test_a_divergence_is_a_line_of_fine_tuning_as_well():
    network = Constant((1, 1), 0.3)
    with pytest.raises(NumericalError, match=r"^fine-tuning, update 0: StochasticControl diverges: a change of step 0 is"):
        finetune(
            network, Quadratic(), sampler=Single(), gradient=StochasticControl(1.0, bowl(3.0)), steps=2, batch=4, progress=False
        )
    assert float(network.theta.detach()) == 0.3


def test_the_targets_stay_while_they_serve():
    """Later epochs call neither the reward nor the base, and their minimum is the mean target of the first."""
    chain = Chain(Single(), Constant((1, 1)), Noise(0))
    strategy = StochasticControl(1.0, bowl(), epochs=3)
    state = strategy.init(chain, Quadratic(), Noise(1))
    seen = [solve(strategy, chain, Quadratic(), Noise(5).fold(i)[range(4)], state) for i in range(4)]
    assert [loss.evaluations for loss in seen] == [3, 1, 1, 3]
    assert [loss.notes["rewards"] for loss in seen] == [1, 0, 0, 1]
    assert_close(chain.denoiser.theta, 0.5)  # two iterations, not four


def test_steps_take_turns_from_the_last():
    chain, network = setting(4, 0.0)
    strategy = StochasticControl(ALPHA, linear(), epochs=4, updates=2)
    state, turns = strategy.init(chain, Slope(), Noise(1)), []
    for update in range(8):
        loss = strategy.at(update).loss(chain, Slope(), Noise(5).fold(update)[range(4)], state)
        (gradient,) = torch.autograd.grad(loss.value, [network.shift])
        (turn,) = gradient.nonzero().flatten().tolist()
        turns.append(turn)
        assert loss.evaluations == (4 + 3 + 1 if update % 2 == 0 else 1)
    assert turns == [2, 2, 1, 1, 0, 0, 2, 2]  # the step to σ = 0 has no variance
    assert (strategy.period, LayerTruncated(strategy).period, StochasticControl().period) == (4, 4, 4)
    assert StochasticControl(epochs=4, updates=6).period == 12


@pytest.mark.parametrize("steps", [5, 20])
def test_of_a_linear_reward_one_regression_is_the_optimum(steps):
    """The total shift s²b/α follows from the same optimum as adjoint matching's, for any number of steps."""
    chain, network = setting(steps)
    strategy = StochasticControl(ALPHA, linear())
    loss = strategy.loss(chain, Slope(), NOISE, strategy.init(chain, Slope(), Noise(1)))
    (gradient,) = torch.autograd.grad(loss.value, [network.shift])
    stiff = torch.tensor([share**2 / v for v, _, share in laws(chain)], dtype=torch.float64)
    assert_close(-gradient / stiff, optimum(chain))
    assert_close(loss.notes["contraction"], 0.0, unit=1.0)


# What is sampled there.


def test_of_a_quadratic_reward_iteration_ends_where_the_tilted_law_is():
    assert_settles(StochasticControl(1.0, BOWL.value(), epochs=1))


# What it needs.


def test_what_it_needs_is_said():
    strategy = StochasticControl()
    for sampler in (Euler(steps=3), Heun(steps=3)):
        with pytest.raises(InputError, match=r"^StochasticControl needs transition probabilities: got"):
            strategy.first_graded(Chain(sampler, Tiny(), Noise(0)))
    with pytest.raises(InputError, match=r"^StochasticControl needs its state: got state=None"):
        strategy.loss(Chain(Ancestral(steps=3), Tiny(), Noise(0)), Quadratic(), NOISE)
    with pytest.raises(InputError, match=r"^a step with a variance is needed: got Ancestral\(steps=3.*eta=0"):
        strategy.init(Chain(Ancestral(steps=3, eta=0.0), Tiny(), Noise(0)), Quadratic(), Noise(1))


def test_the_value_is_told_what_the_steps_ahead_cost():
    """Returns are r − α Σ_{j ≥ k} KL_j; of a policy that moves means by δ alone KL = δ²/2v."""
    chain, network = setting(4)
    strategy = StochasticControl(ALPHA, Recorder())
    state = strategy.init(chain, Slope(), Noise(1))
    with torch.no_grad():
        network.shift.copy_(optimum(chain))
    strategy.loss(chain, Slope(), NOISE, state)
    ((returns, experience),) = strategy.value.seen
    prices = torch.tensor([ALPHA * v * (B / ALPHA * w) ** 2 / 2 for v, w, _ in laws(chain)], dtype=torch.float64)
    assert_close(returns, experience.scores - prices.flip(0).cumsum(0).flip(0)[:, None])
