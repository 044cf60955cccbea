"""``pirf data``: ground truth in bulk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pirf.cli.choices import AsJson, Name, Seed, Size, problem_of, say, shows_progress
from pirf.errors import InputError
from pirf.generation import generate

__all__ = ["data"]


def data(
    name: Name,
    out: Annotated[Path, typer.Option(help="folder for fields.npy; the same call again resumes")],
    count: Annotated[int, typer.Option(help="number of samples", metavar="NUMBER")],
    n: Size = 32,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(help="processes; -1 for all cores", metavar="NUMBER")] = -1,
    as_json: AsJson = False,
) -> None:
    """Write ground truth in bulk: sample i depends on (seed, i) alone."""
    problem = problem_of(name, n)
    if workers == 0:
        raise InputError("a process or more is needed", got="--workers 0", why="somebody has to do it", hint="--workers -1")
    path = generate(problem, count, out, seed=seed, workers=workers, progress=shows_progress()) / "fields.npy"
    facts = {"path": str(path), "problem": repr(problem), "shape": [count, *problem.shape], "seed": seed}
    say(f"{count} samples of {problem!r} in {path}", facts, as_json)
