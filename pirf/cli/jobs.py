"""Verbs that train describe their call as a :class:`Job`: here it is made and its model kept, or its cost is printed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, final

import attrs
import typer

from pirf.cli.choices import say, shows_progress
from pirf.denoisers import Denoiser, storage
from pirf.errors import InputError
from pirf.parallel import rank
from pirf.training.interrupts import Interrupted
from pirf.training.plan import plan

__all__ = ["Job", "planned", "run", "train"]

P = ParamSpec("P")

_CHECKPOINTS = "checkpoints"


@final
@attrs.frozen(eq=False)
class Job:
    """A call that trains, where its model goes, what its card says (by default its own), and the figure that is printed."""

    method: Callable[..., Denoiser]
    arguments: tuple[Any, ...]
    options: Mapping[str, Any]
    out: Path | None
    facts: Mapping[str, Any]
    measure: str
    as_json: bool = False
    whole: Callable[..., Denoiser] | None = None
    """What is called, with ``out`` and ``progress``, where the call that is planned is only a part of it."""


def run(verb: Callable[P, Job]) -> Callable[P, None]:
    """The command that makes the call of a verb; when it is interrupted the checkpoint stays."""

    @wraps(verb)
    def command(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            train(verb(*arguments, **options))
        except Interrupted as stop:
            if rank() == 0:
                typer.echo(f"pirf: {stop}", err=True)
            raise typer.Exit(130) from None

    return command


def planned(verb: Callable[P, Job]) -> Callable[P, None]:
    """The command that says what the same words would cost."""

    @wraps(verb)
    def command(*arguments: P.args, **options: P.kwargs) -> None:
        job = verb(*arguments, **options)
        kept = {} if job.out is None else {"out": job.out / _CHECKPOINTS}
        log = logging.getLogger("pirf")
        level = log.level
        log.setLevel(logging.WARNING)  # trials would say over and over what a run says once
        try:
            estimate = plan(job.method, *job.arguments, **job.options, **kept)
        finally:
            log.setLevel(level)
        say(str(estimate), estimate.as_dict(), job.as_json)

    return command


def train(job: Job) -> None:
    """Make the call, with checkpoints beside the model; the first of several processes keeps the model."""
    if job.out is None:
        raise InputError(
            "a folder for the model is needed",
            got="no --out",
            why="checkpoints and the model have to stand somewhere",
            hint="--out runs/mine",
        )
    _own(job.out, "step-*" if job.whole is None else "stage-*")
    kept = {"out": job.out / _CHECKPOINTS, "progress": shows_progress()}
    model = job.whole(**kept) if job.whole is not None else job.method(*job.arguments, **job.options, **kept)
    if job.facts:  # of what the model began with, only the fields that it makes are still true
        model.card = {**{key: model.card[key] for key in ("fields",) if key in model.card}, **job.facts}
    if rank() == 0:
        storage.save(model, job.out)
    updates, seconds = int(model.history[-1]["step"]), model.history[-1]["seconds"]
    first, last = (model.history[i][job.measure] for i in (0, -1))
    say(
        f"saved to {job.out}: {job.measure} {first:.3g} → {last:.3g} in {updates} updates, {seconds:.0f} s",
        {"out": str(job.out), "updates": updates, "seconds": seconds, job.measure: [first, last], "card": model.card},
        job.as_json,
    )


def _own(out: Path, checkpoints: str) -> None:
    """Refuse to write over a model that was not made by such a call: what goes on has its checkpoints there."""
    if (out / "card.json").exists() and not any((out / _CHECKPOINTS).glob(checkpoints)):
        raise InputError(
            "a folder without another model is needed",
            got=f"--out {out}",
            why="it holds a model that this call did not begin, and would lose it",
            hint=f"--out {out}-2, or removing that folder",
        )
