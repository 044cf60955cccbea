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

from pirf.backprop import ContinuousTime, Fitted, Known, ValueGradient, Windows
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain, Euler
from pirf.scaling import Scaling

BOWL = Bowl()
NOISE = Noise(5)[range(5)]


def climbers(value, kl):
    return [ValueGradient(value, kl), ContinuousTime(value=value, form="gradient", kl=kl)]


# The estimator is the formula.


@pytest.mark.parametrize("strategy", climbers(linear(), 0.0))
@pytest.mark.parametrize("spread", [S, 0.0])
def test_of_a_linear_reward_every_sample_gives_the_gradient(strategy, spread):
    """−(1 − τ'/τ) b w_{k+1} at every step with a variance, itself without variance."""
    chain, _ = setting(6, spread, samples=5)
    loss, found = per_sample(strategy, chain, Slope(), NOISE, strategy.init(chain, Slope(), Noise(1)))
    expected = torch.tensor([-share * B * w * (v > 0) for v, w, share in laws(chain)], dtype=torch.float64)
    assert_close(found, expected[:, None, None])
    learned = 6 - (spread == 0)
    assert (loss.evaluations, loss.vjps) == (6 + learned, learned)  # the trajectory, and its steps again
    assert loss.notes == {"kl": 0.0, "rewards": 1}


@pytest.mark.parametrize("strategy", climbers(BOWL.value(), BOWL.alpha))
def test_of_a_quadratic_reward_the_samples_mean_is_the_gradient(strategy):
    """−E[∂μ (∇V_{k+1}(x_{k+1}) − η δ/v)] for constants and slopes, away from base and optimum."""
    chain, network = BOWL.setting(5, samples=4000)
    state = strategy.init(chain, BOWL.reward(), Noise(1))
    write(network, 0.1 * normal(5, 2, seed=3))
    loss, found = per_sample(strategy, chain, BOWL.reward(), Noise(5)[range(4000)], state)
    for draws, expected in zip(found.flatten(0, 1), BOWL.gradient(chain).flatten(), strict=True):
        assert_moment(draws, float(expected), errors=3)
    assert (loss.evaluations, loss.vjps) == (15, 5)  # the trajectory, the base and the trained steps beside it


def test_the_windows_of_the_closed_form_add_up():
    chain, network = setting(5, 0.0)
    strategy = ContinuousTime(value=linear(), form="gradient", kl=0.5)
    state = strategy.init(chain, Slope(), Noise(1))
    found = []
    for part in (strategy, *(Windows(2, updates=1, inner=strategy).at(w) for w in (0, 1))):
        loss = part.loss(chain, Slope(), NOISE, state)
        found.append(torch.autograd.grad(loss.value, [network.shift])[0])
        assert int(found[-1].count_nonzero()) == loss.vjps == len(loss.states)
    assert [int(g.count_nonzero()) for g in found] == [4, 2, 2]  # the step to σ = 0 is in no window
    assert_close(found[1] + found[2], found[0])
    with pytest.raises(InputError, match=r"^at most 4 windows can be cut: got Windows\(5\)"):
        Windows(5, inner=strategy).first_graded(chain)


@pytest.mark.parametrize("strategy", climbers(Recorder(), ALPHA))
def test_one_value_is_told_the_score_the_other_what_the_steps_ahead_cost_as_well(strategy):
    """VARD fits E[r | x]; Score as Action r − β Σ_{j ≥ k} KL_j, of a policy that moves means by δ alone KL = δ²/2v."""
    strategy.value.seen.clear()
    chain, network = setting(4)
    state = strategy.init(chain, Slope(), Noise(1))
    with torch.no_grad():
        network.shift.copy_(optimum(chain))
    strategy.loss(chain, Slope(), NOISE, state)
    ((returns, experience),) = strategy.value.seen
    prices = torch.tensor([v * (B * w) ** 2 / (2 * ALPHA) for v, w, _ in laws(chain)], dtype=torch.float64)
    paid = prices.flip(0).cumsum(0).flip(0)[:, None] * isinstance(strategy, ContinuousTime)
    assert_close(returns, experience.scores - paid)


def test_a_structured_value_is_paid_for():
    """Per slope one reward with its gradient and, before the end, one evaluation more."""
    value = Fitted(width=4, pretrain=1, batch=8)
    chain, network = setting(4)
    plain, structured = (attrs.evolve(value, structured=s) for s in (False, True))
    for value, rewards, evaluations, vjps in ((plain, 1, 12, 4), (structured, 1 + 4 + 4, 12 + 3, 4 + 3)):
        strategy = ValueGradient(value)
        state = strategy.init(chain, Counted(), Noise(1))
        CALLS.clear()
        loss = strategy.loss(chain, Counted(), NOISE, state)
        assert (loss.notes["rewards"], loss.evaluations, loss.vjps) == (len(CALLS), evaluations, vjps)
        assert len(CALLS) == rewards
        assert torch.autograd.grad(loss.value, [network.shift])[0].all()


CALLS = []


@attrs.frozen
class Counted(Reward):
    def __call__(self, x, condition=None):
        CALLS.append(len(x))
        return Slope()(x)


# The stationary point.


@pytest.mark.parametrize("strategy", climbers(linear(), ALPHA))
@pytest.mark.parametrize("spread", [S, 0.0])
@pytest.mark.parametrize("steps", [5, 20])
def test_of_a_linear_reward_one_newton_step_lands_on_it(strategy, spread, steps):
    """δ_k = v_k b w_{k+1}/η, from any weights, with any number of samples."""
    chain, network = setting(steps, spread)
    state = strategy.init(chain, Slope(), Noise(1))
    best, stiff = optimum(chain, alpha=ALPHA), [ALPHA * share**2 / v if v else 1.0 for v, _, share in laws(chain)]
    with torch.no_grad():
        network.shift.add_(normal(steps, seed=2) * (best > 0))
    (gradient,) = torch.autograd.grad(strategy.loss(chain, Slope(), NOISE, state).value, [network.shift])
    assert_close(network.shift.detach() - gradient / torch.tensor(stiff, dtype=torch.float64), best)


