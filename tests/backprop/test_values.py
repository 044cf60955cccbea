import math

import attrs
import numpy as np
import pytest
import torch
from gaussian import ALPHA, B, Bowl, Slope, laws, linear, optimum, setting, write
from tolerances import assert_close, assert_moment, orders
from toys import Function, Quadratic, Tiny, normal, scramble

from pirf.backprop import ContinuousTime, Fitted, Known, RewardDirectedQ, StochasticControl, Value, ValueGradient
from pirf.backprop.critic import Critic
from pirf.backprop.experience import beside, explore
from pirf.errors import InputError, NumericalError
from pirf.guidance import SVDD
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain
from pirf.schedules import EDM
from pirf.training import finetune

BOWL = Bowl()
LOG_Z = -0.5 * math.log(2) - 1  # −½ ln(1 + λs²/α) − ½λ(m − y)²/(α + λs²)
SMALL = Fitted(width=4, pretrain=1, batch=8)


def critic(shape=(1, 1), width=4, spread=1.0, seed=0, size=0.5):
    """A value network with any weights at all."""
    scores = spread * torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    return scramble(Critic(shape, width, 1e-3, scores, Noise(seed)), size, seed)


# The exact value: the oracle of all other tests.


def test_the_log_partition_function():
    assert abs(LOG_Z + 1.34657) < 5e-6


