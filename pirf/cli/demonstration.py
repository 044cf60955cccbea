"""``pirf demo``: the main job in five minutes on two cores, written as a user would write it.

Certify a reward, fine-tune a base model with PIRF, compare honestly, report.  Every budget is fixed here and printed in the
table.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

import pirf

__all__ = ["demo"]

SAMPLER = pirf.Heun(steps=20)
SAMPLES = 128  # of every row of the table
SHARED_SECONDS = 15.0  # tuning of each row that shares one network between all noise levels
HANDOVER_SECONDS = {"PIRF, Handover": 40.0, "PIRF, Handover, reads a": 90.0}  # tuning, prefix states included
POOL = 256  # states of the base that a handover is tuned on
DPS_TRIALS, DPS_SAMPLES = 9, 64


def _tuned_guidance(problem: pirf.Problem, base: pirf.Denoiser) -> tuple[pirf.DPS, pirf.Tuning, float]:
    """The best ζ of DPS on samples that the comparison does not use; the steps before it acts are taken once."""
    began = time.perf_counter()
    finish = pirf.branches(base, SAMPLER, start=16, count=DPS_SAMPLES, seed=2_000_000)

    def residual(weight: float) -> float:
        fields = finish(pirf.DPS(base, problem.reward, weight))
        return float(-problem.reward(fields.double()).mean() / problem.scale)

    found = pirf.tune(residual, low=1e-2, high=1e2, trials=DPS_TRIALS)
    return pirf.DPS(base, problem.reward, found.best), found, time.perf_counter() - began


def demo(
    out: Annotated[Path, typer.Option(help="folder for table.json and report.html", metavar="FOLDER")] = Path("runs/demo"),
    share: Annotated[float, typer.Option(help="of the time and of the samples, for a first look")] = 1.0,
) -> None:
    """Certify a reward, fine-tune a base model, compare it with its rivals, write a report. Five minutes on two cores."""
    if not 0 < share <= 1:
        raise pirf.InputError(
            "a share between 0 and 1 is needed",
            got=f"--share {share}",
            why="all budgets are multiplied by it",
            hint="--share 0.1",
        )
    samples = max(16, round(share * SAMPLES))
    began = time.perf_counter()
    problem = pirf.problems.poisson(n=32)
    certificate = pirf.verify(problem)
    print(certificate, end="\n\n")
    base = pirf.load("poisson-32")

    def entry(model: pirf.Denoiser, note: str) -> pirf.Entry:
        last = model.history[-1]
        return pirf.Entry(model, tuning_seconds=last["seconds"], note=f"{note}, {int(last['step'])} updates")

    guided, found, searched = _tuned_guidance(problem, base)
    rows: dict[str, pirf.Denoiser | pirf.Entry] = {
        "base": base,
        "base, one more step": pirf.Entry(
            base, pirf.Heun(steps=21), note="Handover evaluates the base once more at its last step"
        ),
        "DPS": pirf.Entry(
            guided, tuning_seconds=searched, note=f"ζ = {found.best:.3g}, best of {DPS_TRIALS} on {DPS_SAMPLES} samples"
        ),
    }

    # PIRF as published: one network for all noise levels, the plain residual as the reward.
    strategies: dict[str, pirf.GradientStrategy] = {
        "PIRF, LastSteps(1)": pirf.LastSteps(1),
        "PIRF, LastSteps(2)": pirf.LastSteps(2),
        "PIRF, layer-truncated": pirf.LayerTruncated(pirf.LastSteps(1), stages=1),
    }
    anchor = pirf.WeightAnchor(1e-3)
    for name, strategy in strategies.items():
        tuned = pirf.finetune(
            base,
            problem.reward,
            sampler=SAMPLER,
            gradient=strategy,
            regularizer=anchor,
            seconds=share * SHARED_SECONDS,
            batch=4,
            lr=1e-4,
        )
        rows[name] = entry(tuned, f"{strategy!r}, WeightAnchor(1e-3), batch 4, lr 1e-4, {share * SHARED_SECONDS:g} s")

    # Ours: a tuned copy writes u in the last step, a stays the base's; the reward counts decades of residual and solution.
    untuned = pirf.sample(base, SAMPLER, 64, seed=3_000_000)
    reward = problem.balanced_reward(untuned)
    for name, seconds in HANDOVER_SECONDS.items():
        reads = problem.given if name.endswith("reads a") else None
        split = pirf.Handover.split(base, below=SAMPLER.before_last(1), channels=problem.solved, reads=reads, floor=2.0)
        tuned = pirf.finetune(
            split,
            reward,
            sampler=SAMPLER,
            gradient=pirf.LastSteps(1),
            optimizer=pirf.Muon,
            seconds=share * seconds,
            batch=8,
            lr=1e-2,
            pool=max(8, round(share * POOL)),
        )
        recipe = f"LastSteps(1), reads {'a' if reads else 'all'}, floor 2, decades of residual and solution"
        rows[name] = entry(tuned, f"{recipe}, Muon, batch 8, lr 1e-2, {share * seconds:g} s")

    table = pirf.compare(problem, rows, sampler=SAMPLER, samples=samples)
    print(table)
    for row in table.rows:
        print(f"  {row.name}: {row.note}" if row.note else f"  {row.name}")
    table.save(out / "table.json")
    calls = Path(__file__).read_text()
    page = table.report(out / "report.html", title="PIRF on Poisson 32²", certificate=certificate, calls=calls)
    print(f"\n{time.perf_counter() - began:.0f} s in all; report: {page}")
