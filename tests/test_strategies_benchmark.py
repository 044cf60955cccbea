"""The comparison of strategies goes on where it was, never mixes bases or budgets, and averages what exists."""

import importlib.util
import inspect
import json
import math
import sys
import time
from pathlib import Path

import attrs
import pytest
from toys import Tiny, perturb

import pirf

FILE = Path(__file__).parent.parent / "benchmarks" / "strategies.py"


@pytest.fixture(scope="module")
def bench_module():
    spec = importlib.util.spec_from_file_location("strategies_benchmark", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bench(bench_module):
    problem = pirf.problems.darcy(8)
    toy = bench_module.Budget("short", {"steps": 1}, {"steps": 1}, pool=8, trial_pool=8, samples=2, trial_samples=2)
    return bench_module.Bench(problem, Tiny(problem.shape, scaling=problem.scaling), toy)


def row(module, name):
    return next(r for r in module.ROWS if r.name == name)


@pytest.fixture(scope="module")
def results(bench_module, bench, tmp_path_factory):
    """Two rows, one with two seeds."""
    folder = tmp_path_factory.mktemp("strategies")
    for name, seeds in {"base": (0, 1), "Handover, LastSteps(1), Given": (0,)}.items():
        for seed in seeds:
            bench_module.run(bench, row(bench_module, name), seed, folder)
    return folder


def test_every_recipe_is_one_that_finetune_takes(bench_module, bench):
    """Every row differs from every other in what it asks of finetune, and names nothing else."""
    asked = []
    for entry in bench_module.ROWS[1:]:
        recipe = entry(bench, 3e-3)
        if entry.knob == "strength":
            assert recipe["regularizer"].strength == 3e-3
        else:
            assert recipe["lr"] == 3e-3
        assert not set(recipe) & {"steps", "seconds", "seed", "pool"}
        assert set(recipe) <= set(inspect.signature(pirf.finetune).parameters)
        model = recipe.pop("denoiser")
        tail = (model.below, model.channels, model.reads, model.floor) if isinstance(model, pirf.Handover) else ()
        asked.append(repr((recipe, tail, sum(p.numel() for p in model.parameters()))))
    assert len(set(asked)) == len(asked)
    assert len({entry.name for entry in bench_module.ROWS}) == len(bench_module.ROWS)


def test_a_cell_on_disk_is_not_measured_again(bench_module, bench, results, monkeypatch):
    monkeypatch.setattr(pirf, "finetune", None)
    name = "Handover, LastSteps(1), Given"
    again = bench_module.run(bench, row(bench_module, name), 0, results)
    assert again["updates"] == 1
    assert bench_module.search(bench, row(bench_module, name), results) == again["chosen"]["lr"]


def test_another_base_or_budget_is_not_mixed_in(bench_module, bench, results):
    path = next(results.rglob("base.seed0.json"))
    assert bench_module._read(path, bench) is not None
    other = attrs.evolve(bench, budget=attrs.evolve(bench.budget, samples=3))
    assert bench_module._read(path, other) is None
    changed = perturb(Tiny(bench.problem.shape, scaling=bench.problem.scaling), 1e-3)
    assert bench_module._read(path, attrs.evolve(bench, base=changed)) is None


def test_the_search_tries_every_decade_and_once_between_and_takes_the_smallest_product(bench_module, bench, results):
    found = json.loads(next(results.rglob("Handover*.search.json")).read_text())
    tried = sorted(trial["value"] for trial in found["trials"])
    assert len(tried) == 5
    assert {1e-5, 1e-4, 1e-3, 1e-2} < set(tried)
    best = min(found["trials"], key=lambda trial: trial["product"])
    assert best["value"] == found["best"]
    figures = best["adherence"]
    assert best["product"] == pytest.approx(math.log10(figures["rho"] * figures["resolve"]))


def test_the_summary_averages_over_the_seeds_that_exist(bench_module, results):
    squares = [json.loads(path.read_text())["adherence"]["rho"] for path in sorted(results.rglob("base.seed*.json"))]
    assert len(squares) == 2
    table = [line.split(" | ") for line in bench_module.summary(results).splitlines() if line.startswith("| ")]
    assert "distance to 3 or 12" in table[0]
    base = table[2]
    assert (base[0], base[1]) == ("| base", "2")
    mean, error = base[2].split(" ± ")
    assert float(mean) == pytest.approx(sum(squares) / 2, rel=5e-3)
    assert float(error) == pytest.approx(abs(squares[0] - squares[1]) / 2, rel=0.1)
    assert table[3][1] == "1"
    assert "±" not in table[3][2]
    assert all(len(line) == len(table[0]) for line in table)


def test_twins_are_compared_at_the_learning_rates_that_both_tried(bench_module, bench, results):
    """A row and its twin with Given: what is stored is the same file, so that both halves of the line must agree."""
    assert not bench_module._bent(results / "darcy")  # the twin alone
    (search,) = results.rglob("Handover-*.search.json")
    plain = search.with_name(bench_module._slug(row(bench_module, "Handover, LastSteps(1)")) + ".search.json")
    plain.write_text(search.read_text())
    lines = [line.split(" | ") for line in bench_module._bent(results / "darcy").splitlines() if line.startswith("| Handover")]
    plain.unlink()
    assert len(lines) == bench_module.TRIALS
    assert all(len(line) == 8 and line[2] == line[3] and line[4] == line[5] for line in lines)


def test_a_run_that_breaks_is_recorded_and_ranked_last(bench_module, bench, monkeypatch, tmp_path):
    def breaks(**options):
        raise pirf.NumericalError("loss is nan")

    monkeypatch.setattr(pirf, "finetune", breaks)
    found = bench_module.attempt(bench, row(bench_module, "LastSteps(1)")(bench, 1.0), {"steps": 1}, 8, 2, 0, 1)
    assert found == {"failed": "loss is nan"}
    assert bench_module.product(found) == math.inf


def test_the_budget_is_counted_in_processor_time(bench_module):
    with bench_module.own_core():
        began = time.perf_counter()
        time.sleep(0.05)
        assert time.perf_counter() - began < 0.04
