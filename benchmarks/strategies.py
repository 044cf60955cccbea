"""Every gradient strategy at the same tuning time: residual, re-solve error, fidelity; Poisson 32² and Darcy 32², five seeds.

``python benchmarks/strategies.py --budget short`` works through the list, seed 0 of the most telling rows first, and writes a
JSON file per (problem, row, budget, seed) and one per search of a learning rate: it can be stopped at any time and goes on
where it was.  ``--share 0/2`` and ``--share 1/2`` are two processes for two cores.  ``--summary`` prints the tables of what is
there and runs nothing.

*Time* is processor time of one thread, which is wall time on a core of one's own, and does not count what others take.  It
includes the prefix states of a handover.  *Search*: every row has one knob, the learning rate (the weight of the anchor where
the rate is prescribed), tried at as many values as any other row's in a shorter run on another seed; the smallest product of
residual and re-solve error wins.  Both are known without data, so that the choice cannot see fidelity: what a row has been
paid for is left to the columns of the table.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest.mock import patch

import attrs
import torch

import pirf
from pirf.experiments import hardware
from pirf.training.checkpoints import fingerprint

RESULTS = Path(__file__).parent / "results" / "strategies"
SAMPLER = pirf.Heun(steps=20)
QUICK = pirf.Multistep(steps=20)  # takes the steps without gradient, at half the evaluations
TRIALS = 5  # every decade of three, and once beside the best
HELD_OUT, SEARCHED, UNTUNED = 1_000_000, 2_000_000, 3_000_000  # seeds of samples; tuning runs on others
SEARCH_SEED = 1000  # of tuning runs
Recipe = dict[str, Any]


@attrs.frozen
class Budget:
    """What every row gets: for a run, and for each trial of its search."""

    name: str
    run: Mapping[str, float]
    trial: Mapping[str, float]
    pool: int = 128
    trial_pool: int = 48
    samples: int = 128
    trial_samples: int = 32


BUDGETS = {
    "short": Budget("short", {"seconds": 30.0}, {"seconds": 10.0}),
    "long": Budget("long", {"seconds": 240.0}, {"seconds": 30.0}, pool=512, trial_pool=128),
}


@attrs.frozen(eq=False, slots=False)
class Bench:
    """A problem, its base model and a budget."""

    problem: pirf.Problem
    base: pirf.Denoiser
    budget: Budget

    @cached_property
    def untuned(self) -> torch.Tensor:
        return pirf.sample(self.base, SAMPLER, self.budget.trial_samples, seed=UNTUNED)

    @cached_property
    def identity(self) -> str:
        return f"{fingerprint(self.base)} {self.budget!r}"

    def reward(self, kind: str) -> pirf.Reward:
        if kind == "balanced":
            return self.problem.balanced_reward(self.untuned)
        if kind == "given":
            return pirf.Given(self.problem.reward, self.problem.given, self.problem.given_frames)
        return self.problem.reward


@attrs.frozen(eq=False)
class Row:
    """A recipe: what ``finetune`` is called with, but for the budget, the seed and one knob between ``low`` and ``high``."""

    name: str
    recipe: Callable[[Bench], Recipe] | None
    low: float = 1e-6
    high: float = 1e-3
    knob: str = "lr"
    problems: tuple[str, ...] = ("poisson", "darcy")

    def __call__(self, bench: Bench, value: float) -> Recipe:
        assert self.recipe is not None
        recipe = self.recipe(bench)
        if self.knob == "strength":
            return {**recipe, "regularizer": attrs.evolve(recipe["regularizer"], strength=value)}
        return {**recipe, self.knob: value}


def shared(name: str, gradient: pirf.GradientStrategy, reward: str = "plain", rank: int = 0, **more: Any) -> Row:
    """One network for all levels."""
    kept = {k: more.pop(k) for k in ("low", "high", "problems") if k in more}
    plain = {"sampler": SAMPLER, "prefix": QUICK, "gradient": gradient, "batch": 4, **more}

    def recipe(bench: Bench) -> Recipe:
        model = pirf.low_rank(bench.base, rank) if rank else bench.base
        return {"denoiser": model, "reward": bench.reward(reward), **plain}

    return Row(name, recipe, **kept)


def handover(
    name: str, gradient: pirf.GradientStrategy, reward: str = "plain", tail: int = 1, split: str = "", **more: Any
) -> Row:
    """A tuned copy for the last ``tail`` steps, after prefix states that are computed once; ``split``: options of the tail."""
    kept = {k: more.pop(k) for k in ("problems",) if k in more}
    muon = more.get("optimizer") is pirf.Muon
    low, high = (1e-4, 1e-1) if muon else (1e-5, 1e-2)

    def recipe(bench: Bench) -> Recipe:
        options: dict[str, dict[str, Any]] = {
            "": {},
            "channels": {"channels": bench.problem.solved},
            "floor": {"channels": bench.problem.solved, "floor": 2.0},
            "reads": {"channels": bench.problem.solved, "floor": 2.0, "reads": bench.problem.given},
        }
        model = pirf.Handover.split(bench.base, SAMPLER.before_last(tail), **options[split])
        plain = {"sampler": SAMPLER, "prefix": QUICK, "gradient": gradient, "batch": 8}
        return {"denoiser": model, "reward": bench.reward(reward), **plain, **more}

    return Row(name, recipe, low, high, **kept)


def adjoint_matching(bench: Bench) -> Recipe:
    """Trained on memoryless samples and drawn, like every row, by the ODE.

    For n white residual values of mean square m the law p·exp(r/α) has the mean square 1/(1/m + 2/(nα)): a tenth at α = 2m/9n.
    """
    square = float(-bench.problem.reward(bench.untuned.double()).mean())
    values = bench.problem.reward.residuals(bench.untuned[:1]).numel()
    strategy = pirf.AdjointMatching(temperature=2 * square / (9 * values))
    sampler = pirf.Ancestral(steps=SAMPLER.steps, eta=1.0)
    return {"denoiser": bench.base, "reward": bench.problem.reward, "sampler": sampler, "gradient": strategy, "batch": 4}


def as_described(bench: Bench) -> Recipe:
    return _published(bench, pirf.presets.as_described(bench.problem, steps=1, batch=4, sampling=SAMPLER.steps))


def as_released(bench: Bench) -> Recipe:
    """Its ramp is counted in images: how many there will be is measured."""

    def preset(steps: int) -> Recipe:
        return _published(bench, pirf.presets.as_released(bench.problem, steps=steps, batch=4, sampling=SAMPLER.steps))

    steps = bench.budget.run.get("steps")
    if steps is None:
        began = time.perf_counter()
        pirf.finetune(**preset(1), steps=3, progress=False)
        steps = bench.budget.run["seconds"] * 3 / (time.perf_counter() - began)
    return preset(max(1, round(steps)))


def _published(bench: Bench, preset: Recipe) -> Recipe:
    return {"denoiser": bench.base, **{k: v for k, v in preset.items() if k != "steps"}}


ONE, TWO = pirf.LastSteps(1), pirf.LastSteps(2)
DEMO: Recipe = {"reward": "balanced", "optimizer": pirf.Muon}
ROWS: Sequence[Row] = (  # the most telling ones first
    Row("base", None),
    shared("LastSteps(1)", ONE),
    handover("Handover, LastSteps(1)", ONE),
    shared("LastSteps(1), Given", ONE, "given", problems=("darcy",)),
    handover("Handover, LastSteps(1), Given", ONE, "given", problems=("darcy",)),
    handover("Handover, demo", ONE, split="floor", **DEMO),
    shared("LastSteps(2)", TWO),
    handover("Handover, channels=solved", ONE, split="channels"),
    shared("Full(segments=20)", pirf.Full(segments=SAMPLER.steps)),
    Row("as_described", as_described),
    shared("LayerTruncated(LastSteps(1))", pirf.LayerTruncated(ONE)),
    handover("Handover, LayerTruncated(LastSteps(1))", pirf.LayerTruncated(ONE)),
    handover("Handover, LastSteps(2)", TWO, tail=2),
    shared("LastSteps(2), Given", TWO, "given", problems=("darcy",)),
    Row("AdjointMatching", adjoint_matching),
    shared("RandomSteps('uniform')", pirf.RandomSteps("uniform")),
    shared("LowVariance(2)", pirf.LowVariance(2)),
    shared("OneStep(5)", pirf.OneStep(5)),
    shared("LastSteps(1), replay=4", ONE, replay=4),
    shared("Windows(4)", pirf.Windows(4, updates=1)),
    shared("low_rank(4), LastSteps(2)", TWO, rank=4, low=1e-5, high=1e-2),
    shared("Full(segments=20), Given", pirf.Full(segments=SAMPLER.steps), "given", problems=("darcy",)),
    shared("LayerTruncated(LastSteps(1)), Given", pirf.LayerTruncated(ONE), "given", problems=("darcy",)),
    shared("LastSteps(2), balanced", TWO, "balanced"),
    handover("Handover, demo, reads a", ONE, split="reads", **DEMO),
    Row("as_released", as_released, low=1e-5, high=1e-2, knob="strength"),
)


@contextmanager
def own_core() -> Iterator[None]:
    """The library's clock shows the processor time of this process."""
    with patch.object(time, "perf_counter", time.process_time):
        yield


