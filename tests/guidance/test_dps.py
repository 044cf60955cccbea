import inspect
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import Function, Quadratic, Tiny, normal, perturb

from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError
from pirf.grids import Grid
from pirf.guidance import DPS, Below, Fading, Guidance, Term
from pirf.inference import sample
from pirf.noise import Noise
from pirf.problems import poisson
from pirf.rewards import BlackBox, Observation, Poisson, Scaled, Weights
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, State
from pirf.scaling import Scaling
from pirf.schedules import Levels

SAMPLERS = [Euler, Heun, Multistep, Ancestral]
SHAPE = (2, 6, 6)
POISSON = Poisson(Grid.square(6))


def total(x):
    return x.flatten(1).sum(1)


def oracle():
    return GaussianDenoiser(SHAPE, 0.2, torch.linspace(0.2, 2.0, 72), scaling=Scaling((0.1, 0.0), (2.0, 0.5)))


def run(kind, denoiser, samples, steps=5):
    chain = Chain(kind(steps=steps), denoiser, Noise(3)[samples])
    return chain.run(chain.initial()).x, chain.tally


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("reward", [POISSON, Quadratic(1.0)])
def test_samples_are_guided_alone(kind, reward):
    guided = DPS(oracle(), reward, weight=0.05)
    whole, _ = run(kind, guided, range(6))
    for part in ([4, 0, 5], [3], [5, 4, 3, 2, 1, 0]):
        assert torch.equal(run(kind, guided, part)[0], whole[part])


@pytest.mark.parametrize("kind", SAMPLERS)
def test_weight_zero_and_an_empty_span_are_unguided_bit_for_bit(kind):
    plain, count = run(kind, oracle(), range(3))
    for guided in (
        DPS(oracle(), POISSON, weight=0.0),
        DPS(oracle(), POISSON, weight=1.0, active=(0.5, 0.5)),
        Guidance(oracle()),
    ):
        x, tally = run(kind, guided, range(3))
        assert torch.equal(x, plain)
        assert tally.evaluations == count.evaluations
        assert tally.vjps == 0


@pytest.mark.parametrize("kind", SAMPLERS)
def test_before_its_span_it_changes_nothing_and_in_it_something(kind):
    guided, plain = (Chain(kind(steps=5), d, Noise(3)[range(2)]) for d in (DPS(oracle(), POISSON, 0.05, (0.6, 1.0)), oracle()))
    for k in range(4):
        assert torch.equal(guided.run(guided.initial(), 0, k).x, plain.run(plain.initial(), 0, k).x) == (k < 4)
    assert not torch.equal(guided.run(guided.initial(), 0, 4).x, plain.run(plain.initial(), 0, 4).x)


def test_one_euler_step_is_the_hand_computed_gradient():
    """D = w x, quadratic reward: L = ½ζ Σ(w x − y)², ∇_x L = ζ w (w x − y)."""
    w, y, zeta = 0.4, 1.5, 0.3
    linear = Function(lambda x, sigma, condition: w * x, (1, 4))
    chain = Chain(Euler(steps=1, schedule=Levels((2.0, 0.0))), DPS(linear, Quadratic(y), zeta, (0.0, 1.0)), Noise(0)[range(3)])
    x = normal(3, 1, 4)
    assert_close(chain.step(0, State(x)).x, w * x - zeta * w * (w * x - y))


def test_one_heun_step_goes_through_both_evaluations():
    """x̂ is the corrector's estimate w·x_pred with x_pred = x (1 + (σ'−σ)(1−w)/σ) = c x: ∇_x L = ζ w c (w c x − y)."""
    w, y, zeta, (s, t) = 0.4, 1.5, 0.3, (2.0, 0.5)
    linear = Function(lambda x, sigma, condition: w * x, (1, 4))
    sampler = Heun(steps=2, schedule=Levels((s, t, 0.0)))
    guided, plain = (Chain(sampler, d, Noise(0)[range(3)]) for d in (DPS(linear, Quadratic(y), zeta, (0.0, 1.0)), linear))
    x = normal(3, 1, 4)
    c = 1 + (t - s) * (1 - w) / s
    assert_close(guided.step(0, State(x)).x, plain.step(0, State(x)).x - zeta * w * c * (w * c * x - y))


