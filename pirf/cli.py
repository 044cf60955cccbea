"""Thin verbs over the Python API.  Bad input exits with 2 and one line, FAIL with 1, PARTIAL with 3."""

from __future__ import annotations

import json
import logging
import runpy
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from pirf import presets
from pirf.denoisers import storage
from pirf.errors import InputError, NumericalError
from pirf.experiments import compare as compare_models
from pirf.generation import generate
from pirf.grids import Grid
from pirf.problems import Problem, catalogue
from pirf.rewards import ResidualReward
from pirf.samplers import Heun
from pirf.verify import Certificate
from pirf.verify import verify as certify

__all__ = ["app", "main"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Name = Annotated[str, typer.Argument(help=f"one of: {', '.join(catalogue)}")]
Size = Annotated[int, typer.Option(help="points per axis")]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def _problem(name: str, n: int) -> Problem:
    if name not in catalogue:
        raise InputError(
            "a known problem is needed", got=repr(name), why="the name is not in the list", hint=", ".join(catalogue)
        )
    return catalogue[name](n)


def _own(place: str, n: int) -> Certificate:
    """The certificate of ``file.py:name``; ``truth``, ``solve`` and ``exact`` in the same file are the evidence."""
    path, _, name = place.rpartition(":")
    if not Path(path).is_file():
        raise InputError("file.py:name is needed", got=place, why="there is no such file", hint="my_module.py:Screened")
    module = runpy.run_path(path)
    if name not in module:
        raise InputError(f"a name in {path} is needed", got=repr(name), why="the file has none", hint="file.py:name")
    subject = module[name]
    if isinstance(subject, type):
        try:
            subject = subject(Grid.square(n))
        except TypeError as error:
            raise InputError(
                f"{name}(grid) must be all that makes a reward",
                got=str(error),
                why="the grid is all that is known",
                hint="a function of n",
            ) from error
    elif not isinstance(subject, Problem | ResidualReward) and callable(subject):
        subject = subject(n)
    if isinstance(subject, Problem):
        return certify(subject)
    if not isinstance(subject, ResidualReward):
        raise InputError(
            "a reward with a residual, a problem or a function of n that makes one is needed",
            got=f"{name} = {type(subject).__name__}",
            why="only a residual can be certified",
            hint="a subclass of pirf.PDEReward",
        )
    truth = module.get("truth")
    return certify(subject, truth=truth(n) if callable(truth) else truth, solver=module.get("solve"), exact=module.get("exact"))


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help=f"one of: {', '.join(catalogue)}; or your own, file.py:name")],
    n: Size = 32,
    published: Annotated[str | None, typer.Option(help="judge a published residual instead: pirf, diffusionpde, pidm")] = None,
    released: Annotated[bool, typer.Option("--released", help="the same as --published pirf")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the certificate of a problem's reward, or of a reward, problem or function of n in a file of yours."""
    method = "pirf" if released else published
    if ":" in name and method is None:
        _show(_own(name, n), as_json)
    problem = _problem(name, n)
    if method is not None and method not in problem.published:
        raise InputError(
            f"one of the published residuals of {problem.name} is needed",
            got=repr(method),
            why="no other is reproduced for it",
            hint=" or ".join(problem.published) or "leaving --published out",
        )
    _show(certify(problem, reward=None if method is None else problem.published[method]), as_json)


def _show(certificate: Certificate, as_json: bool) -> NoReturn:
    typer.echo(json.dumps(certificate.as_dict(), indent=1) if as_json else str(certificate))
    raise typer.Exit(certificate.exit_code)


@app.command()
def data(
    name: Name,
    out: Annotated[Path, typer.Option(help="folder for fields.npy; the same call again resumes")],
    count: Annotated[int, typer.Option(help="number of samples")],
    n: Size = 32,
    seed: int = 0,
    workers: Annotated[int, typer.Option(help="processes; -1 for all cores")] = -1,
) -> None:
    """Write ground truth in bulk: sample i depends on (seed, i) alone."""
    folder = generate(_problem(name, n), count, out, seed=seed, workers=workers)
    typer.echo(f"{count} samples in {folder / 'fields.npy'}")


@app.command()
def pretrain(
    name: Name,
    out: Annotated[Path, typer.Option(help="folder for the model; checkpoints go beside it, and the same call resumes")],
    n: Size = 32,
    seconds: Annotated[float | None, typer.Option(help="training time, instead of the recipe's")] = None,
) -> None:
    """Train a base model by the recipe of the shipped one."""
    model = presets.base_model(_problem(name, n), out=out / "checkpoints", seconds=seconds)
    storage.save(model, out)
    figures = model.card["figures"]["base"]["adherence"]
    typer.echo(f"saved to {out}: ρ {figures['rho']:.3g}, re-solve error {100 * figures['resolve']:.2g} %")


@app.command()
def compare(
    name: Name,
    model: Annotated[list[str], typer.Option(help="a shipped name or a folder; repeat for several")],
    n: Size = 32,
    steps: int = 20,
    samples: int = 256,
    report: Annotated[Path | None, typer.Option(help="write a self-contained HTML page here")] = None,
) -> None:
    """Sample models from the same noise and print the table."""
    problem = _problem(name, n)
    table = compare_models(problem, {m: storage.load(m) for m in model}, sampler=Heun(steps=steps), samples=samples)
    typer.echo(str(table))
    if report is not None:
        typer.echo(f"report: {table.report(report)}")


def main() -> None:
    """Entry point: our own refusals become one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        app()
    except (InputError, NumericalError) as error:
        typer.echo(f"pirf: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