@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0, 80.0])
def test_the_exact_value_of_a_quadratic_reward(sigma):
    """α log E[e^{V/α}] over N(m, s² + σ²) is α log Z at every level: by Gauss–Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(120)
    x = torch.from_numpy(nodes)[:, None, None] * math.sqrt(1 + sigma**2)
    total = float((torch.from_numpy(weights) / math.sqrt(2 * math.pi) * BOWL.value().function(x, sigma).exp()).sum())
    assert_close(math.log(total), LOG_Z)


def test_it_satisfies_its_own_recursion():
    """e^{V_k(x)/α} = E[e^{V_{k+1}/α} | x] under the exact kernel, for α ≠ 1 and m ≠ 0 too."""
    bowl = Bowl(m=0.4, s=0.8, curvature=1.7, target=-1.0, alpha=0.6)
    chain, _ = bowl.setting(5)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(120))
    value, x = bowl.value().function, normal(7, 1, 1, seed=1)
    for k, step in enumerate(bowl.steps(chain)):
        mean = step.arrival[0] + step.arrival[1] * x
        after = value((mean + math.sqrt(step.drawn) * nodes).reshape(-1, 1, 1), chain.levels[k + 1]).reshape(7, -1)
        expected = bowl.alpha * ((after / bowl.alpha).exp() * weights / math.sqrt(2 * math.pi)).sum(1).log()
        assert_close(value(x, chain.levels[k]), expected)


def test_gaussian_policies_sample_the_tilted_law_to_first_order():
    """Means as p* has them, variances as the base has them: mean 1 (but for the start at σ_0), variance ½ + O(1/N)."""
    spreads, values = [], []
    for steps in (20, 40, 80):
        chain, network = BOWL.setting(steps)
        write(network, BOWL.optimum(chain))
        mean, variance = BOWL.end(chain)
        v = chain.levels[0] ** 2 / (1 + chain.levels[0] ** 2)
        assert_close(mean, 2 / (1 + 1 / v))  # p*(x_N | x_0 = 0); 1 at σ_0 = ∞
        spreads.append(variance - 0.5)
        values.append(LOG_Z - BOWL.objective(chain))
        # What the base's variance leaves too much: Σ (what the later steps shrink it by)² v²κ'/(α + vκ').
        excess = 0.0
        for step, level in zip(BOWL.steps(chain), chain.levels[1:], strict=True):
            stiff = step.drawn * BOWL.shape(level)[1]
            excess = step.arrival[1] ** 2 * excess + step.drawn * stiff / (1 + stiff)
        assert abs(variance - 0.5 - excess) < 1e-4  # the exact one too begins at σ_0
    assert all(0.95 < order < 1.1 for order in (*orders(spreads), *orders(values)))
    assert 0 < spreads[-1] < 0.02
    assert 0 < values[-1] < 0.006


def test_the_optimum_is_sampled():
    """By the chain itself at N = 40: its mean and variance, and what is paid for them, E r − α Σ KL against α log Z."""
    chain, network = BOWL.setting(40)
    base = BOWL.setting(40)[1]
    write(network, BOWL.optimum(chain))
    found = explore(chain, BOWL.reward(), Noise(5)[range(1000)], 0)
    _, prices = beside(chain, base, found, BOWL.alpha)
    mean, variance = BOWL.end(chain)
    x = found.states[-1].flatten()
    assert_moment(x, mean, errors=3)
    assert_moment((x - mean) ** 2, variance, errors=3)
    assert_moment(found.returns(prices)[0], BOWL.objective(chain), errors=3)
    assert abs(mean - 1) < 1e-4
    assert abs(variance - 0.5) < 0.035
    assert abs(BOWL.objective(chain) - LOG_Z) < 0.012


def test_returns_pay_for_the_steps_ahead_only():
    """Of a linear reward at its optimum: r − α Σ_{j ≥ k} KL_j, the KL of every step the constant δ²/2v."""
    chain, network = setting(4)
    base = setting(4)[1]
    with torch.no_grad():
        network.shift.copy_(optimum(chain))
    found = explore(chain, Slope(), Noise(5)[range(3)], 0)
    _, prices = beside(chain, base, found, ALPHA)
    expected = torch.tensor([v * (B * w) ** 2 / (2 * ALPHA) for v, w, _ in laws(chain)], dtype=torch.float64)
    assert_close(prices, expected[:, None])
    assert_close(found.returns(prices)[-1], found.scores - expected[-1])
    assert_close(found.returns(prices)[0], found.scores - expected.sum())
    assert torch.equal(found.returns(), found.scores.expand(4, -1))


# The structure.


@pytest.mark.parametrize("seed", range(3))
def test_at_the_end_the_value_is_the_reward_whatever_the_network_is(seed):
    chain, _ = setting(6)
    network = critic(seed=seed)
    found = explore(chain, Slope(), Noise(5)[range(4)], 0, guesses=True)
    assert torch.equal(SMALL.along(network, chain, found)[-1], found.scores)
    assert torch.equal(SMALL.at(network, chain, Slope(), found.states[-1], 6), found.scores)
    alone = attrs.evolve(SMALL, structured=False)
    assert torch.equal(alone.along(network, chain, found)[-1], found.scores)
    assert bool((alone.at(network, chain, Slope(), found.states[-1], 6) != found.scores).all())  # the network's own guess


@pytest.mark.parametrize("sigma", [1e-3, 1e-6, 1e-12])
def test_it_tends_to_the_reward_of_the_state_with_the_noise_level(sigma):
    """V = r(D) + (σ/s) F + O(σ²), the network's F of any size."""
    chain, _ = setting(3, schedule=EDM(sigma, 5.0))
    network, x = critic(size=1.0), normal(4, 1, 1)
    with torch.no_grad():
        gap = SMALL.at(network, chain, Slope(), x, 2) - Slope()(chain.predict(x, 2))
        unknown = network(x, torch.full((4,), sigma, dtype=torch.float64))
    assert float((gap / (sigma / 0.5 * unknown) - 1).abs().max()) < 2 * sigma + 1e-15 / sigma


@pytest.mark.parametrize("middle", [0.5, 2.0])
def test_the_weights_are_a_cosine_and_a_sine_of_the_noise_level(middle):
    """cos = s/√(s² + σ²), sin = σ/√(s² + σ²): from V at (r, F) = (1, 0) and (0, 1)."""
    value, chain = attrs.evolve(SMALL, middle=middle), Chain(Ancestral(steps=6), Function(lambda x, s, c: x, (1, 1)), Noise(0))
    x, network = normal(1, 1, 1), scramble(critic(), 0.0)
    for k, sigma in enumerate(chain.levels):
        network.center.fill_(0.0)
        cosine = value.at(network, chain, Level(1.0), x, k)
        network.center.fill_(1.0)
        sine = value.at(network, chain, Level(0.0), x, k)
        assert_close(cosine**2 + sine**2, 1.0)
        assert_close(cosine, middle / math.hypot(middle, sigma))
        if k < 6:
            assert_close(sine, sigma / math.hypot(middle, sigma))
            assert_close(torch.atan2(sine, cosine), math.atan(sigma / middle))


