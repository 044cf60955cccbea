"""``pirf compare``: models from the same noise, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pirf.cli.choices import AsJson, Device, Name, Sampling, Seed, matching, model_of, problem_of, say, shows_progress, size_of
from pirf.cli.spelling import read
from pirf.errors import InputError
from pirf.experiments import compare as side_by_side
from pirf.experiments import hardware
from pirf.parallel import rank
from pirf.samplers import Sampler

__all__ = ["compare"]


def compare(
    name: Name,
    model: Annotated[list[str], typer.Option(help="a shipped name or a folder; repeat for several", metavar="MODEL")],
    sampler: Sampling = "Heun(steps=20)",
    samples: Annotated[int, typer.Option(help="of every model", metavar="NUMBER")] = 256,
    seed: Seed = 1_000_000,
    report: Annotated[Path | None, typer.Option(help="write a self-contained HTML page here", metavar="FILE")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Sample models from the same noise, measure physics and fidelity, and print the table."""
    chosen, models = read(sampler, Sampler), {one: model_of(one, device) for one in model}
    problem = problem_of(name, size_of(next(iter(models.values()))))
    for one, network in models.items():
        matching(network, problem, one)
    if samples < 2:
        raise InputError(
            "two samples or more are needed", got=f"--samples {samples}", why="laws are compared", hint="--samples 256"
        )
    table = side_by_side(problem, models, sampler=chosen, samples=samples, seed=seed, progress=shows_progress())
    page = table.report(report) if report is not None and rank() == 0 else None
    facts = {"problem": repr(problem), "sampler": repr(chosen), "samples": samples, "seed": seed, "hardware": hardware()}
    facts |= {"report": None if page is None else str(page)}
    text = f"{table}" if page is None else f"{table}\nreport: {page}"
    say(text, {**facts, "rows": [row.as_dict() for row in table.rows]}, as_json)
