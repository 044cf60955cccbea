import math

import numpy as np
import pytest
import torch
from tolerances import assert_close, assert_moment, orders

import pirf
from pirf import reference
from pirf.errors import InputError
from pirf.metrics import mean_squares
from pirf.operators.transforms import dirichlet_spectrum
from pirf.problems import catalogue, helmholtz, poisson
from pirf.rewards.legacy import ReleasedHelmholtz


def failed(certificate):
    return {row.name for row in certificate.rows if row.status == "FAIL"}


@pytest.mark.parametrize(("n", "k"), [(16, 1.0), (32, 1.0), (16, 8.0)])
def test_it_is_certified_also_where_it_is_indefinite(n, k):
    certificate = pirf.verify(helmholtz(n, k))
    assert certificate.passed, str(certificate)


def test_its_fields_are_keyed_reference_solutions():
    problem = helmholtz(8, 3.0)
    fields = problem.sample(10, seed=1)
    assert torch.equal(problem.sample(4, seed=1, start=5), fields[5:9])
    a = reference.random_fields.neumann_field(8, range(10), seed=1)
    assert torch.equal(fields, torch.from_numpy(np.stack([a, reference.helmholtz.solve(a, 3.0)], 1)))
    assert torch.equal(problem.solve(fields), fields)
    assert float(mean_squares(problem.reward, fields).max()) < 1e-20
    # The given field is Poisson's, sample by sample; the solutions are not.
    assert torch.equal(fields[:, 0], poisson(8).sample(10, seed=1)[:, 0])


def test_units():
    """S is the variance of a, 0.0853 on fine grids; the solution norm is in units of std(u); u = 0 scores 1 in both."""
    problem = helmholtz(32, 8.0)
    assert abs(problem.scale - 0.0853) < 5e-5
    fields = problem.sample(300, seed=11)
    assert_moment(fields[:, 0].square().mean((1, 2)), problem.scale)
    zero = fields.clone()
    zero[:, 1] = 0
    assert 0.8 < float(mean_squares(problem.solution_norm, zero).mean()) < 1.2
    assert 0.8 < float(mean_squares(problem.reward, zero).mean()) / problem.scale < 1.2


@pytest.mark.parametrize("k", [1.0, 8.0])
def test_the_manufactured_solution_converges_with_order_two(k):
    errors = []
    for n in (32, 64, 128):
        problem = helmholtz(8, k).refine(n)
        exact = problem.manufactured(problem.grid)
        errors.append(float((problem.solve(exact) - exact)[:, 1].square().mean().sqrt()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


def test_the_oracle_is_exact_and_obeys_the_equation():
    """Its estimates are E[x₀|x] = C(C + σ²)⁻¹x with the law's covariance C, and every one of them is a solution."""
    problem = helmholtz(6, 8.0)
    oracle, x = problem.oracle(), torch.from_numpy(reference.random_fields.white((2, 6, 6), range(3), seed=4))
    columns = problem.law(np.eye(36).reshape(36, 6, 6))
    factor = torch.from_numpy(columns).flatten(1).T / (2 * problem.sample(512, seed=2**32 - 1).transpose(0, 1).flatten(1).std(1)
        .repeat_interleave(36)[:, None])  # fmt: skip
    covariance = factor @ factor.T
    centre = problem.scaling.normalise(torch.zeros(1, 2, 6, 6, dtype=torch.float64)).flatten(1)
    for sigma in (0.01, 1.0, 30.0):
        gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(72, dtype=torch.float64), covariance)
        expected = centre + (x.flatten(1) - centre) @ gain
        estimate = oracle(x, torch.tensor(sigma, dtype=torch.float64))
        assert_close(estimate.flatten(1), expected)
        assert float(mean_squares(problem.reward, problem.scaling.physical(estimate)).max()) < 1e-20


def test_a_problem_is_its_call():
    assert helmholtz(8) is helmholtz(8, k=1)
    assert repr(helmholtz(8, 2)) == "pirf.problems.helmholtz(n=8, k=2.0)"
    assert eval(repr(helmholtz(8, 2))) is helmholtz(8, 2)
    assert helmholtz(16, 2.0).refine(8) is helmholtz(8, 2.0)
    assert catalogue["helmholtz"](8) is helmholtz(8)
    assert helmholtz(8, 2.0).published["pirf"] == ReleasedHelmholtz(helmholtz(8).grid, 2.0)


def test_resonances_and_tiny_grids_are_refused_in_one_line():
    problem = helmholtz(8)
    resonant = math.sqrt(-float(dirichlet_spectrum(problem.grid, torch.zeros((), dtype=torch.float64))[1, 0]))
    with pytest.raises(InputError, match="k² must stay off") as refused:
        helmholtz(8, resonant)
    assert len(str(refused.value).splitlines()) == 1
    helmholtz(9, resonant)  # an eigenvalue of one grid is none of another
    with pytest.raises(InputError, match="helmholtz needs a grid of at least 4×4 cells: got 3"):
        helmholtz(3)


def test_the_wrong_wave_number_fails():
    problem = helmholtz(16)
    for reward in (pirf.Poisson(problem.grid), pirf.Helmholtz(problem.grid, 1.1)):
        assert "residual of truth" in failed(pirf.verify(problem, reward=reward))


def test_the_released_residual_fails_where_it_ranks_non_solutions_above_truth():
    problem = helmholtz(16)
    assert failed(pirf.verify(problem, reward=problem.published["pirf"])) >= {
        "residual of truth",
        "non-solution: zero solution, true given",
        "non-solution: solution of the Neumann problem",
    }