@attrs.frozen
class Level(Reward):
    """The same for every sample."""

    value: float

    def __call__(self, x, condition=None):
        return torch.full_like(x.flatten(1)[:, 0], self.value)


@pytest.mark.parametrize("structured", [True, False])
def test_it_knows_the_noise_level_and_not_the_step(structured):
    """EDM levels of N = 5 are every second one of N = 9: the same state has the same value there, bit for bit."""
    value, network, x = attrs.evolve(SMALL, structured=structured), critic(), normal(4, 1, 1)
    coarse, fine = setting(5)[0], setting(9)[0]
    for k in range(5):
        assert coarse.levels[k] == fine.levels[2 * k]
        assert torch.equal(value.at(network, coarse, Slope(), x, k), value.at(network, fine, Slope(), x, 2 * k))


def test_along_a_trajectory_and_at_its_states_it_is_the_same():
    chain, _ = setting(6)
    network = critic()
    found = explore(chain, Slope(), Noise(5)[range(4)], 0, guesses=True)
    along = SMALL.along(network, chain, found)
    for k, x in enumerate(found.states):
        assert_close(along[k], SMALL.at(network, chain, Slope(), x, k))
    known = linear()
    for k, values in enumerate(known.along(None, chain, found)):
        assert torch.equal(values, known.at(None, chain, Slope(), found.states[k], k))


def test_its_slope_is_that_of_the_whole():
    """∂V/∂x through estimate and network, against central differences."""
    chain, _ = setting(6)
    network, x, h = critic(), normal(4, 1, 1), 1e-5
    for structured in (True, False):
        value = attrs.evolve(SMALL, structured=structured)
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(value.at(network, chain, Quadratic(), leaf, 3).sum(), leaf)
        up, down = (value.at(network, chain, Quadratic(), x + d, 3) for d in (h, -h))
        assert float((slope.flatten() - (up - down).detach() / (2 * h)).abs().max()) < 1e-8


# What it learns.


def determination(value, chain, reward, truth, count=512):
    """R² against the exact value, level by level, on states that it has not seen."""
    learned = value.init(chain, reward, Noise(1), 0)
    fresh = explore(chain, reward, Noise(9)[range(count)], 0, guesses=value.guesses)
    along, exact = value.along(learned, chain, fresh), truth.along(None, chain, fresh)
    return 1 - (along - exact).square().mean(1) / exact.var(1)


BASE = Known(lambda x, sigma: Quadratic(2.0)(x / (1 + sigma**2)) - 0.5 * sigma**2 / (1 + sigma**2))
"""E[r | x_k] of the base: −½((D − y)² + v), for m = 0, s = λ = 1, y = 2."""


@pytest.mark.parametrize("structured", [True, False])
def test_it_learns_what_a_state_is_worth(structured):
    """R² > 0.9 against E[r | x_k] on unseen states, wherever the states explain a tenth of the reward's variance."""
    chain, _ = BOWL.setting(8, schedule=EDM(0.05, 20.0))
    value = Fitted(structured, width=16, lr=3e-3, pretrain=16, batch=128, passes=10)
    learned = value.init(chain, BOWL.reward(), Noise(1), 0)
    fresh = explore(chain, BOWL.reward(), Noise(9)[range(512)], 0, guesses=structured)
    exact = BASE.along(None, chain, fresh)
    explained = 1 - (value.along(learned, chain, fresh) - exact).square().mean(1) / exact.var(1)
    telling = exact.var(1) > 0.1 * fresh.scores.var()
    assert int(telling.sum()) == 6  # σ = 2.8 … 0
    assert float(explained[telling].min()) > 0.9, explained


