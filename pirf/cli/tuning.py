"""``pirf finetune``: the options of :func:`pirf.finetune`, and the handover."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import bfloat16, dtype, float16, float32, optim

from pirf.backprop import GradientStrategy
from pirf.cli.choices import AsJson, Device, Name, Sampling, matching, model_of, one_of, problem_of, size_of
from pirf.cli.jobs import Job
from pirf.cli.objectives import reward_of
from pirf.cli.spelling import read
from pirf.denoisers import Denoiser, Handover
from pirf.denoisers.cards import fields_of
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.parallel import rank
from pirf.problems import Problem
from pirf.regularizers import Regularizer
from pirf.samplers import Chain, Sampler
from pirf.training import Muon, Rate
from pirf.training import finetune as tune

__all__ = ["OPTIMIZERS", "PRECISIONS", "finetune"]

OPTIMIZERS: Mapping[str, Any] = {"Adam": optim.Adam, "AdamW": optim.AdamW, "SGD": optim.SGD, "Muon": Muon}
PRECISIONS: Mapping[str, dtype] = {"bfloat16": bfloat16, "float16": float16, "float32": float32}
_log = logging.getLogger(__name__)
_MEMORY, _SPLIT = "Time and memory", "Handover"


def finetune(
    name: Name,
    model: Annotated[str, typer.Option(help="a shipped name or a folder", metavar="MODEL")],
    out: Annotated[
        Path | None, typer.Option(help="folder for the model; the same call again resumes", metavar="FOLDER")
    ] = None,
    gradient: Annotated[str, typer.Option(help="how the reward reaches the weights", metavar="CODE")] = "LastSteps(1)",
    sampler: Sampling = "Heun(steps=20)",
    regularizer: Annotated[str | None, typer.Option(help="such as 'WeightAnchor(1e-3)'", metavar="CODE")] = None,
    reward: Annotated[
        str,
        typer.Option(
            help="residual; given: no gradient into what the problem takes as given; balanced: decades gained on the untuned"
            " model; or your own, file.py:name",
            metavar="NAME|FILE.PY:NAME",
        ),
    ] = "residual",
    steps: Annotated[int | None, typer.Option(help="updates", metavar="NUMBER")] = None,
    seconds: Annotated[float | None, typer.Option(help="of training, instead of updates or beside them")] = None,
    batch: Annotated[int, typer.Option(help="samples per update", metavar="NUMBER")] = 8,
    lr: Annotated[float, typer.Option(help="learning rate")] = 1e-4,
    optimizer: Annotated[str, typer.Option(help=", ".join(OPTIMIZERS), metavar="NAME")] = "Adam",
    rate: Annotated[str, typer.Option(help="of the learning rate: Constant() or Cosine()", metavar="CODE")] = "Cosine()",
    half_life: Annotated[float, typer.Option(help="of the weights' average, as a share of the run so far")] = 0.05,
    clip: Annotated[float | None, typer.Option(help="largest norm of a gradient")] = None,
    seed: Annotated[int, typer.Option(help="of all noise", metavar="NUMBER")] = 0,
    handover: Annotated[
        bool, typer.Option("--handover", help="tune a copy for the graded steps alone", rich_help_panel=_SPLIT)
    ] = False,
    reads_given: Annotated[
        bool,
        typer.Option("--reads-given", help="that sees what the problem takes as given, nothing else", rich_help_panel=_SPLIT),
    ] = False,
    floor: Annotated[float, typer.Option(help="and is asked as at this noise level or above", rich_help_panel=_SPLIT)] = 0.0,
    tail_stages: Annotated[
        int | None,
        typer.Option(help="or shares all but its last stages with the base", metavar="NUMBER", rich_help_panel=_SPLIT),
    ] = None,
    pool: Annotated[
        int, typer.Option(help="states of the base that are stored", metavar="NUMBER", rich_help_panel=_SPLIT)
    ] = 1024,
    spill: Annotated[bool, typer.Option("--spill", help="on disk, not in memory", rich_help_panel=_SPLIT)] = False,
    micro: Annotated[
        int | None, typer.Option(help="samples graded at a time", metavar="NUMBER", rich_help_panel=_MEMORY)
    ] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="keep the inputs of graded evaluations only", rich_help_panel=_MEMORY)
    ] = False,
    replay: Annotated[int, typer.Option(help="updates on one prefix", metavar="NUMBER", rich_help_panel=_MEMORY)] = 1,
    prefix: Annotated[
        str | None, typer.Option(help="sampler of the ungraded steps", metavar="CODE", rich_help_panel=_MEMORY)
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="of ungraded networks: bfloat16, float16", metavar="NAME", rich_help_panel=_MEMORY)
    ] = None,
    graded_precision: Annotated[
        str | None, typer.Option(help="of graded networks", metavar="NAME", rich_help_panel=_MEMORY)
    ] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> Job:
    """Fine-tune a model on the residual of a problem (PIRF), or on any reward.

    For example:

    pirf finetune poisson --model poisson-32 --gradient 'LastSteps(2)' --steps 500 --out runs/poisson
    """
    base = model_of(model, device)
    problem = matching(base, problem_of(name, size_of(base)), model)
    chosen, strategy = read(sampler, Sampler), read(gradient, GradientStrategy)
    options = {
        "sampler": chosen,
        "gradient": strategy,
        "regularizer": None if regularizer is None else read(regularizer, Regularizer),
        "optimizer": one_of("optimizer", optimizer, OPTIMIZERS),
        "rate": read(rate, Rate),
        "prefix": None if prefix is None else read(prefix, Sampler),
        "precision": None if precision is None else one_of("precision", precision, PRECISIONS),
        "graded_precision": None if graded_precision is None else one_of("precision", graded_precision, PRECISIONS),
        **{"steps": steps, "seconds": seconds, "batch": batch, "micro": micro, "lr": lr, "half_life": half_life, "clip": clip},
        **{"recompute": recompute, "replay": replay, "pool": pool, "spill": spill, "seed": seed},
    }
    wanted = reward_of(reward, problem, base, chosen)
    start = _split(base, problem, chosen, strategy, reads_given, floor, tail_stages) if handover else base
    said = {key: value if isinstance(value, int | float | None) else repr(value) for key, value in options.items()}
    facts = {"problem": repr(problem), "begun": model, "reward": repr(wanted), "finetune": said, "base": base.card}
    _told_apart(base, problem, model)
    return Job(tune, (start, wanted), options, out, facts, "score", as_json)


def _told_apart(base: Denoiser, problem: Problem, model: str) -> None:
    """Another equation than that of the model's fields may be meant, or mistyped."""
    others = sorted({str(known.get("problem", problem.name)) for known in fields_of(base)} - {problem.name})
    if others and rank() == 0:
        _log.warning(
            "%s makes fields of %s: its card will go on to say so, tuned on %s", model, ", ".join(others), problem.name
        )


def _split(
    base: Denoiser,
    problem: Problem,
    sampler: Sampler,
    strategy: GradientStrategy,
    reads_given: bool,
    floor: float,
    stages: int | None,
) -> Handover:
    """The base for all steps but those that the strategy grades; the copy writes what the problem solves for."""
    if isinstance(base, Handover):
        raise InputError(
            "a model without a handover is needed to split",
            got="one with a handover",
            why="its tail would be a tail's base",
            hint="leaving --handover out: the tail it has is tuned on",
        )
    graded = sampler.steps - strategy.first_graded(Chain(sampler, base, Noise(0)))
    reads = problem.given if reads_given else None
    return Handover.split(base, sampler.before_last(graded), problem.solved, reads, floor, stages)
