"""A reward without a gradient on Poisson 32²: what each strategy gains on the base, and what it costs, over five seeds.

``python benchmarks/black_box.py`` works through (seed, row) and keeps every cell in ``benchmarks/results/black_box.json``: it
can be stopped at any time and goes on where it was.  The reward is −log₁₀ of the re-solve error, by a solver that is called and
never differentiated.  The pathwise row beside it has the gradient of the solution norm and little of the time.

All rows draw with the same few steps of ``Ancestral``, so that evaluations per sample are equal (``SVDD``, which spends more of
them instead of training, says so): few, because then the base makes an error that a policy can correct.  *Gain* is the mean of
log₁₀ of the re-solve errors of base over tuned, sample by sample from the same noise.  *Seconds* is processor time of a thread.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from unittest.mock import patch

import attrs
import torch
from torch import Tensor

import pirf
from pirf import Field
from pirf.experiments import hardware
from pirf.inference import draw
from pirf.metrics import resolve_errors

RESULTS = Path(__file__).parent / "results" / "black_box.json"
PROBLEM = pirf.problems.poisson(32)
SAMPLER = pirf.Ancestral(steps=5)
BATCH, SAMPLES, HELD_OUT, UNTUNED = 128, 256, 1_000_000, 3_000_000
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # two-sided 95 %, by the number of seeds


@attrs.frozen
class Accuracy:
    """−log₁₀ ‖u − S(a)‖/‖S(a)‖ by the reference solver."""

    def __call__(self, x: Field) -> Tensor:
        return -torch.log10(resolve_errors(x.double(), PROBLEM.solve, PROBLEM.solved))


REWARD = pirf.BlackBox(Accuracy())


def solution_norm(base: pirf.Denoiser) -> pirf.Reward:
    """The same error in decades, for those who have its gradient."""
    reward = pirf.rewards.Poisson(PROBLEM.grid, norm="solution")
    with torch.no_grad():
        unit = float(-reward(pirf.sample(base, SAMPLER, 64, seed=UNTUNED)).mean())
    return pirf.rewards.Decades(reward, unit, 1e-4)


Tune = Callable[[pirf.Denoiser, int, float], pirf.Denoiser]


def scored(strategy: pirf.GradientStrategy) -> Tune:
    """At a small rate, because what a batch of scores says is mostly noise."""

    def tune(base: pirf.Denoiser, seed: int, seconds: float) -> pirf.Denoiser:
        options: dict[str, Any] = {"lr": 1e-6, "batch": BATCH, "seconds": seconds, "seed": seed, "progress": False}
        return pirf.finetune(base, REWARD, sampler=SAMPLER, gradient=strategy, **options)

    return tune


def pathwise(base: pirf.Denoiser, seed: int, seconds: float) -> pirf.Denoiser:
    options: dict[str, Any] = {"lr": 1e-5, "batch": 32, "seconds": seconds / 4, "seed": seed, "progress": False}
    return pirf.finetune(base, solution_norm(base), sampler=SAMPLER, gradient=pirf.Full(segments=SAMPLER.steps), **options)


def candidates(base: pirf.Denoiser, seed: int, seconds: float) -> pirf.Denoiser:
    return pirf.SVDD(base, REWARD, count=4)


VALUE = pirf.Fitted(pretrain=8)
ROWS: Mapping[str, Tune] = {
    "ContinuousTime": scored(pirf.ContinuousTime(value=VALUE, standardised=False)),
    "PolicyGradient(group=8)": scored(pirf.PolicyGradient(group=8)),
    "Full, with the gradient, a quarter of the time": pathwise,
    "SVDD(count=4), nothing trained": candidates,
}


def cell(base: pirf.Denoiser, tune: Tune, seed: int, seconds: float) -> dict[str, Any]:
    """One seed of one row."""
    with patch.object(time, "perf_counter", time.process_time):  # the library's clock shows what this process has used
        model = tune(base, seed, seconds)
    history = [] if isinstance(model, pirf.SVDD) else model.history
    found = draw(model, SAMPLER, SAMPLES, seed=HELD_OUT + seed)
    plain = pirf.sample(base, SAMPLER, SAMPLES, seed=HELD_OUT + seed)
    before, after = REWARD(plain), REWARD(found.fields)
    table = pirf.compare(PROBLEM, {"row": model}, sampler=SAMPLER, samples=SAMPLES, seed=HELD_OUT + seed, progress=False)
    row = table["row"].as_dict()
    return {
        "gain": float((after - before).mean()),
        "base": float((10**-before).median()),
        "resolve": float((10**-after).median()),
        "rho": row["adherence"]["rho"],
        "size": float(found.fields[:, 0].square().mean().sqrt() / plain[:, 0].square().mean().sqrt()),
        "alarms": row["alarms"],
        "evaluations": found.evaluations,
        "updates": int(history[-1]["step"]) if history else 0,
        "seconds": history[-1]["seconds"] if history else 0.0,
        "rewards": sum(h.get("rewards", 0) for h in history),
    }


def summary(found: Mapping[str, Mapping[str, dict[str, Any]]]) -> str:
    """A Markdown table: means over the seeds, the gain with its 95 % interval."""
    head = ["row", "seeds", "gain, decades", "re-solve, %", "base, %", "size of a"]
    head += ["evaluations", "updates", "calls of the reward", "seconds"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    for name in ROWS:
        cells = list(found.get(name, {}).values())
        if cells:
            lines.append(
                [
                    name,
                    str(len(cells)),
                    interval([c["gain"] for c in cells]),
                    *(f"{100 * mean(c[key] for c in cells):.2f}" for key in ("resolve", "base")),
                    f"×{mean(c['size'] for c in cells):.2f}",
                    *(f"{mean(c[key] for c in cells):.0f}" for key in ("evaluations", "updates")),
                    f"{BATCH * mean(c['rewards'] for c in cells):.0f}",
                    f"{mean(c['seconds'] for c in cells):.0f}",
                ]
            )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interval(values: Sequence[float]) -> str:
    """Mean ± half the 95 % interval."""
    if len(values) < 2:
        return f"{mean(values):+.3f}"
    return f"{mean(values):+.3f} ± {STUDENT[len(values)] * stdev(values) / math.sqrt(len(values)):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW")
    parser.add_argument("--seconds", type=float, default=400.0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--summary", action="store_true", help="print the table of what exists and run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = _kept(options.out, options.seconds)
    if not options.summary:
        base = pirf.load("poisson-32")
        for seed in options.seeds:
            for name in options.rows:
                if str(seed) not in found["rows"].get(name, {}):
                    cells = cell(base, ROWS[name], seed, options.seconds)
                    found = _kept(options.out, options.seconds)  # another process may have written
                    found["rows"].setdefault(name, {})[str(seed)] = cells
                    options.out.write_text(json.dumps({**found, "hardware": hardware()}, indent=1) + "\n")
                    print(f"{name}, seed {seed}: {cells}", flush=True)
    print(summary(found["rows"]))


def _kept(path: Path, seconds: float) -> dict[str, Any]:
    """What is on disk, if it had this time."""
    fresh: dict[str, Any] = {"seconds": seconds, "rows": {}}
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else fresh
    return known if known["seconds"] == seconds else fresh


if __name__ == "__main__":
    main()