def test_it_goes_on_learning_from_new_returns():
    """Returns that are all 5 higher: after a few batches so are the values."""
    chain, _ = setting(4, schedule=EDM(0.1, 5.0))
    value = Fitted(structured=False, width=8, lr=1e-2, pretrain=4, batch=64, passes=4)
    learned = value.init(chain, Slope(), Noise(1), 0)
    fresh = explore(chain, Slope(), Noise(9)[range(64)], 0)
    before = value.along(learned, chain, fresh)[:-1].mean()
    for i in range(12):
        found = explore(chain, Slope(), Noise(5).fold(i)[range(64)], 0)
        higher = attrs.evolve(found, scores=found.scores + 5)
        value.learn(learned, chain, higher, higher.returns(), Noise(6).fold(i))
    assert abs(float(value.along(learned, chain, fresh)[:-1].mean() - before) - 5) < 0.5


# Reproducible, of any kind, and refused in one line.


def test_pre_training_is_a_function_of_the_seed():
    """To the bit; and torch's global generator is where it was (so it is after every test: conftest)."""
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    before = torch.get_rng_state()
    first, second, other = (SMALL.init(chain, Quadratic(), Noise(seed), 0) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert first.tensors().keys() == second.tensors().keys() == other.tensors().keys()
    assert all(torch.equal(t, second.tensors()[name]) for name, t in first.tensors().items())
    assert not torch.equal(first.hidden.weight, other.hidden.weight)


def test_a_batch_of_pre_training_is_of_samples_of_its_own():
    """Under a handover with stored states as well: sample i of the pool is used once, not in every batch."""
    seen = []

    @attrs.frozen
    class Noted(Reward):
        def __call__(self, x, condition=None):
            seen.append(x.clone())
            return Slope()(x)

    chain, _ = setting(3)
    attrs.evolve(SMALL, pretrain=3, structured=False).init(chain, Noted(), Noise(1), 0)
    finals = torch.cat(seen).flatten()
    assert len(finals) == len(finals.unique()) == 24
    asked = []
    stored = attrs.evolve(chain, prefixes=lambda keyed: asked.append(keyed.noise.samples))
    attrs.evolve(SMALL, pretrain=3).init(stored, Slope(), Noise(1), 0)
    assert asked == [range(0, 8), range(8, 16), range(16, 24)]


@attrs.frozen
class Typed(Reward):
    """A quadratic whose scores are always of one dtype."""

    dtype: torch.dtype

    def __call__(self, x, condition=None):
        return Quadratic(0.4)(x).to(self.dtype)


STRATEGIES = [
    ContinuousTime(value=SMALL), ContinuousTime(value=SMALL, form="gradient", kl=0.1),
    ValueGradient(SMALL), ValueGradient(attrs.evolve(SMALL, structured=False)),
    StochasticControl(100.0, attrs.evolve(SMALL, structured=False)), RewardDirectedQ(100.0, SMALL),
]  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(("states", "scores"), [(torch.float32, torch.float64), (torch.float64, torch.float32)])
def test_states_and_scores_may_differ_in_precision(strategy, states, scores):
    """A float64 score of a float32 model, and the reverse, give the gradient of the matching pair to float32's accuracy."""
    chain = Chain(Ancestral(steps=3), Tiny().to(states), Noise(0))
    found = []
    for reward in (Typed(scores), Quadratic(0.4)):
        loss = strategy.loss(chain, reward, Noise(5)[range(6)], strategy.init(chain, reward, Noise(1)))
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss.value, list(chain.denoiser.parameters()))]))
    assert found[0].dtype == states
    assert float((found[0] - found[1]).norm() / found[1].norm()) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_rewards_that_are_all_the_same_are_refused(strategy, dtype):
    """Also where their mean is not one of them, as with 0.1 in float32."""
    chain = Chain(Ancestral(steps=3), Tiny().to(dtype), Noise(0))
    with pytest.raises(NumericalError) as caught:
        strategy.init(chain, Level(0.1), Noise(1))
    assert str(caught.value) == (
        "value network: all 8 values of a batch are 0.1 and prefer no trajectory to another; weights untouched. "
        "Try a larger batch, or a reward that tells samples apart."
    )


