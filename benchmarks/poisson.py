"""The long comparison on Poisson 32²: 300 s of tuning for every method that trains, DPS at equal steps and equal wall time.

``make bench`` runs it in about half an hour on two cores, prints the table and the targets, and writes
``benchmarks/results/poisson.json`` and ``runs/bench/report.html``.
"""

from __future__ import annotations

import time
from pathlib import Path

import pirf

OUT = Path("runs/bench")
SAMPLER = pirf.Heun(steps=20)
SAMPLES = 256
SECONDS = 300.0
TRIALS = 9
HELD_OUT = 32


def tune_guidance(problem: pirf.Problem, base: pirf.Denoiser, sampler: pirf.Sampler) -> tuple[pirf.DPS, str, float]:
    """The best ζ of DPS for this sampler, on samples that the comparison does not use."""
    began = time.perf_counter()
    finish = pirf.branches(base, sampler, start=int(0.8 * sampler.steps), count=HELD_OUT, seed=2_000_000)

    def residual(weight: float) -> float:
        fields = finish(pirf.DPS(base, problem.reward, weight))
        return float(-problem.reward(fields.double()).mean() / problem.scale)

    found = pirf.tune(residual, low=1e-2, high=1e2, trials=TRIALS)
    note = f"{sampler.steps} steps, ζ = {found.best:.3g}, best of {TRIALS} on {HELD_OUT} samples"
    return pirf.DPS(base, problem.reward, found.best), note, time.perf_counter() - began


def main() -> None:
    problem = pirf.problems.poisson(n=32)
    base = pirf.load("poisson-32")
    shared: dict[str, pirf.GradientStrategy] = {
        "PIRF, LastSteps(1)": pirf.LastSteps(1),
        "PIRF, LastSteps(2)": pirf.LastSteps(2),
    }
    rows: dict[str, pirf.Denoiser | pirf.Entry] = {
        "base": base,
        "base, one more step": pirf.Entry(
            base, pirf.Heun(steps=21), note="Handover evaluates the base once more at its last step"
        ),
    }

    def add(name: str, tuned: pirf.Denoiser, note: str) -> None:
        seconds, updates = tuned.history[-1]["seconds"], int(tuned.history[-1]["step"])
        rows[name] = pirf.Entry(tuned, tuning_seconds=seconds, note=f"{note}, {updates} updates")
        print(f"{name}: {updates} updates", flush=True)

    for name, reads in (("PIRF, Handover", False), ("PIRF, Handover, reads a", True)):
        settings = pirf.presets.handed_over(problem, base, reads=reads)
        tuned = pirf.finetune(**settings, seconds=SECONDS, out=OUT / name)
        recipe = f"LastSteps(1), reads {'a' if reads else 'all'}, floor 2, decades of residual and solution"
        add(name, tuned, f"{recipe}, Muon, batch 8, lr 1e-2, {SECONDS:g} s")
    for name, strategy in shared.items():
        tuned = pirf.finetune(
            base,
            problem.reward,
            sampler=SAMPLER,
            gradient=strategy,
            regularizer=pirf.WeightAnchor(1e-3),
            seconds=SECONDS,
            batch=4,
            lr=1e-4,
            out=OUT / name,
        )
        add(name, tuned, f"{strategy!r}, WeightAnchor(1e-3), plain l2 reward, batch 4, lr 1e-4, {SECONDS:g} s")

    guided, note, seconds = tune_guidance(problem, base, SAMPLER)
    rows["DPS"] = pirf.Entry(guided, tuning_seconds=seconds, note=note)
    # Equal wall time, the tuning of the Handover row included: so many steps that sampling all rows takes as long.
    per_step = _seconds_per_step(problem, guided)
    steps = max(SAMPLER.steps, round(SECONDS / (SAMPLES * per_step)) + SAMPLER.steps)
    slow = pirf.Heun(steps=steps)
    guided, note, seconds = tune_guidance(problem, base, slow)
    rows["DPS, equal wall time"] = pirf.Entry(guided, sampler=slow, tuning_seconds=seconds, note=note)

    table = pirf.compare(problem, rows, sampler=SAMPLER, samples=SAMPLES)
    print(table)
    table.save("benchmarks/results/poisson.json")
    page = table.report(OUT / "report.html", title="PIRF on Poisson 32², 300 s", calls=Path(__file__).read_text())
    before = table["base"].adherence
    for name in rows:
        after = table[name].adherence
        physics, solution = before.rho / after.rho, before.resolve / after.resolve
        print(f"{name}: ρ {physics:.1f}× below the base (target 25×), re-solve {solution:.1f}× below it (target 4×)")
    print(f"report: {page}")


def _seconds_per_step(problem: pirf.Problem, guided: pirf.DPS) -> float:
    """Seconds per sample and step of guided sampling, measured."""
    pirf.sample(guided, SAMPLER, 8)
    began = time.perf_counter()
    pirf.sample(guided, SAMPLER, HELD_OUT)
    return (time.perf_counter() - began) / (HELD_OUT * SAMPLER.steps)


if __name__ == "__main__":
    main()
