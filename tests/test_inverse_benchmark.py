"""benchmarks/inverse.py: its questions, the order of its cells, its table, and one cell of a second."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

import pirf

spec = importlib.util.spec_from_file_location("inverse", Path(__file__).parents[1] / "benchmarks" / "inverse.py")
U = importlib.util.module_from_spec(spec)
spec.loader.exec_module(U)


@pytest.mark.parametrize("name", U.PROBLEMS)
def test_what_is_measured_is_not_what_is_wanted(name):
    problem = U.problem_of(name)
    forward, inverse = (U.question(problem, direction, 3) for direction in ("forward", "inverse"))
    for asked, other in ((forward, inverse), (inverse, forward)):
        assert int(asked.measured.sum()) == 31
        assert not bool((asked.measured & asked.wanted).any())
        assert bool((asked.measured <= other.wanted).all())
    again = U.question(problem, "forward", 4)
    assert not torch.equal(forward.measured, again.measured)


def test_quick_rows_come_first_and_shares_part_the_questions():
    cells = U.cells(["poisson", "burgers"], list(U.BY_NAME), [0, 1])
    slow = [U.BY_NAME[cell["row"]].steps > 500 for cell in cells]
    assert slow == sorted(slow)
    assert len(cells) == 2 * 2 * 2 * len(U.ROWS)


def test_a_cell_reaches_its_table(monkeypatch, tmp_path):
    """Error 0 would need truth itself; the base with untuned weights is somewhere between that and a guess of zero."""
    row = U.BY_NAME["DPS, 20 steps"]
    found = U.reconstruct("burgers", "forward", row, U.TRIAL, 0, 2, {"observed": 1.0, "weight": 0.3})
    assert 0 < found["error"] < 1
    assert found["of the mean"] <= found["error"]
    assert (found["evaluations"], found["vjps"]) == (39, 39)
    cell = {"problem": "burgers", "direction": "forward", "row": row.name, "seed": 0, "knobs": {"observed": 1.0}, **found}
    table = U.summary([cell, {**cell, "error": found["error"] + 0.02}])
    assert "**burgers, forward**" in table
    assert f"{100 * found['error'] + 1:.3g} ± {U.interval([0.0, 2.0]).half:.2g}" in table


def test_the_goal_is_a_ratio_of_the_seeds_that_both_have():
    figures = {"error": 0.2, "rho": 1e-3, "seconds": 1.0}
    cell = {"problem": "darcy", "direction": "inverse", "row": "tuned, DPS, 20 steps", **figures}
    slow = {**cell, "row": "DPS, 2000 steps", "seed": 1, "error": 0.4, "rho": 1e-2, "seconds": 100.0}
    line = next(r for r in U.goal([{**cell, "seed": 0}, {**cell, "seed": 1}, slow]).splitlines() if "darcy, inverse" in r)
    assert line == "| darcy, inverse | 1 | ×0.5 | ×0.1 | ×0.01 | — | — |"


def test_the_next_best_trial_takes_the_place_of_one_that_explodes(monkeypatch):
    trials = [({"weight": 1.0}, 3.0), ({"weight": 2.0}, None), ({"weight": 3.0}, 1.0), ({"weight": 4.0}, 2.0)]
    assert U.ranked(trials) == [{"weight": 3.0}, {"weight": 4.0}, {"weight": 1.0}]
    misfits = {3.0: 1e3, 4.0: 5.0}
    monkeypatch.setattr(U, "sweep", lambda *_, **__: [{"trials": trials}])
    monkeypatch.setattr(U, "identity", str)
    monkeypatch.setattr(U, "reconstruct", lambda *a: {"misfit": misfits[a[-1]["weight"]]})
    assert U.measure("darcy", "inverse", "DPS, 20 steps", 0)["knobs"] == {"weight": 4.0}


def test_a_guidance_that_explodes_ranks_last(monkeypatch):
    def explode(*_):
        raise pirf.NumericalError("nan")

    monkeypatch.setattr(U, "reconstruct", explode)
    with pytest.raises(pirf.NumericalError, match="none of 6"):
        U.search("burgers", "forward", "DPS, 20 steps")
    values = iter([math.inf, 1.0, 2.0, 3.0, 4.0, 5.0])
    monkeypatch.setattr(U, "reconstruct", lambda *_: {"error": 10 ** next(values), "rho": 1.0})
    monkeypatch.setattr(U, "TRIALS", 3)
    monkeypatch.setitem(U.BY_NAME, "one", U.attrs.evolve(U.BY_NAME["pseudo-inverse, 20 steps"], name="one", steps=500))
    assert math.isclose(U.search("burgers", "forward", "one")["loss"], 1.0, abs_tol=1e-9)
