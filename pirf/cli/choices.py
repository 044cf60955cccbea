"""What several verbs ask for, in the same words: problems, models, sizes, devices, and how answers are printed."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import torch
import typer

from pirf.denoisers import Denoiser, storage
from pirf.errors import InputError
from pirf.parallel import rank
from pirf.problems import Problem, catalogue

__all__ = [
    "AsJson",
    "Device",
    "Model",
    "Name",
    "Sampling",
    "Seed",
    "Size",
    "device_of",
    "matching",
    "model_of",
    "one_of",
    "problem_of",
    "say",
    "shows_progress",
    "size_of",
]

Name = Annotated[str, typer.Argument(help=f"one of: {', '.join(catalogue)}", metavar="PROBLEM")]
Model = Annotated[str, typer.Argument(help="a shipped name or a folder", metavar="MODEL")]
Size = Annotated[int, typer.Option(help="points per axis", metavar="POINTS")]
Sampling = Annotated[str, typer.Option(help="such as 'Multistep(steps=40, schedule=EDM(rho=5))'", metavar="CODE")]
Seed = Annotated[int, typer.Option(help="of all noise", metavar="NUMBER")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; a GPU, where there is one", metavar="NAME")]

T = TypeVar("T")


def one_of(option: str, name: str, known: Mapping[str, T]) -> T:
    """What a name on the command line stands for."""
    if name not in known:
        raise InputError(
            f"a known {option} is needed", got=repr(name), why="the name is not in the list", hint=", ".join(known)
        )
    return known[name]


def problem_of(name: str, n: int) -> Problem:
    """A problem of the catalogue."""
    return one_of("problem", name, catalogue)(n)


def model_of(name: str, device: str | None = None) -> Denoiser:
    """A model on its device."""
    return storage.load(name).to(device_of(device))


def matching(model: Denoiser, problem: Problem, name: str) -> Problem:
    """The problem, if the model makes fields of its shape."""
    if model.shape != problem.shape:
        raise InputError(
            f"a model of fields with shape {problem.shape} is needed",
            got=f"{name} with {model.shape}",
            why=f"that is what {problem!r} has",
            hint=f"--n {size_of(model)}, or a model of this problem",
        )
    return problem


def device_of(name: str | None) -> torch.device:
    """The device that was named, or the first GPU, or the CPU."""
    found = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=found).device
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without the device
        raise InputError(
            "a device of this machine is needed",
            got=repr(found),
            why=str(error).splitlines()[0].rstrip("."),
            hint="--device cpu",
        ) from error


def size_of(model: Denoiser) -> int:
    """Points per axis of what a model makes."""
    return model.shape[-1]


def say(text: str, data: Mapping[str, Any] | None = None, as_json: bool = False) -> None:
    """Print for a reader or, as JSON, for a program; only one of several processes does."""
    if rank() == 0:
        typer.echo(json.dumps(_plain(data), indent=1) if as_json else text)


def shows_progress() -> bool:
    """Bars are for terminals."""
    return sys.stderr.isatty()


def _plain(data: Any) -> Any:
    """The same in what JSON can hold: it knows no NaN."""
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
