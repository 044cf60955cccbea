"""``pirf pretrain``: a base model by the recipe of the shipped ones, or by settings and from data of one's own."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pirf import presets
from pirf.cli.choices import AsJson, Device, Size, device_of, model_of, one_of, problem_of
from pirf.cli.jobs import Job
from pirf.cli.spelling import read
from pirf.cli.tuning import OPTIMIZERS, PRECISIONS
from pirf.data import Source, Stored
from pirf.denoisers import UNet
from pirf.errors import InputError
from pirf.files import read as read_file
from pirf.problems import Problem, catalogue
from pirf.scaling import Colour
from pirf.training import Rate
from pirf.training import pretrain as train

__all__ = ["pretrain"]


def pretrain(
    name: Annotated[
        str | None, typer.Argument(help=f"one of: {', '.join(catalogue)}; not needed with --data", metavar="[PROBLEM]")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="folder for the model; the same call again resumes", metavar="FOLDER")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(help="train on files or on folders of pirf data, .npy .h5 .npz .mat; repeat for several", metavar="PATH"),
    ] = None,
    channels: Annotated[
        list[str] | None, typer.Option(help="name of a channel in the file; repeat, in order", metavar="NAME")
    ] = None,
    n: Size = 32,
    model: Annotated[str | None, typer.Option(help="go on from this model", metavar="MODEL")] = None,
    steps: Annotated[int | None, typer.Option(help="updates", metavar="NUMBER")] = None,
    seconds: Annotated[float | None, typer.Option(help="of training; alone, of the recipe's length")] = None,
    batch: Annotated[int | None, typer.Option(help="samples per update", metavar="NUMBER")] = None,
    micro: Annotated[int | None, typer.Option(help="samples in memory at a time", metavar="NUMBER")] = None,
    lr: Annotated[float | None, typer.Option(help="learning rate")] = None,
    optimizer: Annotated[str | None, typer.Option(help=", ".join(OPTIMIZERS), metavar="NAME")] = None,
    rate: Annotated[str | None, typer.Option(help="of the learning rate: Constant() or Cosine()", metavar="CODE")] = None,
    clip: Annotated[float | None, typer.Option(help="largest norm of a gradient")] = None,
    precision: Annotated[str | None, typer.Option(help="of the network: bfloat16, float16", metavar="NAME")] = None,
    colour: Annotated[str | None, typer.Option(help="of the noise, such as 'Matern(length=0.1)'", metavar="CODE")] = None,
    seed: Annotated[int | None, typer.Option(help="of weights, noise and order", metavar="NUMBER")] = None,
    device: Device = None,
    as_json: AsJson = False,
) -> Job:
    """Train a base model: by the recipe of the shipped one, or as the options say.

    For example:

    pirf pretrain poisson --out runs/base --seconds 600

    pirf pretrain --data fields.npy --steps 5000 --out runs/mine
    """
    given: dict[str, Any] = {"steps": steps, "seconds": seconds, "batch": batch, "micro": micro, "lr": lr, "clip": clip}
    given |= {
        "seed": seed,
        "optimizer": None if optimizer is None else one_of("optimizer", optimizer, OPTIMIZERS),
        "rate": None if rate is None else read(rate, Rate),
        "precision": None if precision is None else one_of("precision", precision, PRECISIONS),
        "colour": None if colour is None else read(colour, Colour),
    }
    own = {key: value for key, value in given.items() if value is not None}
    problem = None if name is None else problem_of(name, n)
    if problem is not None and not data and model is None and not own.keys() - {"seconds"}:
        # By its stages, of which the first is what is planned.
        begun = (problem, UNet(problem.shape, problem.scaling).to(device_of(device)))
        whole = partial(presets.base_model, problem, seconds=seconds)
        return Job(train, begun, {**presets.stages(problem)[0], **own}, out, {}, "loss", as_json, whole)
    source = _source(data or [], channels, problem)
    start = (
        UNet(source.shape, source.scaling, seed=seed or 0).to(device_of(device)) if model is None else model_of(model, device)
    )
    if start.shape != source.shape:
        raise InputError(
            f"a model of fields with shape {source.shape} is needed",
            got=f"{model} with {start.shape}",
            why="that is what it is to learn",
            hint="leaving --model out",
        )
    said = {key: value if isinstance(value, int | float) else repr(value) for key, value in own.items()}
    facts = {"source": repr(source), "begun": model or "fresh weights", "pretrain": said, "base": start.card}
    if problem is not None:
        known = {key: value for key, value in problem.facts.items() if key != "units"}  # which are fitted to the data
        facts |= {"problem": repr(problem)} | ({"fields": known} if data else {})
    return Job(train, (source, start), own, out, facts, "loss", as_json)


def _source(paths: list[Path], channels: list[str] | None, problem: Problem | None) -> Source:
    if not paths:
        if problem is None:
            raise InputError(
                "a problem or data are needed",
                got="neither",
                why="fields have to come from somewhere",
                hint="--data fields.npy",
            )
        return problem
    archive = len(paths) == 1 and paths[0].suffix in (".npz", ".mat")
    source: Source = read_file(paths[0], channels) if archive else Stored(paths, channels=cast(Any, channels or None))
    if problem is not None and source.shape != problem.shape:
        raise InputError(
            f"fields of shape {problem.shape} are needed for {problem!r}",
            got=source.shape,
            why="channels and points are those of the problem",
            hint="--n of the data, or --data without a problem",
        )
    for path in paths if problem is not None else ():
        made = json.loads(told.read_text()).get("problem") if (told := path / "facts.json").is_file() else repr(problem)
        if made != repr(problem):
            raise InputError(
                f"data of {problem!r} are needed",
                got=f"{path} of {made}",
                why="its facts.json says so, and the model's card would name another equation",
                hint="the problem of the data, or --data without a problem",
            )
    return source
