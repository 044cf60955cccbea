import math
import runpy
from pathlib import Path

import attrs
import pytest
import torch

import pirf
from pirf.errors import InputError
from pirf.metrics import mean_squares
from pirf.problems import kolmogorov
from pirf.reference import kolmogorov as flow
from pirf.reference.kolmogorov import PER_TRAJECTORY
from pirf.rewards import Kolmogorov
from pirf.rewards.legacy_kolmogorov import ReleasedKolmogorov

PROBLEM = kolmogorov(16)
SHORT = attrs.evolve(PROBLEM, law=lambda noise: flow.trajectories(noise, 50.0, 2, spin_up=3))


@pytest.mark.parametrize(("form", "order"), [(None, 3), ("map", 4)])
def test_its_certificate_passes(form, order):
    certified = pirf.verify(kolmogorov(16, form=form), samples=32)
    assert certified.passed, str(certified)
    rows = {r.name: r for r in certified.rows}
    assert float(rows["order, in time"].measured) == pytest.approx(order, abs=0.1)
    for name in ("laminar flow, at rest", "smooth flow, correctly evolved", "flow + a mean that decays"):
        assert rows[f"blind spot: {name}"].note.startswith("caught by")


def test_the_released_residual_fails_on_the_rows_that_name_its_faults():
    rows = {r.name: r.status for r in pirf.verify(SHORT, reward=ReleasedKolmogorov(PROBLEM.grid, 50.0), samples=16).rows}
    assert rows["order, in time"] == rows["residual of truth"] == rows["non-solution: linear in time"] == "FAIL"
    assert rows["adjoint"] == "PASS"


def test_a_reward_without_an_interval_has_no_order_to_check():
    @attrs.frozen
    class Still(pirf.PDEReward):
        def residual(self, x):
            return x[:, 1:] - x[:, :-1]

    rows = {r.name: r.status for r in pirf.verify(SHORT, reward=Still(), samples=16).rows}
    assert rows["order, in time"] == "NOT CHECKED"


def test_sample_i_depends_on_seed_and_index_alone():
    """Bit for bit, across the borders of trajectories too."""
    whole = PROBLEM.sample(2 * PER_TRAJECTORY + 2, seed=3)
    assert whole.shape == (2 * PER_TRAJECTORY + 2, *PROBLEM.shape)
    assert whole.dtype == torch.float64
    for start, count in ((PER_TRAJECTORY - 1, 3), (2 * PER_TRAJECTORY + 1, 1)):
        assert torch.equal(PROBLEM.sample(count, seed=3, start=start), whole[start : start + count])
    assert not torch.equal(PROBLEM.sample(1, seed=4), whole[:1])


@pytest.mark.parametrize("form", ["lobatto", "map"])
def test_solving_truth_again_gives_truth(form):
    problem = attrs.evolve(kolmogorov(16, form=form), law=SHORT.law)
    x = problem.sample(20, seed=1)
    assert float((problem.solve(x) - x).abs().max()) < 1e-12
    for impostor in problem.impostors.values():
        assert float(mean_squares(problem.reward, impostor(x)).min()) > 1e-4 * problem.scale
    for other in problem.off_law.values():
        assert float(mean_squares(problem.reward, other(4)).max()) < 1e-3 * problem.scale


def test_the_flow_is_statistically_steady_with_zero_mean():
    x = PROBLEM.sample(PROBLEM.fitted_on, seed=5)
    early, late = x.unflatten(0, (-1, PER_TRAJECTORY)).split(PER_TRAJECTORY // 2, 1)
    assert 0.7 < float(late.var() / early.var()) < 1.4
    assert float(x.mean((2, 3)).abs().max()) < 1e-12
    assert PROBLEM.scaling.normalise(x).std().item() == pytest.approx(0.5, abs=0.1)
    assert float(mean_squares(PROBLEM.reward, x).max()) <= PROBLEM.tolerance * PROBLEM.scale
    slope = PROBLEM.reward.tendency(x[:, 1:2])
    assert 1 / 1.5 < float(slope.square().mean()) / PROBLEM.scale < 1.5


def test_its_constants_are_what_the_benchmark_measured():
    """To two figures, at every size; the tolerance is the floor times a ratio that next to no sample of truth exceeds."""
    measured = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kolmogorov.py"))
    ratio = measured["tail"](measured["load"]())[1]
    assert all(measured["worst"](entry["trajectories"])[0] < ratio for entry in measured["load"]().values())
    for n, entry in measured["load"]().items():
        slope, floor = (measured["figure"](entry["trajectories"], name)[0] for name in ("slope", "lobatto"))
        problem = kolmogorov(int(n), reynolds=entry["reynolds"], form="lobatto")
        assert problem.scale == pytest.approx(slope, rel=0.05)
        assert problem.tolerance * problem.scale == pytest.approx(ratio * floor, rel=0.1)


def test_the_form_follows_the_reynolds_number():
    """The flow map where truth under the Lobatto form exceeds 2e-3 of S."""
    for n, (reynolds, form) in {
        32: (100.0, "lobatto"),
        64: (200.0, "lobatto"),
        128: (500.0, "lobatto"),
        256: (1000.0, "map"),
    }.items():
        problem = kolmogorov(n)
        assert problem.reward == Kolmogorov(problem.grid, reynolds, form, problem.reward.substeps)
    assert kolmogorov(64, reynolds=1000.0).reward.form == "map"
    assert kolmogorov(16, form="map").tolerance == 1e-12


def test_given_and_solved_channels_and_the_grid():
    assert PROBLEM.channels == ("w0", "w1", "w2")
    assert (PROBLEM.given, PROBLEM.solved) == ((0,), (1, 2))
    assert PROBLEM.grid == pirf.Grid.square(16, 2 * math.pi, "periodic")


def test_a_problem_is_its_call():
    assert kolmogorov(16) is kolmogorov(16)
    assert repr(PROBLEM) == "pirf.problems.kolmogorov(n=16)"
    other = kolmogorov(16, reynolds=40.0, form="map")
    assert repr(other) == "pirf.problems.kolmogorov(n=16, reynolds=40.0, form='map')"
    assert eval(repr(other)) is other
    assert other.refine(20).reward.reynolds == 40.0


@pytest.mark.parametrize("bad", [{"n": 12}, {"n": 17}, {"n": 16, "reynolds": 0.0}, {"n": 16, "reynolds": math.nan}])
def test_grids_and_numbers_that_cannot_work_are_refused(bad):
    with pytest.raises(InputError, match=f"got n={bad['n']}"):
        kolmogorov(**bad)


def test_an_unknown_form_is_refused():
    with pytest.raises(Exception, match="form"):
        kolmogorov(16, form="euler")