def test_a_residual_enters_as_its_norm_over_its_rows():
    reward, x = POISSON, normal(3, *SHAPE)
    rows = reward.residual(x).flatten(1)
    assert_close(Term(reward, 2.0).losses(x, None), 2.0 * rows.norm(dim=1) / 36)
    assert_close(Term(Quadratic(1.0), 2.0).losses(x, None), -2.0 * Quadratic(1.0)(x))


def test_the_gradient_is_taken_in_physical_units():
    """With scale c the same physical target pulls c times as hard on the normalised state."""
    w, c = 0.4, 3.0
    linear = Function(lambda x, sigma, condition: w * x, (1, 4))
    linear.scaling = Scaling((0.5,), (c,))
    chain = Chain(Euler(steps=1, schedule=Levels((2.0, 0.0))), DPS(linear, Quadratic(1.0), 0.3, (0.0, 1.0)), Noise(0))
    x = normal(1, 1, 4)
    assert_close(chain.step(0, State(x)).x, w * x - 0.3 * c * w * (c * w * x + 0.5 - 1.0))


@pytest.mark.parametrize(("kind", "vjps"), [(Euler, 3), (Heun, 5), (Multistep, 3), (Ancestral, 3)])
def test_vector_jacobian_products_are_counted(kind, vjps):
    """Three of five steps are guided, the last of them with one evaluation."""
    plain = run(kind, oracle(), range(2))[1]
    tally = run(kind, DPS(oracle(), POISSON, 0.05, (0.4, 1.0)), range(2))[1]
    assert tally.vjps == vjps
    assert tally.evaluations == plain.evaluations


def test_the_active_share_of_the_steps():
    reward = Quadratic()
    for steps in (1, 5, 10, 40):
        for active in ((0.0, 1.0), (0.8, 1.0), (0.0, 0.2), (0.2, 0.8)):
            acting = [k for k in range(steps) if Term(reward, 1.0, active).acts(k, steps)]
            assert acting == list(range(math.ceil(active[0] * steps - 1e-6), math.ceil(active[1] * steps - 1e-6)))


def test_terms_add():
    terms = (Term(POISSON, 0.1), Term(Quadratic(1.0), 0.01, (0.0, 1.0)))
    x = 0.3 * normal(2, *SHAPE)

    def shift(guided):
        chain = Chain(Euler(steps=4), guided, Noise(3)[range(2)])
        return chain.step(2, State(x)).x - Chain(Euler(steps=4), oracle(), Noise(3)[range(2)]).step(2, State(x)).x

    assert_close(shift(DPS(oracle(), terms)), shift(DPS(oracle(), terms[:1])) + shift(DPS(oracle(), terms[1:])))


def test_it_guides_a_handover_by_the_network_of_the_step():
    base, tuned = Tiny(SHAPE), perturb(Tiny(SHAPE))
    below = Euler(steps=4).before_last(1)
    handover = DPS(Handover(base, tuned, below), POISSON, 0.05, (0.0, 1.0))
    ours = Chain(Euler(steps=4), handover, Noise(0)[range(2)])
    theirs = Chain(Euler(steps=4), DPS(base, POISSON, 0.05, (0.0, 1.0)), Noise(0)[range(2)])
    tail = Chain(Euler(steps=4), DPS(tuned, POISSON, 0.05, (0.0, 1.0)), Noise(0)[range(2)])
    state = ours.run(ours.initial(), 0, 3)
    assert torch.equal(state.x, theirs.run(theirs.initial(), 0, 3).x)
    assert torch.equal(ours.step(3, state).x, tail.step(3, state).x)
    assert [id(p) for p in handover.tunable()] == [id(p) for p in tuned.parameters()]