@pytest.mark.parametrize("lr", [1e3, 1e30, math.inf])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_value_network_that_explodes_stops_before_harm(strategy, lr):
    """While it is pre-trained, or in an update: 10⁶ standard deviations are as bad as no number."""
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    wild = attrs.evolve(strategy, value=attrs.evolve(strategy.value, lr=lr, passes=3))
    before = [p.detach().clone() for p in chain.denoiser.parameters()]
    line = r"^the value network says (nan|inf|[0-9.e+]+) standard deviations of the scores it began with; weights untouched"
    with pytest.raises(NumericalError, match=line):
        wild.init(chain, Quadratic(), Noise(1))
    state = strategy.init(chain, Quadratic(), Noise(1))
    state.value.optimizer.param_groups[0]["lr"] = lr
    with pytest.raises(NumericalError, match=line):
        strategy.loss(chain, Quadratic(), Noise(5)[range(6)], state)
    assert all(torch.equal(a, b) for a, b in zip(before, chain.denoiser.parameters(), strict=True))


def test_a_guess_far_off_is_not_an_explosion():
    """Of a model whose estimate is nonsense at high noise: it is the network that must not run away."""
    chain, _ = setting(3)
    found = explore(chain, Slope(), Noise(5)[range(8)], 0, guesses=True)
    learned = Critic((1, 1), 4, 1e-3, found.scores, Noise(1))
    before = learned.out.weight.detach().clone()
    far = attrs.evolve(found, guesses=1e9 * found.guesses)
    SMALL.learn(learned, chain, far, far.returns(), Noise(2))
    assert bool((learned.out.weight != before).all())


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_value_network_that_is_not_a_number_stops_before_harm(strategy):
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    state = strategy.init(chain, Quadratic(), Noise(1))
    with torch.no_grad():
        state.value.out.bias.fill_(math.nan)
        state.value.hidden.weight.fill_(math.nan)
    with pytest.raises(
        NumericalError, match=r"^the value network says nan standard deviations [^\n]*; weights untouched[^\n]*$"
    ):
        strategy.loss(chain, Quadratic(), Noise(5)[range(6)], state)


@attrs.frozen
class Broken(Value):
    """Nothing it says is a number."""

    def along(self, learned, chain, experience):
        return torch.full((len(experience.states), len(experience.scores)), math.nan, dtype=experience.scores.dtype)

    def at(self, learned, chain, reward, x, k):
        return math.nan * x.flatten(1).sum(1)


@pytest.mark.parametrize(("value", "line"), [
    (attrs.evolve(SMALL, lr=1e30), r"the value network says .* Try Fitted with a smaller lr\."),
    (Broken(), r"fine-tuning, update 0: advantages: 8 of 8 values are not finite; .*"),
])  # fmt: skip
def test_through_fine_tuning_it_is_one_line_as_well(value, line):
    """In pre-training, and in an update."""
    network, gradient = Tiny(), ContinuousTime(value=value)
    before = [p.detach().clone() for p in network.parameters()]
    with pytest.raises(NumericalError, match=f"^{line}$"):
        finetune(network, Quadratic(), sampler=Ancestral(steps=3), gradient=gradient, steps=3, batch=4, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_fitted_network_guides_candidates():
    """Of the same candidates SVDD keeps those that the network values most, at N evaluations."""
    sampler = Ancestral(steps=4, spread=0.5)
    base = Tiny()
    value = Fitted(structured=False, pretrain=2, batch=32, width=8).fit(base, Quadratic(), sampler)
    chain = Chain(sampler, SVDD(base, Quadratic(), 3, value=value), Noise(5)[range(2)])
    seen = []
    chain.run(chain.initial(), visit=lambda k, state: seen.append(state.x))
    law = Chain(sampler, base, chain.noise).transition(0, chain.initial())
    drawn = chain.noise.fold("transition", 0)
    candidates = [law.draw(drawn), *(law.draw(drawn.fold("candidate", j)) for j in (1, 2))]
    with torch.no_grad():
        best = torch.stack([value(x, chain.levels[1]) for x in candidates]).argmax(0)
    assert torch.equal(seen[1], torch.stack(candidates)[best, range(2)].detach())
    assert chain.tally.evaluations == 4


def test_only_a_network_alone_can_be_taken_along():
    with pytest.raises(InputError, match="a value that is a network alone is needed: got Fitted"):
        Fitted().fit(Tiny(), Quadratic(), Ancestral(steps=3))
