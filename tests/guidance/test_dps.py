import math

import pytest
import torch
from tolerances import assert_close
from toys import Function, Quadratic, Tiny, normal, perturb

from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError
from pirf.grids import Grid
from pirf.guidance import DPS, Guidance, Term
from pirf.noise import Noise
from pirf.rewards import BlackBox, Poisson, Scaled
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


def test_bad_guidance_is_refused():
    with pytest.raises(InputError, match="at least one term: got none"):
        DPS(oracle(), ())
    with pytest.raises(InputError, match="guidance wraps a plain denoiser: got DPS"):
        DPS(DPS(oracle(), POISSON), POISSON)
    with pytest.raises(ValueError, match="weight"):
        Term(POISSON, -1.0)
    with pytest.raises(InputError, match=r"a guidance term needs a differentiable reward: got Scaled\(reward=BlackBox"):
        DPS(oracle(), Scaled(BlackBox(total), 2.0))
