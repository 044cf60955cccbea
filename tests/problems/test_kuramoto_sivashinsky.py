import pytest
import torch

import pirf
from pirf.errors import InputError
from pirf.metrics import mean_squares
from pirf.problems import kuramoto_sivashinsky
from pirf.reference import kuramoto_sivashinsky as solver

PROBLEM = kuramoto_sivashinsky(24)


def test_its_certificate_passes():
    certified = pirf.verify(PROBLEM, samples=32)
    assert certified.passed, str(certified)
    rows = {row.name: row for row in certified.rows}
    assert float(rows["order, in time"].measured) == pytest.approx(4, abs=0.1)
    for spot in ("almost zero, evolved", "cells at rest", "seen from a moving frame"):
        assert rows[f"blind spot: {spot}"].note.startswith("caught by")


def test_sample_i_depends_on_seed_and_index_alone():
    whole = PROBLEM.sample(10, seed=3)
    assert torch.equal(PROBLEM.sample(4, seed=3, start=5), whole[5:9])
    assert not torch.equal(PROBLEM.sample(10, seed=4), whole)
    assert PROBLEM.shape == tuple(whole.shape[1:])
    assert whole.dtype == torch.float64


def test_its_fields_are_solutions_and_the_first_frame_is_given():
    x = PROBLEM.sample(4, seed=1)
    spoiled = torch.cat([x[:, :, :1], torch.zeros_like(x[:, :, 1:])], 2)
    for fields in (x, spoiled):
        assert float((PROBLEM.solve(fields) - x).abs().max()) < 1e-10
    assert float(mean_squares(PROBLEM.reward, x).max()) < 1e-25
    assert PROBLEM.evolution
    assert PROBLEM.given == ()


def test_units():
    """S is ⟨u_t²⟩ on the attractor: of what a state that stands still scores, up to how far it curves in a frame."""
    for n in (32, 64):
        problem = kuramoto_sivashinsky(n)
        x = problem.sample(64, seed=11)
        slope = torch.from_numpy(solver.tendency(x.numpy(), problem.grid.axes[1].extent))
        assert float(slope.square().mean()) / problem.scale == pytest.approx(1, abs=0.12)
        still = ((x[:, :, 1:] - x[:, :, :-1]) / problem.grid.spacing[0]).square().mean()
        assert 0.8 < float(still) / problem.scale < 1.2
    assert abs(float(problem.scaling.normalise(x).std()) / 0.5 - 1) < 0.1


def test_the_circle_grows_by_22_for_every_32_points():
    lengths = {24: 22.0, 32: 22.0, 48: 22.0, 64: 44.0, 128: 88.0}
    for n, length in lengths.items():
        grid = kuramoto_sivashinsky(n).grid
        assert grid == pirf.Grid((pirf.Axis(n, n - 1.0, "nodes"), pirf.Axis(n, length, "periodic")))
        assert grid.spacing[0] == 1


def test_impostors_score_worse_and_other_laws_do_not():
    x = PROBLEM.sample(8)
    for impostor in PROBLEM.impostors.values():
        assert float(mean_squares(PROBLEM.reward, PROBLEM.graft(x, impostor(x))).min()) > 1e-5
    for other in PROBLEM.off_law.values():
        assert float(mean_squares(PROBLEM.reward, other(4)).max()) < 1e-25


def test_the_mean_balances_on_solutions_and_nowhere_else():
    balance, x = PROBLEM.balances["mean"], PROBLEM.sample(4)
    drifting = x + 0.01 * torch.arange(24, dtype=torch.float64)[:, None]
    moving = PROBLEM.off_law["seen from a moving frame"](4)
    assert float(balance(x).max()) < 1e-14
    assert float(balance(moving).max()) < 1e-13
    assert float(balance(drifting).min()) > 0.05
    assert torch.equal(balance(torch.zeros_like(x)), torch.zeros(4, dtype=torch.float64))


def test_energy_is_half_the_mean_square():
    x = PROBLEM.sample(4)
    assert torch.equal(PROBLEM.quantities["energy"](2 * x), 4 * PROBLEM.quantities["energy"](x))
    assert float(PROBLEM.quantities["energy"](torch.full((1, 1, 24, 24), 2.0))) == 2


def test_a_halved_first_frame_is_seen_in_its_own_energy_alone():
    """Chaos forgets it within a few frames: all frames together have nearly truth's energy."""
    x = PROBLEM.sample(32)
    first = 0.5 * x[:, 0, 0].numpy()
    halved = torch.from_numpy(solver.frames(first, 22.0, 1.0, 23, solver.SUBSTEPS))[:, None]
    ratios = {name: float(q(halved).mean() / q(x).mean()) for name, q in PROBLEM.quantities.items()}
    assert ratios["energy of the first frame"] == pytest.approx(0.25)
    assert 0.75 < ratios["energy"] < 1


def test_a_problem_is_its_call():
    assert kuramoto_sivashinsky(24) is PROBLEM
    assert repr(PROBLEM) == "pirf.problems.kuramoto_sivashinsky(n=24)"
    assert PROBLEM.refine(32) is kuramoto_sivashinsky(32)


def test_too_few_points_are_refused():
    with pytest.raises(InputError, match="24 points or more: got 22") as refusal:
        kuramoto_sivashinsky(22)
    assert "\n" not in str(refusal.value)
