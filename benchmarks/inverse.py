"""Sparse measurements on five problems at 32²: untuned priors with guidance at 20, 80 and 2000 steps, tuned ones at 20.

``python benchmarks/inverse.py`` measures cell by cell into ``benchmarks/results/inverse``, the quick rows first: it can be
stopped at any time and goes on where it was, and ``--share 0/2`` with ``--share 1/2`` are two processes for two cores.
``--summary`` prints the table of what is there.

*Questions*, after DiffusionPDE (Huang et al. 2024) at reduced size: sensors at 3 % of as many points as a grid has measure one
field, with noise of 1 % of its standard deviation.  *Forward*: of what is given; wanted is the solution.  *Inverse*: of the
solution; wanted is what it came from.  Evolutions are measured in their first quarter of frames or in their last, and the other
end is wanted.

*Rows.*  Every one has the same number of trials for its knobs (``pirf.tune``) on truths of their own; the smallest product of
error and √ρ wins.  The knobs of 2000 steps are those of 500.  Where the winner's samples are not finite, or miss the
measurements by a hundred times their noise, the next best takes its place.  Tuned priors are Handovers of the demo's recipe,
the same budget for every problem.  *Error*: relative L2 distance of what is wanted, the mean over samples; *of the mean*: of
their mean.  Seconds are processor time of one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
import torch
from torch import Tensor

import pirf
from pirf.experiments import hardware
from pirf.guidance import Below
from pirf.metrics import mean_squares
from pirf.sweeps import interval, sweep
from pirf.training.checkpoints import fingerprint

RESULTS = Path(__file__).parent / "results" / "inverse"
MODELS = Path("runs/inverse")
PROBLEMS = ("poisson", "helmholtz", "darcy", "burgers", "kolmogorov")
N, SHARE, NOISE = 32, 0.03, 0.01
TRUTH, TRIAL, UNTUNED = 1_000_000, 2_000_000, 3_000_000  # seeds: judged, searched, and of the samples that balance a reward
TUNING_SECONDS = 90.0
TRIALS, LONGEST_TRIAL = 6, 500
EXPLODED = 100.0  # of the noise: such samples have left the measurements, which is seen without truth


@attrs.frozen
class Question:
    """What is measured, and what is wanted."""

    measured: Tensor
    wanted: Tensor


def question(problem: pirf.Problem, direction: str, seed: int) -> Question:
    """Masks of one sample: as many sensors as 3 % of the grid has points, all of them where ``direction`` says."""
    if problem.name == "kolmogorov":
        here, there = pirf.region(problem.shape, 0), pirf.region(problem.shape, 2)
    elif problem.given:
        here, there = pirf.region(problem.shape, problem.given), pirf.region(problem.shape, problem.solved)
    else:
        quarter = problem.grid.shape[0] // 4
        here, there = (pirf.region(problem.shape, frames=f) for f in (slice(0, quarter), slice(-quarter, None)))
    if direction == "inverse":
        here, there = there, here
    return Question(pirf.sensors(here, round(SHARE * N * N), seed=seed), there)


def truth_of(problem: pirf.Problem, seed: int, index: int) -> Tensor:
    """One exact sample, no two of one trajectory."""
    return problem.sample(1, seed=seed, start=index * problem.per_draw)


@attrs.frozen
class Row:
    """A prior, a number of steps, a guidance and the ranges of its knobs."""

    name: str
    prior: str
    steps: int
    guidance: Callable[..., pirf.Denoiser]
    knobs: Mapping[str, tuple[float, float]]
    samples: int = 8


def pseudo_inverse(denoiser: pirf.Denoiser, observation: pirf.Observation, reward: pirf.Reward, weight: float) -> pirf.Denoiser:
    """The equation counts from σ = 1 down."""
    return pirf.PseudoinverseGuidance.posterior(denoiser, observation, reward, weight=Below(weight))


WEIGHTS = {"observed": (0.05, 5.0), "weight": (0.01, 10.0)}
ROWS: Sequence[Row] = (
    Row("DPS, 20 steps", "base", 20, pirf.DPS.posterior, WEIGHTS),
    Row("tuned, DPS, 20 steps", "tuned", 20, pirf.DPS.posterior, WEIGHTS),
    Row("projection, 20 steps", "base", 20, pirf.Projection.posterior, {"ridge": (1e-3, 10.0)}),
    Row("tuned, projection, 20 steps", "tuned", 20, pirf.Projection.posterior, {"ridge": (1e-3, 10.0)}),
    Row("pseudo-inverse, 20 steps", "base", 20, pseudo_inverse, {"weight": (0.01, 10.0)}),
    Row("tuned, pseudo-inverse, 20 steps", "tuned", 20, pseudo_inverse, {"weight": (0.01, 10.0)}),
    Row("DPS, 80 steps", "base", 80, pirf.DPS.posterior, WEIGHTS),
    Row("DPS, 2000 steps", "base", 2000, pirf.DPS.posterior, WEIGHTS, samples=2),
)
BY_NAME = {row.name: row for row in ROWS}


@lru_cache
def problem_of(name: str) -> pirf.Problem:
    problem: pirf.Problem = getattr(pirf.problems, name)(N)
    return problem


@lru_cache
def prior(name: str, kind: str) -> pirf.Denoiser:
    """The shipped base, or what the demo's recipe makes of it; tuned once, kept in ``runs``."""
    base = pirf.load(f"{name}-{N}")
    if kind == "base":
        return base
    folder = MODELS / f"{name}-{N}"
    if not (folder / "card.json").exists():
        recipe = pirf.presets.handed_over(problem_of(name), base, pool=256)
        tuned = pirf.finetune(**recipe, seconds=TUNING_SECONDS, out=folder / "checkpoints", progress=False)
        pirf.save(tuned, folder)
    return pirf.load(folder)


