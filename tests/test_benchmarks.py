"""benchmarks/update.py at a tiny size.  Its plain loop shares nothing with the package but weights and reward: its gradient is
an independent check of network, sampler, chain and strategy at once."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from tolerances import assert_close

import pirf

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
spec = importlib.util.spec_from_file_location("update", BENCHMARKS / "update.py")
U = importlib.util.module_from_spec(spec)
spec.loader.exec_module(U)
PROBLEM = pirf.problems.poisson(8)
U.N = 5  # the mechanism is that of 20 steps
WATCH = U.Watch(torch.device("cpu"))


def network(**options):
    smaller = {"channels": 8, "multipliers": (1, 2), "blocks": 1, **options}
    return U.network(32, PROBLEM, torch.device("cpu"), **smaller).double()


@pytest.mark.parametrize("options", [{}, {"multipliers": (1, 2, 2), "blocks": 2}])
def test_the_network_is_the_plain_one(options):
    made = network(**options)
    x = pirf.Noise(3)[range(3)].normal(PROBLEM.shape, torch.float64)
    for sigma in (0.002, 0.7, 80.0):
        level = torch.tensor(sigma, dtype=torch.float64)
        assert_close(made(x, level), U.plain_denoiser(made, x, sigma).detach())
        assert_close(made(x, level.expand(3)), made(x, level).detach())


@pytest.mark.parametrize("last", [1, 2, 3])
@pytest.mark.parametrize("with_state", [False, True])
def test_the_gradient_is_that_of_the_plain_loop(last, with_state):
    made, samples = network(), pirf.Noise(1)[range(2)]
    z = samples.fold("initial").normal(PROBLEM.shape, torch.float64)
    plain = U.plain_loss(made, PROBLEM, z, last, lambda: None, with_state)
    ours = pirf.LastSteps(last).loss(U.Chain(pirf.Heun(U.N), made, samples), PROBLEM.reward, samples).value
    assert_close(ours.detach(), plain.detach())
    for a, b in zip(*(torch.autograd.grad(loss, list(made.parameters())) for loss in (ours, plain)), strict=True):
        assert_close(a, b)


def test_every_row_is_measured():
    """Exact rows have the plain gradient, the graph of the last stage is smaller, features leave the last stage alone."""
    base = network().float()
    gradients, kept = {}, {}
    with WATCH.on_departures():
        rows = {row.name: row for row in U.rows_of(PROBLEM, base, 2, WATCH) if not row.slow}
        for name, row in rows.items():
            seconds, gradients[name] = U.parts(row, WATCH)
            assert all(value >= 0 for value in seconds.values()), name
            if name in ("released, K=1", "released, K=1, last stage", "LastSteps(1)", "LayerTruncated(LastSteps(1))"):
                kept[name], _ = U.saved(row)
    exact = [
        "released, K=1, last stage",
        "LastSteps(1)",
        "LastSteps(2)",
        "LayerTruncated(LastSteps(1))",
        "LayerTruncated(LastSteps(2))",
        *(name for name in rows if name.startswith("Handover")),
    ]
    for name in exact:
        assert U.gap(gradients[name], gradients[f"released, K={rows[name].beside}"]) < 1e-4, name
    assert kept["LayerTruncated(LastSteps(1))"] < 0.7 * kept["LastSteps(1)"]
    assert kept["released, K=1, last stage"] > 0.8 * kept["released, K=1"]
    assert set(gradients["Handover, stored, K=1, last stage, features"]) < set(gradients["Handover, stored, K=1"])


def test_what_falls_short_is_named():
    name, _, bound = U.TARGETS[0]
    assert U.shortfalls([{"row": name, "ratio": bound}]) == []
    (line,) = U.shortfalls([{"row": name, "ratio": bound - 0.1}])
    assert line.startswith(f"{name}: ratio")


def test_the_stored_table_is_printed():
    for path in (BENCHMARKS / "results").glob("update-*.json"):
        found = json.loads(path.read_text())
        for size in found["sizes"]:
            assert U.table(size, {}).count("\n") > 10
