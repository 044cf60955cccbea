"""benchmarks/leaderboard.py: the order of its cells, its tables, and cells whose figures and budgets are what they say."""

import importlib.util
import math
import sys
from pathlib import Path

import attrs
import pytest

import pirf

ROOM = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def board():
    sys.path.insert(0, str(ROOM))
    try:
        spec = importlib.util.spec_from_file_location("leaderboard", ROOM / "leaderboard.py")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOM))
    return module


@pytest.fixture
def tiny(board, tmp_path, monkeypatch):
    """A problem of 16 points with a network of its own, and budgets of a moment."""
    problem = pirf.problems.poisson(16)
    base = pirf.UNet(problem.shape, problem.scaling, channels=8, multipliers=(1, 2))
    budget = attrs.evolve(
        board.SMOKE, training=1.5, trial=1.5, samples=8, searched=8, out=tmp_path / "o", models=tmp_path / "m"
    )
    monkeypatch.setattr(board, "case_of", lambda name, given: board.Case(problem, base, given))
    board.identity.cache_clear()
    yield budget
    board.identity.cache_clear()


def test_the_headline_comes_first_and_every_cell_once(board):
    cells = board.cells(board.PROBLEMS, list(board.BY_NAME), board.STEPS, range(5))
    assert len(cells) == len({tuple(cell.values()) for cell in cells}) == 5 * len(board.METHODS) * 3 * 5
    first = cells[: 5 * 5 * len(board.HEADLINE)]
    assert {cell["steps"] for cell in first} == {20}
    assert {cell["method"] for cell in first} == set(board.HEADLINE)


def test_untuned_and_guided_cells_cost_what_they_evaluate(board, tiny):
    base, guided = (board.measure("poisson", method, 20, 0, tiny) for method in ("base", "DPS"))
    assert (base["evaluations"], base["vjps"], base["knob"], base["training seconds"]) == (39, 0, None, 0.0)
    assert guided["evaluations"] == 39
    assert guided["vjps"] > 0
    assert len(guided["trials"]) == tiny.trials
    assert guided["search seconds"] > 0


def test_one_training_serves_all_numbers_of_steps(board, tiny, monkeypatch):
    first = board.measure("poisson", "PIRF with Handover", 20, 0, tiny)
    method = attrs.evolve(board.BY_NAME["PIRF with Handover"], train=lambda *_: pytest.fail("trained again"))
    monkeypatch.setitem(board.BY_NAME, method.name, method)
    second = board.measure("poisson", "PIRF with Handover", 40, 0, tiny)
    assert (second["knob"], second["training seconds"]) == (first["knob"], first["training seconds"])
    assert second["evaluations"] == first["evaluations"] + 40


def test_a_knob_that_explodes_is_the_worst_and_a_mistake_is_not_hidden(board, tiny, monkeypatch):
    case = board.case_of("poisson", tiny)
    assert math.isfinite(board.search(case, board.Method("all", guide=lambda c, w: c.base), 20)["loss"])

    def broken(case, value):
        raise pirf.InputError("a sampler is needed", got="none", why="nothing is drawn", hint="Heun()")

    with pytest.raises(pirf.InputError, match="a sampler is needed"):
        board.search(case, board.Method("broken", guide=broken), 20)


def row(method, seed, rho, alarms=()):
    figures = {"adherence": {"rho": rho, "resolve": 0.02}, "fidelity": {"sliced": 1.0}, "alarms": list(alarms)}
    cost = {"evaluations": 39, "vjps": 0, "seconds": 0.02, "training seconds": 0.0, "search seconds": 0.0, "knob": None}
    return {"problem": "poisson", "method": method, "steps": 20, "seed": seed, **figures, **cost}


def test_the_table_pairs_seeds_and_counts_what_is_missing(board):
    """Tenfold at both seeds, though the seeds differ tenfold from each other: settled, as the difference has no spread."""
    rows = [row("base", 0, 0.1), row("base", 1, 1.0), row("DPS", 0, 0.01, ["variance"]), row("DPS", 1, 0.1)]
    lines = board.table(rows, ["base", "DPS", "PIDM"], 5, "title").splitlines()
    base, guided, missing = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines[4:7])
    assert base[:2] == ["base", "2 of 5"]
    assert guided[3] == "×0.1"
    assert guided[6] == "variance 1/2"
    assert missing[:3] == ["PIDM", "0 of 5", "—"]