def test_guidance_lowers_the_residual():
    def mean_square(denoiser):
        x, _ = run(Heun, denoiser, range(16), steps=20)
        return float(-POISSON(denoiser.scaling.physical(x)).mean())

    assert mean_square(DPS(oracle(), POISSON, 1.0)) < 0.2 * mean_square(oracle())


def observed():
    """Every third point of u."""
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[1].view(-1)[::3] = True
    return Observation(mask, normal(*SHAPE, seed=5), noise=0.1)


def test_the_schedule_of_diffusionpde():
    """ζ_obs until .8 N, then a tenth of it beside the equation's weight."""
    guided = DPS.posterior(oracle(), observed(), POISSON, observed=3.0, weight=5.0)
    for steps in (5, 20, 40):
        for k in range(steps):
            acting = [(t.reward, t.weight) for t in guided.terms if t.acts(k, steps)]
            late = [(observed(), pytest.approx(0.3)), (POISSON, 5.0)]
            assert acting == (late if k >= 0.8 * steps else [(observed(), 3.0)])
    assert [t.reward for t in DPS.posterior(oracle(), observed()).terms] == [observed(), observed()]


def test_the_schedule_of_fundps():
    guided = DPS.fundps(oracle(), observed(), POISSON, observed=3.0, weight=5.0, relative=False)
    assert guided.terms == (Term(observed(), Fading(3.0)), Term(POISSON, Below(Fading(5.0))))
    for sigma in (2.0, 0.5):
        x, chain = normal(2, *SHAPE), Chain(Euler(steps=2, schedule=Levels((sigma, 0.1, 0.0))), guided, Noise(0)[range(2)])
        plain = Chain(chain.sampler, oracle(), chain.noise)
        weights = [(observed(), 3.0 * min(sigma, 1.0)), *([(POISSON, 5.0 * sigma)] if sigma < 1 else [])]
        by_hand = DPS(oracle(), [Term(reward, weight) for reward, weight in weights])
        assert_close(chain.step(0, State(x)).x, Chain(chain.sampler, by_hand, chain.noise).step(0, State(x)).x)
        assert not torch.equal(chain.step(0, State(x)).x, plain.step(0, State(x)).x)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_checkpointed_step_is_the_step_bit_for_bit_and_counts_what_it_evaluates(kind):
    asked = []

    class Asked(Tiny):
        def forward(self, x, sigma, condition=None):
            asked.append(float(sigma))
            return super().forward(x, sigma, condition)

    terms = (Term(POISSON, 0.1, (0.4, 1.0)), Term(Quadratic(1.0), 0.01, (0.8, 1.0), relative=True))
    plain, cost = run(kind, DPS(Asked(SHAPE), terms), range(2))
    first = len(asked)
    x, tally = run(kind, DPS(Asked(SHAPE), terms, checkpoint=True), range(2))
    assert torch.equal(x, plain)
    assert tally.vjps == cost.vjps
    assert cost.evaluations == first
    assert tally.evaluations == len(asked) - first == first + tally.vjps


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_norm_of_released_code_couples_the_samples(kind):
    """Which is why it is an option: the same sample in another batch, or with another weight of the same kind, differs."""
    term = Term(POISSON, 0.05, together=True)
    whole, _ = run(kind, DPS(oracle(), [term]), range(6))
    for part in ([4, 0, 5], [3]):
        assert not torch.allclose(run(kind, DPS(oracle(), [term]), part)[0], whole[part], rtol=1e-3)
    assert_close(run(kind, DPS(oracle(), [term]), [3])[0], run(kind, DPS(oracle(), [Term(POISSON, 0.05)]), [3])[0])


def test_the_norm_of_released_code_is_that_of_all_rows():
    x = normal(3, *SHAPE)
    rows = POISSON.residual(x)
    assert_close(Term(POISSON, 2.0, together=True).losses(x, None).sum(), 2.0 * rows.norm() / 36)


