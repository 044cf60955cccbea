import numpy as np
import pytest
import torch
from tolerances import assert_close

import pirf
from pirf import reference
from pirf.errors import InputError
from pirf.metrics import fidelity, mean_squares
from pirf.operators import flux_divergence
from pirf.problems import catalogue, darcy, darcy_lognormal
from pirf.rewards.legacy_darcy import ReleasedDarcy, ReleasedDarcyLognormal

BOTH = pytest.mark.parametrize("make", [darcy, darcy_lognormal])


def status(certificate, row):
    (found,) = [r for r in certificate.rows if r.name.startswith(row)]
    return found.status


@BOTH
def test_the_certificate_passes(make):
    certificate = pirf.verify(make(16))
    assert certificate.passed, str(certificate)
    assert {"order, interior rows", "order, solution"} <= {r.name for r in certificate.rows}
    assert sum(r.name.startswith("blind spot") for r in certificate.rows) >= 6


def test_the_released_residual_fails_where_it_is_blind():
    problem = darcy(32)
    certificate = pirf.verify(problem, reward=ReleasedDarcy(problem.grid), samples=16)
    for row in ("sensitivity, channel 0", "residual of truth", "non-solution: zero", "non-solution: solution + constant"):
        assert status(certificate, row) == "FAIL"
    problem = darcy_lognormal(16)
    certificate = pirf.verify(problem, reward=ReleasedDarcyLognormal(problem.grid), samples=16)
    assert status(certificate, "non-solution: solution + constant") == "FAIL"
    assert status(certificate, "order, interior") == "PASS"


@BOTH
def test_sample_i_depends_on_seed_and_index_alone(make):
    problem = make(8)
    whole = problem.sample(10, seed=3)
    assert torch.equal(problem.sample(4, seed=3, start=5), whole[5:9])
    assert not torch.equal(problem.sample(10, seed=4), whole)
    assert whole.dtype == torch.float64
    assert problem.shape == tuple(whole.shape[1:])


def test_their_fields_are_the_reference_solutions():
    fields = darcy(8).sample(3, seed=1)
    a = reference.darcy.two_phase(reference.random_fields.neumann_field(8, range(3), seed=1))
    assert torch.equal(fields, torch.from_numpy(np.stack([a, reference.darcy.solve(a)], 1)))
    fields = darcy_lognormal(8).sample(3, seed=1)
    k = reference.darcy.lognormal(reference.random_fields.white((64,), range(3), 1), 8)
    p = reference.darcy.solve_neumann(k, reference.darcy.corner_wells(8))
    assert torch.equal(fields, torch.from_numpy(np.stack([k, p], 1)))


@BOTH
def test_units(make):
    """S is the mean square of the source, the solution norm is in units of std(p), normalised fields have deviation ½."""
    problem = make(16)
    assert problem.scale == {darcy: 1.0, darcy_lognormal: 3.125}[make]
    fields = problem.sample(128, seed=11)
    zero = fields.clone()
    zero[:, 1] = 0
    assert_close(mean_squares(problem.reward, zero), problem.scale)
    assert 0.9 < float(fields[:, 1].std()) / problem.solution_norm.scale < 1.1
    x = problem.scaling.normalise(fields).transpose(0, 1).flatten(1)
    assert bool(((x.std(1) / 0.5 - 1).abs() < 0.1).all())


@BOTH
def test_solving_keeps_the_given_field_and_reads_it_as_the_reward_does(make):
    problem = make(8)
    fields = problem.sample(3)
    assert torch.equal(problem.solve(fields), fields)
    low = fields.clone()
    low[:, 0, 3, 3] = -1.0  # a model may say so
    solved = problem.solve(low)
    assert torch.equal(solved[:, 0], low[:, 0])
    assert float(mean_squares(problem.reward, solved).max()) < 1e-15


@BOTH
def test_the_manufactured_flux_balances_its_source(make):
    """Kirchhoff's transform, by finite differences of the fields themselves: −∇·(a∇p) → f inside."""
    problem = make(8)
    grid = pirf.Grid.square(64)
    a, p = problem.manufactured(grid).split(1, 1)
    f = problem.manufactured_options["source"].values(grid)
    gap = flux_divergence(a, p, grid, problem.reward.boundary)[0, 0] - f
    assert float(gap[1:-1, 1:-1].abs().max()) < 0.01 * float(f.abs().max())


def test_w1_bounds_the_distance_of_a_to_its_two_values():
    """Truth has no value between 3 and 12, so that W1 ≥ E min(|a − 3|, |a − 12|): blurring cannot hide from it."""
    problem = darcy(16)
    truth = problem.sample(32, seed=1)
    blurred = problem.off_law["blurred permeability, solved"](32)
    a = blurred[:, 0]
    distance = float(torch.minimum((a - 3).abs(), (a - 12).abs()).mean() / truth[:, 0].std())
    assert fidelity(blurred, truth).w1[0] >= distance > 0.1


def test_names_and_calls():
    assert catalogue["darcy"](8) is darcy(8) is darcy(8).refine(8)
    assert repr(darcy_lognormal(8)) == "pirf.problems.darcy_lognormal(n=8)"
    assert darcy_lognormal(8).channels == ("K", "p")
    assert darcy_lognormal(128).grid.shape == (128, 128)  # building one computes no modes


@pytest.mark.parametrize(("make", "n"), [(darcy, 3), (darcy_lognormal, 4), (darcy_lognormal, 20)])
def test_impossible_grids_are_refused(make, n):
    with pytest.raises(InputError, match=f"got {n}"):
        make(n)
