"""Projection on linear constraints is linear algebra; on others it is Newton's method; what it does to the law is said."""

import math
from itertools import pairwise

import attrs
import pytest
import torch
from conditional import SCALING, SHAPE, SIZE, conditioned, correlated, diagonal, law, observations, pushed
from tolerances import TOLERANCE, assert_close
from toys import Tiny, normal

from pirf.denoisers import GaussianDenoiser
from pirf.errors import InputError, NumericalError
from pirf.grids import Grid
from pirf.guidance import Projection
from pirf.inference import draw, sample
from pirf.noise import Noise
from pirf.problems import burgers
from pirf.rewards import BlackBox, Given, Observation, Points, Poisson, ResidualReward
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.scaling import Scaling

SAMPLERS = [Euler, Heun, Multistep, Ancestral]
LEVEL = torch.tensor(0.7, dtype=torch.float64)
GRID = Grid.square(6)


def total(x):
    return x.flatten(1).sum(1)


def fields(scaling=Scaling((0.1, -0.2), (3.0, 0.02))):
    return GaussianDenoiser((2, 6, 6), 0.2, torch.linspace(0.1, 1.0, 72), scaling=scaling)


def measured(noise=0.0):
    mask = torch.zeros(2, 6, 6, dtype=torch.bool)
    mask[1, ::3, ::2], mask[0, 1, 1] = True, True
    return Observation(mask, Scaling((0.1, -0.2), (3.0, 0.02)).physical(normal(1, 2, 6, 6, seed=8))[0], noise)


def jacobian(rewards, scaling, shape):
    """All rows of h, each constraint's in its own physical units, as one matrix of flat normalised fields; and h(0)."""
    size = math.prod(shape)
    unit = torch.cat([torch.zeros(1, size), torch.eye(size)]).double().reshape(-1, *shape)
    rows = torch.cat([reward.residuals(scaling.physical(unit)).flatten(1) for reward in rewards], 1)
    return (rows[1:] - rows[0]).T, rows[0]


@pytest.mark.parametrize("rewards", [(measured(),), (Poisson(GRID),), (measured(), Poisson(GRID))], ids=["obs", "pde", "both"])
def test_linear_constraints_hold_to_rounding_and_the_correction_lies_in_their_rows(rewards):
    """D̃ = D − J⁺h(D), by the pseudo-inverse of the dense matrix; what no row sees does not move."""
    model = fields()
    guided, x = Projection(model, rewards, iterations=400), normal(3, 2, 6, 6)
    seen, found = model(x, LEVEL), guided(x, LEVEL)
    matrix, origin = jacobian(rewards, model.scaling, model.shape)
    left = seen.flatten(1) @ matrix.T + origin
    assert_close(found.flatten(1) @ matrix.T + origin, torch.zeros_like(left), unit=float(matrix.norm()))
    assert_close(found.flatten(1), seen.flatten(1) - left @ torch.linalg.pinv(matrix).T, unit=float(seen.abs().max()) * 10)
    *_, v = torch.linalg.svd(matrix)
    unseen = v[torch.linalg.matrix_rank(matrix) :]
    assert_close((found - seen).flatten(1) @ unseen.T, torch.zeros(3, len(unseen)).double(), unit=1.0)
    if len(rewards) == 1 and isinstance(rewards[0], Observation):
        assert torch.equal(found[:, ~rewards[0].operator.mask], seen[:, ~rewards[0].operator.mask])


def test_the_relaxed_correction_is_the_minimiser_of_the_penalty():
    """Rows in units of their norm: for points J Jᵀ = I, and ‖δ‖² + ‖h + Jδ‖²/ε is least at h/(1 + ε)."""
    model, where = fields(Scaling.identity(2)), measured().operator.mask
    observation, x = Observation(where, normal(2, 6, 6, seed=8)), normal(3, 2, 6, 6)
    seen, h = model(x, LEVEL), observation.misfit(model(x, LEVEL))
    probe = Noise(0).fold("rows", 0).normal((observation.operator.rows,), torch.float64)
    unit = float(probe.norm() / math.sqrt(observation.operator.rows))  # what one probe takes for the norm of a row
    for ridge in (1e-6, 0.1, 10.0):
        found = Projection(model, observation, ridge=ridge)(x, LEVEL)
        share = 1 / (1 + ridge * unit**2)
        assert_close((found - seen)[:, where], -share * h)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("options", [{}, {"below": 1.0}, {"ridge": 0.1}], ids=repr)
def test_after_sampling_they_hold_to_rounding(kind, options):
    rewards = (measured(0.5), Poisson(GRID))
    found = sample(Projection(fields(), rewards, iterations=400, tolerance=1e-12, **options), kind(steps=5), 3)
    assert rewards[0].misfit(found).abs().max() < TOLERANCE[torch.float64] * 0.02
    rows = torch.tensor(36.0 * 4 * 8 * 0.02)  # the largest coefficient of Δ times the scale of u
    assert rewards[1].residual(found).abs().max() < TOLERANCE[torch.float64] * rows


@pytest.mark.parametrize("kind", SAMPLERS)
def test_of_independent_coordinates_it_samples_the_conditional_law(kind):
    """What is measured is y, and what is not is the plain sampler's, bit for bit."""
    observation = observations()["noisy"]
    where = observation.operator.mask
    plain, found = (sample(d, kind(steps=5), 4) for d in (diagonal(), Projection(diagonal(), observation)))
    assert torch.equal(found[:, ~where], plain[:, ~where])
    assert_close(found[:, where], observation.values.expand(4, -1))