@pytest.mark.parametrize("units", [1e-3, 1.0, 1e3])
def test_a_relative_step_knows_no_units(units):
    """L·∇L/‖∇L‖² is unchanged by c·R, and takes a single linear row to its zero."""
    x, scaling = normal(3, 1, 4), Scaling((0.5,), (2.0,))
    ramp = torch.arange(1.0, 5.0).double()
    row = Observation(Weights((units * ramp).reshape(1, 1, 4)), torch.zeros(1))
    step = Term(row, 1.0, relative=True).gradient(x, scaling, None, 1.0)
    expected = (2 * ramp) * ((scaling.physical(x) * ramp).sum((1, 2)) / (4 * (ramp**2).sum())).reshape(-1, 1, 1)
    assert_close(step, expected)
    assert_close(row.residuals(scaling.physical(x - step)), torch.zeros(3, 1).double(), unit=units)


@given(st.integers(0, 100), st.floats(0.01, 1.99))
def test_a_relative_step_never_leads_away_from_the_solutions(seed, weight):
    """Any linear residual, of any conditioning, and any weight below 2."""
    matrix = torch.logspace(-3, 3, 3).double()[:, None] * normal(3, 4, seed=seed)
    solution, x = normal(1, 1, 4, seed=seed + 1), 3 * normal(2, 1, 4, seed=seed + 2)
    reward = Observation(Weights(matrix.reshape(3, 1, 4)), matrix @ solution[0, 0])
    step = Term(reward, weight, relative=True).gradient(x, Scaling.identity(1), None, 1.0)
    before, after = ((y - solution).flatten(1).norm(dim=1) for y in (x, x - step))
    assert (after <= before * (1 + 1e-9)).all()


@pytest.mark.parametrize("variance", [1e-4, 0.01, 0.25])
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_a_relative_term_moves_the_estimate_by_its_share(variance, share):
    """D = w x for isotropic data: stretched by 1/w, the pull on the estimate is what the state moves by, and L falls by it."""
    sigma = 0.3
    model = GaussianDenoiser(SHAPE, 0.0, variance)
    guided = DPS(model, [Term(observed(), share, relative=True)])
    chain = Chain(Euler(steps=1, schedule=Levels((sigma, 0.0))), guided, Noise(0)[range(3)])
    x = normal(3, *SHAPE)
    seen = model(x, torch.tensor(sigma, dtype=torch.float64))
    end = chain.step(0, State(x)).x
    least = variance / (variance + sigma**2) * 30 * (1 + (sigma / 0.5) ** 2)
    before = observed().misfit(seen)
    assert_close(observed().misfit(end), (1 - share * min(1.0, least)) * before, unit=float(before.abs().max()))


def test_the_bias_of_dps():
    """N(0, 1), −½λ(x − y)²: r(D) exceeds E[r | x] by ½λv, and its gradient the soft value's by 1 + λv/α."""
    curvature, target, alpha, x = 1.0, 2.0, 1.0, normal(4, 1, 1)
    for tau, gap in ((0.1, 0.04545), (1.0, 0.25), (10.0, 0.45455)):
        sigma, v = math.sqrt(tau), tau / (1 + tau)
        model, reward = GaussianDenoiser((1, 1)), Quadratic(target, curvature)
        seen = model(x, torch.tensor(sigma, dtype=torch.float64))
        nodes, weights = np.polynomial.hermite_e.hermegauss(80)
        draws = seen.flatten()[:, None] + math.sqrt(v) * torch.from_numpy(nodes)
        weights = torch.from_numpy(weights / weights.sum())
        scores = -0.5 * curvature * (draws - target) ** 2
        assert_close(reward(seen) - (scores * weights).sum(1), 0.5 * curvature * v * torch.ones(4).double())
        assert abs(0.5 * curvature * v - gap) < 1e-5
        # the gradient of α ln E exp(r/α) is that of r, averaged with the weights of the tilted law, times ∂D/∂x
        tilted = torch.softmax(scores / alpha + weights.log(), 1)
        soft = (tilted * curvature * (target - draws)).sum(1) / (1 + tau)
        chain = Chain(Euler(steps=1, schedule=Levels((sigma, 0.0))), DPS(model, reward, 1.0, (0.0, 1.0)), Noise(0)[range(4)])
        taken = (chain.step(0, State(x)).x - seen).flatten()
        assert_close(taken, (1 + curvature * v / alpha) * soft)