def figures(bench: Bench, model: pirf.Denoiser, samples: int, seed: int) -> dict[str, Any]:
    """The figures of a model on samples of its own seed."""
    table = pirf.compare(bench.problem, {"row": model}, sampler=SAMPLER, samples=samples, seed=seed, progress=False)
    row = table["row"].as_dict()
    return {k: row[k] for k in ("adherence", "fidelity", "alarms", "evaluations", "seconds")}


def attempt(
    bench: Bench, recipe: Recipe, limit: Mapping[str, Any], pool: int, samples: int, seed: int, held_out: int
) -> dict[str, Any]:
    """Tune, sample, measure; a run that ends in NaN says so instead."""
    try:
        tuned = pirf.finetune(**recipe, **limit, pool=pool, seed=seed, progress=False)
    except pirf.NumericalError as error:
        return {"failed": str(error)}
    cost = {"updates": int(tuned.history[-1]["step"]), "tuning_seconds": tuned.history[-1]["seconds"]}
    if not all(bool(torch.isfinite(p).all()) for p in tuned.parameters()):
        return {"failed": "weights that are not finite", **cost}
    try:
        return {**cost, **figures(bench, tuned, samples, held_out)}
    except pirf.InputError as error:  # fields that are not finite
        return {"failed": str(error), **cost}


