import pytest
import torch

import pirf
from pirf.errors import InputError
from pirf.metrics import mean_squares
from pirf.problems import gray_scott
from pirf.reference import gray_scott as solver

PROBLEM = gray_scott(16)


def test_its_certificate_passes():
    certified = pirf.verify(PROBLEM, samples=32)
    assert certified.passed, str(certified)
    rows = {row.name: row for row in certified.rows}
    assert float(rows["order, in time"].measured) == pytest.approx(2, abs=0.1)
    for spot in ("empty state, at rest", "homogeneous states, evolved", "first frame halved, evolved"):
        assert rows[f"blind spot: {spot}"].note.startswith("caught by")


def test_sample_i_depends_on_seed_and_index_alone():
    """Bit for bit, across the borders of trajectories too."""
    per = solver.PER_TRAJECTORY
    whole = PROBLEM.sample(2 * per + 2, seed=3)
    assert whole.shape == (2 * per + 2, *PROBLEM.shape)
    assert whole.dtype == torch.float64
    for start, count in ((per - 1, 3), (2 * per + 1, 1)):
        assert torch.equal(PROBLEM.sample(count, seed=3, start=start), whole[start : start + count])
    assert not torch.equal(PROBLEM.sample(1, seed=4), whole[:1])


def test_its_fields_are_solutions_and_the_first_frame_is_given():
    x = PROBLEM.sample(4, seed=1)
    spoiled = torch.cat([x[:, :2], torch.zeros_like(x[:, 2:])], 1)
    for fields in (x, spoiled):
        assert float((PROBLEM.solve(fields) - x).abs().max()) < 1e-14
    assert float(mean_squares(PROBLEM.reward, x).max()) < 1e-30
    assert (PROBLEM.given, PROBLEM.solved) == ((0, 1), (2, 3))


def test_units():
    """A pattern that stands still scores S on the average, and the pattern is the same on every size of square."""
    for n in (16, 32):
        problem = gray_scott(n)
        x = problem.sample(512, seed=11)
        still = torch.cat([x[:, :2], x[:, :2]], 1)
        assert 0.8 < float(mean_squares(problem.reward, still).mean()) / problem.scale < 1.25
        normalised = problem.scaling.normalise(x).transpose(0, 1).flatten(1)
        assert bool(((normalised.std(1) / 0.5 - 1).abs() < 0.1).all())


def test_no_pattern_dies_or_stops():
    x = PROBLEM.sample(32 * solver.PER_TRAJECTORY, seed=2)
    assert float(x[:, 1].flatten(1).max(1).values.min()) > 0.1
    assert float(x.min()) > -1e-12
    assert float((x[:, 2:] - x[:, :2]).flatten(1).abs().max(1).values.min()) > 1e-3


def test_impostors_score_worse_and_other_laws_do_not():
    x = PROBLEM.sample(32)
    for impostor in PROBLEM.impostors.values():
        assert float(mean_squares(PROBLEM.reward, PROBLEM.graft(x, impostor(x))).min()) > 1e-3 * PROBLEM.scale
    for other in PROBLEM.off_law.values():
        assert float(mean_squares(PROBLEM.reward, other(4)).max()) < 1e-30
    assert float(mean_squares(PROBLEM.reward, PROBLEM.off_law["empty state, at rest"](2)).max()) == 0


def test_quantities_are_the_means_of_the_first_frame():
    x = torch.arange(4.0).reshape(1, 4, 1, 1).expand(2, 4, 16, 16)
    assert [float(q(x)[0]) for q in PROBLEM.quantities.values()] == [0.0, 1.0]


def test_a_problem_is_its_call():
    assert gray_scott(16) is PROBLEM
    assert repr(PROBLEM) == "pirf.problems.gray_scott(n=16)"
    assert PROBLEM.channels == ("u0", "v0", "u1", "v1")
    assert PROBLEM.grid == pirf.Grid.square(16, 16 * 2.5 / 256)


def test_too_small_a_square_is_refused():
    with pytest.raises(InputError, match="16×16 cells or more: got 15") as refusal:
        gray_scott(15)
    assert "\n" not in str(refusal.value)