def test_the_law_that_it_samples():
    """Quadratic terms keep the chain affine: mean and variance follow a recursion, and are not those of the conditional law."""
    s2, y, zeta, target = 0.8, 1.5, 0.2, {}
    for steps in (20, 80, 320):
        sampler = Euler(steps=steps)
        guided = DPS(GaussianDenoiser((1, 1), 0.0, s2), Quadratic(y), zeta, (0.0, 1.0))
        ends = Chain(sampler, guided).run(State(sampler.levels[0] * torch.tensor([[[0.0]], [[1.0]]]).double())).x.flatten()
        mean, slope = 0.0, sampler.levels[0]
        for departure, arrival in pairwise(sampler.levels):
            w, r = s2 / (s2 + departure**2), arrival / departure
            factor = w + r * (1 - w) - zeta * w * w
            mean, slope = factor * mean + zeta * w * y, factor * slope
        assert_close(ends, torch.tensor([mean, mean + slope], dtype=torch.float64))
        target[steps] = (mean, slope**2)
    exact = (s2 * y / (1 + s2), s2 / (1 + s2))  # of p(x) exp(r)
    assert abs(target[320][0] - exact[0]) > 0.3
    assert target[320][1] < 0.01 * exact[1]  # the more steps, the more guidance: the weight is one of a number of steps


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_defaults_work_without_units(kind):
    """Few points or whole fields, coarse or fine: the misfit falls to a part of what it was, on smooth correlated data."""
    problem = poisson(8)
    truth, model = problem.sample(1, seed=5)[0], problem.oracle()
    few = torch.zeros(problem.shape, dtype=torch.bool)
    few[1, ::4, ::4] = True
    whole = torch.zeros(problem.shape, dtype=torch.bool)
    whole[0] = True
    for mask in (few, whole):
        observation = Observation(mask, truth)
        for make in (DPS.posterior, DPS.fundps):
            guided = sample(make(model, observation, problem.reward), kind(steps=20), 8)
            plain = sample(model, kind(steps=20), 8)
            assert observation.misfit(guided).norm() < 0.25 * observation.misfit(plain).norm()


def test_bad_guidance_is_refused():
    with pytest.raises(InputError, match="at least one term: got none"):
        DPS(oracle(), ())
    with pytest.raises(InputError, match="guidance wraps a plain denoiser: got DPS"):
        DPS(DPS(oracle(), POISSON), POISSON)
    with pytest.raises(InputError, match="guidance needs terms alone: got Poisson"):
        inspect.unwrap(DPS.__init__)(DPS.__new__(DPS), oracle(), [POISSON])  # as callers without a type checker do
    with pytest.raises(InputError, match="a finite weight of 0 or more"):
        Term(POISSON, -1.0)
    with pytest.raises(InputError, match="a guidance term needs a differentiable reward: got <class"):
        Term(Poisson)
    for active in ((80, 100), (1.0, 0.8), (0.0, float("nan")), (0.5,), 0.8):
        with pytest.raises(InputError, match=r"the share of the steps in which a term acts.* got active="):
            Term(POISSON, 1.0, active)
    with pytest.raises(InputError, match="a term is relative or together: got both"):
        Term(POISSON, 1.0, relative=True, together=True)
    with pytest.raises(InputError, match=r"a guidance term needs a differentiable reward: got Scaled\(reward=BlackBox"):
        DPS(oracle(), Scaled(BlackBox(total), 2.0))