@pytest.mark.parametrize("strategy", climbers(Known(lambda x, sigma: Quadratic(2.0, 1.5)(x)), 0.7))
@pytest.mark.parametrize("start", [0.3, -4.0])
def test_one_step_with_the_reward_for_its_value(strategy, start):
    """δ = vλ (y − μ)/(η + vλ), here with v = ½, λ = 1.5, y = 2, μ = 0.3, η = 0.7."""
    network = Constant((1, 1), 0.3)
    chain = Chain(Single(), network, Noise(0))
    state = strategy.init(chain, Quadratic(2.0, 1.5), Noise(1))
    with torch.no_grad():
        network.theta.fill_(start)
    (gradient,) = torch.autograd.grad(strategy.loss(chain, Quadratic(2.0, 1.5), NOISE, state).value, [network.theta])
    reached = network.theta.detach() - gradient / (1.5 + 0.7 / 0.5)
    assert_close(reached - 0.3, 0.75 * (2 - 0.3) / (0.7 + 0.75))


# What is sampled there.


@pytest.mark.parametrize("strategy", climbers(BOWL.value(), BOWL.alpha))
def test_of_a_quadratic_reward_descent_ends_where_the_tilted_law_is(strategy):
    assert_settles(strategy)


@pytest.mark.parametrize("strategy", climbers(BOWL.value(), BOWL.alpha))
def test_score_less_price_is_the_value_of_the_start(strategy):
    """At the optimum E r − α Σ KL, as it is reported, is α log Z but for a first-order error in the steps."""
    chain, network = BOWL.setting(10)
    state = strategy.init(chain, BOWL.reward(), Noise(1))
    write(network, BOWL.optimum(chain))
    losses = [strategy.loss(chain, BOWL.reward(), Noise(5).fold(i)[range(50)], state) for i in range(30)]
    assert_moment([loss.score - BOWL.alpha * loss.notes["kl"] for loss in losses], BOWL.objective(chain), errors=3)


# What it needs, and what it refuses.


@attrs.frozen
class Deaf(Reward):
    """A black box: scored, never differentiated."""

    def __call__(self, x, condition=None):
        return Quadratic(0.3)(x.detach())


@pytest.mark.parametrize("strategy", climbers(Fitted(structured=False, width=4, pretrain=1, batch=8), 0.5))
def test_a_black_box_is_climbed_by_its_network(strategy):
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    losses = []
    for reward in (Deaf(), Quadratic(0.3)):
        state = strategy.init(chain, reward, Noise(1))
        losses.append(strategy.loss(chain, reward, NOISE, state))
    first, second = (torch.autograd.grad(loss.value, list(chain.denoiser.parameters())) for loss in losses)
    assert all(torch.equal(a, b) and bool(a.any()) for a, b in zip(first, second, strict=True))
    assert losses[0].notes["rewards"] == 1


@pytest.mark.parametrize("strategy", climbers(Fitted(width=4, pretrain=1, batch=8), 0.5))
def test_a_black_box_has_no_structured_slope(strategy):
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    state = strategy.init(chain, Deaf(), Noise(1))
    with pytest.raises(InputError, match=r"^the gradient of a structured value needs a differentiable reward: got .*Deaf\(\)"):
        strategy.loss(chain, Deaf(), NOISE, state)
    dull = attrs.evolve(strategy, value=Known(lambda x, sigma: x.detach().flatten(1).sum(1)))
    with pytest.raises(InputError, match=r"^the gradient of a value is needed: got Known\(.*does not depend on x at step 1"):
        dull.loss(chain, Deaf(), NOISE, dull.init(chain, Deaf(), Noise(1)))


def test_a_slope_that_is_not_a_number_stops_before_harm():
    chain, network = setting(4)
    strategy = ValueGradient(Known(lambda x, sigma: (0.0 * x.flatten(1).sum(1)).sqrt()))
    with pytest.raises(NumericalError, match="gradient of the value network: 5 of 5 values are not finite; weights untouched"):
        strategy.loss(chain, Slope(), NOISE, strategy.init(chain, Slope(), Noise(1)))
    assert not network.shift.detach().any()


def test_rewards_see_physical_units():
    """V of normalised states, r of physical ones: a scale c on the only channel scales the slope of r(x̂₀) by c."""
    value = Fitted(width=4, pretrain=1, batch=8, middle=1e9)  # cos = 1: the estimate alone
    found = []
    for scale in (1.0, 3.0):
        chain, network = setting(4)
        network.scaling = Scaling((0.0,), (scale,))
        strategy = ValueGradient(value)
        loss = strategy.loss(chain, Slope(), NOISE, strategy.init(chain, Slope(), Noise(1)))
        found.append(torch.autograd.grad(loss.value, [network.shift])[0])
    assert float((found[1] / found[0] - 3).abs().max()) < 1e-6


def test_samplers_without_a_density_and_states_that_are_none_are_refused():
    for strategy in climbers(linear(), 1.0):
        name = type(strategy).__name__
        with pytest.raises(InputError, match=rf"^{name} needs transition probabilities: got Euler\("):
            strategy.first_graded(Chain(Euler(steps=3), Tiny(), Noise(0)))
        with pytest.raises(InputError, match=rf"^{name} needs its state: got state=None"):
            strategy.loss(Chain(Ancestral(steps=3), Tiny(), Noise(0)), Quadratic(), NOISE)
