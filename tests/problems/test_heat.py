import numpy as np
import pytest
import torch
from tolerances import assert_close, assert_moment, orders
from toys import normal

import pirf
from pirf import reference
from pirf.errors import InputError
from pirf.metrics import fidelity, mean_squares
from pirf.problems import heat


def test_its_fields_are_keyed_reference_solutions():
    problem = heat(8)
    fields = problem.sample(10, seed=1)
    assert torch.equal(problem.sample(4, seed=1, start=5), fields[5:9])
    u0 = reference.heat.initial_condition(reference.random_fields.white((8, 8), range(10), seed=1))
    assert torch.equal(fields, torch.from_numpy(np.stack([u0, reference.heat.solve(u0)], 1)))
    assert torch.equal(problem.solve(fields), fields)
    assert float(mean_squares(problem.reward, fields).max()) < 1e-28
    assert problem.floor < 1e-10 * problem.scale


def test_units():
    """S is the mean square of u1, so that u1 = 0 scores ρ = 1 on average; normalised fields have deviation ½."""
    problem = heat(16)
    fields = problem.sample(400, seed=11)
    zero = torch.stack([fields[:, 0], 0 * fields[:, 1]], 1)
    assert_moment(mean_squares(problem.reward, zero), problem.scale)
    x = problem.scaling.normalise(fields).transpose(0, 1).flatten(1)
    assert bool(((x.std(1) / 0.5 - 1).abs() < 0.1).all())
    assert_moment(fields[:, 0].mean((1, 2)), 0.0)
    assert_moment(fields[:, 0].mean((1, 2)).square(), 1 / 16)


def test_the_manufactured_solution_is_reached_with_order_two():
    errors = []
    for n in (16, 32, 64):
        problem = heat(8).refine(n)
        exact = problem.manufactured(problem.grid)
        errors.append(float((problem.solve(exact) - exact)[:, 1].square().mean().sqrt()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


def test_impostors_score_worse_and_other_laws_do_not():
    problem = heat(16)
    fields = problem.sample(8)
    for impostor in problem.impostors.values():
        fake = impostor(fields)
        assert torch.equal(fake[:, 0], fields[:, 0])
        assert float(mean_squares(problem.reward, fake).min()) > 1e-4
    for name, other in problem.off_law.items():
        worst = float(mean_squares(problem.reward, other(8)).max()) / problem.scale
        assert worst < (1e-6 if name.startswith("grain") else 1e-20)


def test_balances():
    """The mean stays and no extreme is exceeded; cold walls break the first, a hot spot in u1 the second."""
    problem = heat(16)
    fields = problem.sample(20)
    assert all(float(balance(fields).max()) < 1e-12 for balance in problem.balances.values())
    mean, extremes = problem.balances["mean temperature"], problem.balances["maximum principle"]
    warm = torch.ones(1, 2, 16, 16, dtype=torch.float64)
    cooled = problem.impostors["solution between cold walls"](warm)
    unit = problem.scale**0.5
    assert_close(mean(cooled), (1 - cooled[:, 1].mean()) / unit)
    assert float(extremes(cooled)) > 1
    spot = warm.clone()
    spot[0, 1, 3, 3] += 0.5
    spot[0, 1, 4, 4] -= 0.5
    assert_close(extremes(spot), 0.5 / unit)
    assert float(mean(spot)) < 1e-12


def test_the_oracle_is_exact_and_obeys_the_equation():
    """E[x₀|x] = m + C(C + σ²)⁻¹(x − m) with the law's covariance C, the random mean in it, and every estimate is a solution."""
    problem = heat(6)
    oracle, x = problem.oracle(), normal(3, 2, 6, 6)
    columns = problem.law(np.eye(36).reshape(36, 6, 6))
    assert columns[0].std() < 1e-12
    assert_close(float(columns[0].mean()), 0.25)
    factor = torch.from_numpy(columns / np.array(problem.scaling.scale).reshape(2, 1, 1)).flatten(1)
    covariance = factor.T @ factor
    centre = problem.scaling.normalise(torch.zeros(1, 2, 6, 6, dtype=torch.float64)).flatten(1)
    for sigma in (0.01, 1.0, 30.0):
        gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(72, dtype=torch.float64), covariance)
        estimate = oracle(x, torch.tensor(sigma, dtype=torch.float64))
        assert_close(estimate.flatten(1), centre + (x.flatten(1) - centre) @ gain)
        assert float(mean_squares(problem.reward, problem.scaling.physical(estimate)).max()) < 1e-24


@pytest.mark.parametrize("n", [16, 32])
def test_the_certificate_passes_and_names_its_alarms(n):
    certificate = pirf.verify(heat(n))
    assert certificate.passed, str(certificate)
    notes = {row.name: row.note for row in certificate.rows}
    assert "spectrum" in notes["blind spot: uniform temperatures"]
    assert "spectrum" in notes["blind spot: grain on u0 that leaves no trace"]
    assert "variance" in notes["blind spot: everything halved"]


def test_grain_is_seen_in_u0_alone():
    problem = heat(16)
    grainy = problem.off_law["grain on u0 that leaves no trace"](64)
    unit = fidelity(problem.sample(64, seed=2), problem.sample(64, seed=3))
    first, last = fidelity(grainy, problem.sample(64, seed=3)).over(unit).spectrum
    assert first > 5
    assert last < 2


def test_another_diffusivity_fails():
    problem = heat(16)
    certificate = pirf.verify(problem, reward=pirf.Heat(problem.grid, 0.011))
    assert "residual of truth" in {row.name for row in certificate.rows if row.status == "FAIL"}


def test_a_problem_is_its_call():
    assert heat(8) is heat(8)
    assert repr(heat(8)) == "pirf.problems.heat(n=8)"
    assert heat(16).refine(8) is heat(8)
    assert heat(8).given == (0,)
    with pytest.raises(InputError, match="heat needs a grid of at least 4×4 cells: got 3"):
        heat(3)