def reconstruct(name: str, direction: str, row: Row, seed: int, index: int, samples: int, knobs: Mapping[str, float]) -> Any:
    """Figures of one reconstruction of one truth."""
    problem = problem_of(name)
    asked, truth = question(problem, direction, seed + index), truth_of(problem, seed, index)
    spread = problem.sample(64, seed=UNTUNED).transpose(0, 1).flatten(1).std(1)
    observation = pirf.observe(truth, asked.measured, NOISE * spread, seed=seed + index)
    guidance = partial(row.guidance, **knobs)
    found = pirf.reconstruct(
        prior(name, row.prior),
        observation,
        problem.reward,
        guidance=guidance,
        sampler=pirf.Heun(steps=row.steps),
        samples=samples,
        seed=seed + index,
        progress=False,
    )
    wanted = asked.wanted.to(truth.device)

    def error(fields: Tensor) -> Tensor:
        gap = (fields.double() - truth)[:, wanted]
        size = torch.linalg.vector_norm(truth[:, wanted])
        distances: Tensor = torch.linalg.vector_norm(gap, dim=1) / size
        return distances

    rho = mean_squares(problem.reward, found.fields.cpu()) / problem.scale
    return {
        "error": float(error(found.fields.cpu()).mean()),
        "of the mean": float(error(found.fields.cpu().double().mean(0, keepdim=True))),
        "rho": float(rho.mean()),
        "misfit": float(observation.residuals(found.fields.double().cpu()).square().mean().sqrt()),
        "evaluations": found.evaluations,
        "vjps": found.vjps,
        "seconds": found.seconds,
    }


@contextmanager
def own_core() -> Iterator[None]:
    """The library's clock shows the processor time of this process."""
    with patch.object(time, "perf_counter", time.process_time):
        yield


def search(problem: str, direction: str, row: str) -> dict[str, Any]:
    """The knobs of a row, searched on truths of their own; the longest chains on one sample of one truth."""
    chosen = attrs.evolve(BY_NAME[row], steps=min(BY_NAME[row].steps, LONGEST_TRIAL))
    truths, samples = (1, 1) if chosen.steps == LONGEST_TRIAL else (2, 2)

    def product(**knobs: float) -> float:
        try:
            found = [reconstruct(problem, direction, chosen, TRIAL, i, samples, knobs) for i in range(truths)]
        except (pirf.InputError, pirf.NumericalError):  # samples that are not finite
            return math.inf
        return sum(math.log10(f["error"]) + 0.5 * math.log10(f["rho"] + 1e-12) for f in found) / truths

    return pirf.tune(product, chosen.knobs, trials=TRIALS).as_dict()


def measure(problem: str, direction: str, row: str, seed: int) -> dict[str, Any]:
    """One cell."""
    chosen = BY_NAME[row]
    with own_core():
        (searched,) = sweep(
            search,
            [{"problem": problem, "direction": direction, "row": row}],
            RESULTS / "searches",
            identity=identity(problem),
            progress=False,
        )
        for knobs in ranked(searched["trials"]):
            try:
                found = reconstruct(problem, direction, chosen, TRUTH, seed, chosen.samples, knobs)
            except (pirf.InputError, pirf.NumericalError):  # fine on the truths of the search, not finite on this one
                continue
            if found["misfit"] > EXPLODED:
                continue
            return {**found, "knobs": knobs, "trials": len(searched["trials"]), "hardware": hardware()}
    raise pirf.NumericalError(
        f"no trial of {row} gives finite samples of {problem}, {direction}. Try lower ranges of its knobs."
    )


def ranked(trials: Sequence[tuple[dict[str, float], float | None]]) -> list[dict[str, float]]:
    """The knobs of the trials that ended, the best first."""
    ended = [(loss, knobs) for knobs, loss in trials if loss is not None]
    return [knobs for _, knobs in sorted(ended, key=lambda trial: trial[0])]