def product(found: Mapping[str, Any]) -> float:
    """log₁₀ of residual times re-solve error."""
    if "failed" in found:
        return math.inf
    return math.log10(found["adherence"]["rho"]) + math.log10(found["adherence"]["resolve"])


def search(bench: Bench, row: Row, folder: Path) -> float:
    """The best value of the row's knob; trials that are on disk are not made again."""
    path, budget = _place(folder, bench, row, "search"), bench.budget
    known = _read(path, bench)
    trials: dict[float, dict[str, Any]] = {trial["value"]: trial for trial in known["trials"]} if known else {}

    def objective(value: float) -> float:
        value = _rounded(value)
        if value not in trials:
            seed, held_out = SEARCH_SEED, SEARCHED
            found = attempt(bench, row(bench, value), budget.trial, budget.trial_pool, budget.trial_samples, seed, held_out)
            trials[value] = {"value": value, "product": product(found), **found}
            _write(path, bench, {"knob": row.knob, "trials": list(trials.values())})
        return float(trials[value]["product"])

    best = _rounded(pirf.tune(objective, row.low, row.high, TRIALS).best)
    _write(path, bench, {"knob": row.knob, "best": best, "trials": list(trials.values())})
    return best


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def run(bench: Bench, row: Row, seed: int, folder: Path) -> dict[str, Any]:
    """One cell of the grid: from disk, or measured and written."""
    path, budget = _place(folder, bench, row, f"seed{seed}"), bench.budget
    if (known := _read(path, bench)) is not None:
        return known
    held_out = HELD_OUT + 10 * seed
    if row.recipe is None:
        found, chosen, recipe = (
            {"updates": 0, "tuning_seconds": 0.0, **figures(bench, bench.base, budget.samples, held_out)},
            {},
            "",
        )
    else:
        value = search(bench, row, folder)
        chosen, settings = {row.knob: value}, row(bench, value)
        found = attempt(bench, settings, budget.run, budget.pool, budget.samples, seed, held_out)
        recipe = ", ".join(f"{k}={getattr(v, '__name__', repr(v))}" for k, v in settings.items() if k != "denoiser")
    record = {"row": row.name, "seed": seed, "chosen": chosen, "recipe": recipe, "held_out": held_out, **found}
    _write(path, bench, record)
    return record