def test_of_correlated_ones_it_does_not():
    """Whatever the number of steps: what is measured is right, the mean and the covariance of the rest are not."""
    found = observations()["noisy"]
    observation = Observation(found.operator, found.values)
    mean, covariance = conditioned(*law(correlated()), observation)
    for steps in (20, 80):
        centre, linear = pushed(Chain(Heun(steps=steps), Projection(correlated(), observation)))
        where = observation.operator.mask.flatten()
        assert_close(centre[where], mean[where], unit=float(mean.abs().max()))
        assert_close(linear[where], torch.zeros(5, SIZE).double(), unit=1.0)
        assert float((centre - mean).norm()) > 0.1 * float(mean.norm())
        assert float((linear @ linear.T - covariance).norm()) > 0.1 * float(covariance.norm())


def test_newton_converges_quadratically_on_a_nonlinear_equation():
    problem = burgers(8)
    guided = Projection(GaussianDenoiser(problem.shape, 0.0, 0.25, scaling=problem.scaling), problem.reward)
    x = problem.scaling.normalise(problem.sample(3, seed=4)) + 0.05 * normal(3, *problem.shape)
    left = []
    for _ in range(4):
        left.append(guided._left(x, None))
        x, _ = guided._projected(x, None, 0.0)
    for before, after in pairwise(left[:3]):
        assert (after < 0.5 * before**2 / left[0].min()).all()
        assert (after > 1e-3 * before**2).all()  # no better either: it is Newton's method, not luck
    assert (left[3] < 1e-14).all()


def test_after_the_last_step_a_sample_stops_by_itself():
    """A solution stays as it is while its neighbours go on; a handful of iterations meets a nonlinear equation."""
    problem = burgers(8)
    model = GaussianDenoiser(problem.shape, 0.0, 0.25, scaling=problem.scaling)
    chain = Chain(Euler(steps=2), Projection(model, problem.reward, tolerance=1e-9, strict=True), Noise(0)[range(3)])
    x = problem.scaling.normalise(problem.sample(3, seed=4))
    x[1:] += 0.05 * normal(2, *problem.shape)
    found = chain.denoiser.finish(chain, x)
    assert torch.equal(found[0], x[0])
    assert (problem.reward(problem.scaling.physical(found)) > -1e-14).all()
    assert not torch.equal(found[1], x[1])
    for i in range(3):
        assert torch.equal(chain.denoiser.finish(chain, x[i : i + 1])[0], found[i])


@attrs.frozen
class Impossible(ResidualReward):
    """x² + 1 = 0."""

    def residuals(self, x, condition=None):
        return (x**2 + 1).flatten(1)


def test_what_cannot_be_met_is_left_at_its_best_or_refused():
    model, x = GaussianDenoiser(SHAPE, scaling=SCALING), normal(2, *SHAPE)
    lenient, strict = (Projection(model, Impossible(), strict=strict) for strict in (False, True))
    chain = Chain(Euler(steps=2), lenient, Noise(0)[range(2)])
    assert (lenient._left(lenient.finish(chain, x), None) <= lenient._left(x, None)).all()
    with pytest.raises(
        NumericalError, match=r"Newton's method did not meet \(Impossible\(\),\): sample . ends .*Try more newton="
    ):
        strict.finish(chain, x)
    with pytest.raises(NumericalError, match=r"sample 1 ends nan away"):
        strict.finish(chain, x * torch.tensor([1.0, float("nan")]).reshape(2, 1, 1, 1))


def test_above_its_level_the_estimate_is_the_networks_and_no_network_is_differentiated():
    guided, x = Projection(Tiny((2, 6, 6)), Poisson(GRID), below=0.5), normal(2, 2, 6, 6)
    assert torch.equal(guided(x, LEVEL), guided.inner(x, LEVEL))
    levels = torch.tensor([0.7, 0.3], dtype=torch.float64)
    assert torch.equal(guided(x, levels)[0], guided.inner(x, levels)[0])
    assert not torch.equal(guided(x, levels)[1], guided.inner(x, levels)[1])
    cost = draw(guided, Heun(steps=4), 2)
    assert (cost.evaluations, cost.vjps) == (7, 0)


def test_posterior_is_a_way_in():
    guided = Projection.posterior(fields(), measured(0.1), Poisson(GRID), newton=3)
    assert guided.constraints == (measured(0.1), Poisson(GRID))
    assert repr(guided).startswith("Projection(\n  (Observation(Points(")
    assert Projection.posterior(fields(), measured()).constraints == (measured(),)


def test_bad_constraints_are_refused():
    for constraints, got in (((), "none"), ((measured(), Given(BlackBox(total))), r"Given\(")):
        with pytest.raises(InputError, match=f"at least one reward with a differentiable residual.*got {got}"):
            Projection(fields(), constraints)
    with pytest.raises(InputError, match=r"a positive level, tolerance and count of iterations.*got below=0"):
        Projection(fields(), measured(), below=0.0)
    with pytest.raises(InputError, match=r"an observation of fields of shape \(2, 6, 6\)"):
        Projection.posterior(fields(), Observation(Points(torch.ones(SHAPE, dtype=torch.bool)), torch.zeros(SIZE)))