@lru_cache
def identity(problem: str) -> str:
    """What the cells of a problem share: its base, and how it was tuned."""
    return f"{fingerprint(prior(problem, 'base'))}, {TUNING_SECONDS:g} s of tuning, {TRIALS} trials"


def cells(problems: Sequence[str], rows: Sequence[str], seeds: Sequence[int]) -> list[dict[str, object]]:
    """The quick rows of every problem first, and every question's first seed before the second."""
    return [
        {"problem": p, "direction": d, "row": r, "seed": s}
        for slow in (False, True)
        for s in seeds
        for p in problems
        for d in ("forward", "inverse")
        for r in rows
        if (BY_NAME[r].steps > 500) == slow
    ]


def summary(found: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table for every question: means over the seeds with 95 % intervals."""
    tables = []
    for problem in PROBLEMS:
        for direction in ("forward", "inverse"):
            lines = []
            for row in ROWS:
                here = [f for f in found if (f["problem"], f["direction"], f["row"]) == (problem, direction, row.name)]
                if here:
                    lines.append([row.name, str(len(here)), *_figures(here)])
            if lines:
                head = ["row", "seeds", "error, %", "of the mean, %", "ρ", "misfit", "evaluations", "seconds", "knobs"]
                table = [head, ["---", *["---:"] * (len(head) - 1)], *lines]
                body = "\n".join(f"| {' | '.join(line)} |" for line in table)
                tables.append(f"**{problem}, {direction}**\n\n{body}")
    return "\n\n".join(tables)


def goal(found: Sequence[Mapping[str, Any]]) -> str:
    """The tuned prior at 20 steps over the untuned one at 2000, and at 20: geometric means over the seeds that both have."""
    head = [
        "question",
        "seeds",
        "error, of 2000 steps",
        "ρ, of 2000 steps",
        "seconds, of 2000 steps",
        "error, of 20",
        "ρ, of 20",
    ]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    rows = {(f["problem"], f["direction"], f["row"], f["seed"]): f for f in found}
    for problem in PROBLEMS:
        for direction in ("forward", "inverse"):

            def ratio(figure: str, other: str, here: tuple[str, str] = (problem, direction)) -> str:
                pairs = [
                    math.log(f[figure] / rows[*here, other, seed][figure])
                    for (p, d, r, seed), f in rows.items()
                    if (p, d, r) == (*here, "tuned, DPS, 20 steps") and (*here, other, seed) in rows
                ]
                return f"×{math.exp(sum(pairs) / len(pairs)):.2g}" if pairs else "—"

            seeds = sum((p, d, r) == (problem, direction, "DPS, 2000 steps") for p, d, r, _ in rows)
            far = [ratio(figure, "DPS, 2000 steps") for figure in ("error", "rho", "seconds")]
            near = [ratio(figure, "DPS, 20 steps") for figure in ("error", "rho")]
            lines.append([f"{problem}, {direction}", str(seeds), *far, *near])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _figures(here: Sequence[Mapping[str, Any]]) -> list[str]:
    def over(key: str, factor: float = 1.0) -> str:
        return str(interval([factor * f[key] for f in here]))

    first = here[0]
    counts = f"{first['evaluations']:g}" + (f"+{first['vjps']:g}v" if first["vjps"] else "")
    knobs = ", ".join(f"{name} {value:.2g}" for name, value in first["knobs"].items())
    seconds = sum(f["seconds"] for f in here) / len(here)
    return [over("error", 100), over("of the mean", 100), over("rho"), over("misfit"), counts, f"{seconds:.2g}", knobs or "—"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--rows", nargs="+", default=list(BY_NAME), choices=list(BY_NAME), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--share", default="0/1", help="i/n: every n-th question, from the i-th")
    parser.add_argument("--summary", action="store_true", help="print the table of what exists and run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    part, parts = map(int, options.share.split("/"))
    found, asked = [], [(p, d) for p in PROBLEMS for d in ("forward", "inverse")]
    for cell in cells(options.problem, options.rows, options.seeds):
        if not options.summary and asked.index((str(cell["problem"]), str(cell["direction"]))) % parts != part:
            continue
        rows = sweep(
            measure, [cell], RESULTS, identity=identity(str(cell["problem"])), known_only=options.summary, progress=False
        )
        found += rows
        if rows and not options.summary:
            figures = {k: f"{rows[0][k]:.3g}" for k in ("error", "of the mean", "rho", "misfit", "seconds")}
            print(*cell.values(), json.dumps(figures), rows[0]["knobs"], flush=True)
    print(summary(found), goal(found), sep="\n\n")


if __name__ == "__main__":
    main()