def _place(folder: Path, bench: Bench, row: Row, what: str) -> Path:
    return folder / bench.problem.name / bench.budget.name / f"{_slug(row)}.{what}.json"


def _slug(row: Row) -> str:
    return "".join(c if c.isalnum() else "-" for c in row.name).strip("-").replace("--", "-")


def _trials(folder: Path, row: Row) -> list[dict[str, Any]]:
    path = folder / f"{_slug(row)}.search.json"
    return list(json.loads(path.read_text())["trials"]) if path.exists() else []


def _read(path: Path, bench: Bench) -> dict[str, Any] | None:
    """What is on disk, if it was measured with this base and this budget."""
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return record if record["identity"] == bench.identity else None


def _write(path: Path, bench: Bench, record: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"problem": repr(bench.problem), "budget": bench.budget.name, "identity": bench.identity, "hardware": hardware()}
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps({**head, **record}, indent=1) + "\n")
    partial.replace(path)


def summary(folder: Path = RESULTS, rows: Sequence[str] = ()) -> str:
    """A Markdown table for every problem and budget that has results: mean ± standard error over the seeds that exist."""
    tables = []
    for problem in ("poisson", "darcy"):
        for budget in BUDGETS:
            cells = [json.loads(path.read_text()) for path in sorted((folder / problem / budget).glob("*.seed*.json"))]
            lines = [
                _line(row.name, found, _trials(folder / problem / budget, row))
                for row in ROWS
                if (not rows or row.name in rows) and (found := [c for c in cells if c["row"] == row.name])
            ]
            first = next((c for c in cells if "failed" not in c), None)
            if lines and first is not None:
                laws = list(first["fidelity"]["quantities"])
                head = ["row", "seeds", "ρ", "re-solve, %", "variance", "spectrum", "sliced-W", *laws]
                head += ["alarms", "updates", "seconds", "knob", "smallest ρ tried"]
                title = f"**{first['problem'].removeprefix('pirf.problems.')}, {BUDGETS[budget].run['seconds']:g} s of tuning**"
                table = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
                tables.append(title + "\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in table))
        if bent := _bent(folder / problem):
            tables.append(bent)
    return "\n\n".join(tables)


def _bent(folder: Path) -> str:
    """What a gradient into the given fields buys: the trials of each row beside those of its twin with ``Given``."""
    lines = []
    for budget in BUDGETS:
        for twin in (row for row in ROWS if row.name.endswith(", Given")):
            plain = next(row for row in ROWS if f"{row.name}, Given" == twin.name)
            pairs = [{t["value"]: t for t in _trials(folder / budget, r) if "failed" not in t} for r in (plain, twin)]
            for value in sorted(set(pairs[0]) & set(pairs[1])):
                both = [pair[value] for pair in pairs]
                cells = [f"{t['adherence']['rho']:.3g}" for t in both]
                cells += [f"{100 * t['adherence']['resolve']:.3g}" for t in both]
                cells += [f"{t['fidelity']['quantities']['distance to 3 or 12']['w1']:.3g}" for t in both]
                lines.append(f"| {plain.name}, {budget} | {value:.2g} | " + " | ".join(cells) + " |")
    names = ("ρ", "re-solve, %", "distance to 3 or 12")
    head = "| row, search | lr | " + " | ".join(f"{name}{kind}" for name in names for kind in ("", ", Given")) + " |"
    title = "**With and without gradient into the coefficient, at the same learning rate**"
    return "\n".join([title, "", head, "| --- |" + " ---: |" * 7, *lines]) if lines else ""


def _line(name: str, cells: Sequence[Mapping[str, Any]], trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """One row over its seeds, and where its search would have gone for the residual alone."""
    good = [c for c in cells if "failed" not in c]
    count = f"{len(good)}" if len(good) == len(cells) else f"{len(good)} of {len(cells)}"
    if not good:
        return [name, count]
    fidelity = [c["fidelity"] for c in good]
    raised = [alarm for c in good for alarm in c["alarms"]]
    chosen = [f"{k} {v:.2g}" for k, v in good[0]["chosen"].items()]
    finite = [t for t in trials if "failed" not in t]
    lowest = min(finite, key=lambda t: float(t["adherence"]["rho"]), default=None)
    return [
        name,
        count,
        _spread([c["adherence"]["rho"] for c in good]),
        _spread([100 * c["adherence"]["resolve"] for c in good]),
        ", ".join(_spread(list(v)) for v in zip(*(f["variance"] for f in fidelity), strict=True)),
        _spread([max(f["spectrum"]) for f in fidelity]),
        _spread([f["sliced"] for f in fidelity]),
        *(_spread([f["quantities"][law]["w1"] for f in fidelity]) for law in fidelity[0]["quantities"]),
        ", ".join(f"{alarm} {raised.count(alarm)}/{len(good)}" for alarm in dict.fromkeys(raised)) or "none",
        f"{mean(c['updates'] for c in good):.0f}",
        f"{mean(c['tuning_seconds'] for c in good):.0f}",
        *(chosen or ["—"]),
        "—" if lowest is None else _tried(**lowest),
    ]


def _tried(*, value: float, adherence: Mapping[str, float], **_: Any) -> str:
    return f"{adherence['rho']:.3g} at {value:.2g}, re-solve {100 * adherence['resolve']:.3g} %"


def _spread(values: Sequence[float]) -> str:
    """Mean ± standard error."""
    if len(values) < 2:
        return f"{mean(values):.3g}"
    return f"{mean(values):.3g} ± {stdev(values) / math.sqrt(len(values)):.1g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=["poisson", "darcy"], choices=("poisson", "darcy"))
    parser.add_argument("--budget", default="short", choices=tuple(BUDGETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--rows", nargs="+", default=[], choices=[row.name for row in ROWS], metavar="ROW")
    parser.add_argument("--share", default="0/1", help="i/n: every n-th row, from the i-th")
    parser.add_argument("--model", nargs="+", default=[], metavar="PROBLEM=FOLDER", help="a base model that is not shipped")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true", help="print the table of what exists and run nothing")
    options = parser.parse_args()
    if options.summary:
        print(summary(options.out, options.rows))
        return
    torch.set_num_threads(1)
    part, parts = map(int, options.share.split("/"))
    folders = dict(pair.split("=", 1) for pair in options.model)
    benches = {
        name: Bench(getattr(pirf.problems, name)(32), pirf.load(folders.get(name, f"{name}-32")), BUDGETS[options.budget])
        for name in options.problem
    }
    wanted = [(row, name) for row in ROWS for name in options.problem if name in row.problems]
    mine = [(row, name) for row, name in wanted[part::parts] if not options.rows or row.name in options.rows]
    with own_core():
        for seed in options.seeds:
            for row, name in mine:
                record = run(benches[name], row, seed, options.out)
                note = (
                    record.get("failed") or f"ρ {record['adherence']['rho']:.3g}, re-solve {record['adherence']['resolve']:.3g}"
                )
                print(f"{name}, seed {seed}, {row.name}: {note}, {record['chosen']}", flush=True)


if __name__ == "__main__":
    main()
