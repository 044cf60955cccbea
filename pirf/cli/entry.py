"""The application and its entry point: what is refused becomes one line and an exit code, never a traceback."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn, cast

import typer

import pirf
from pirf.cli import certify, checkup, comparing, demonstration, drawing, models, reconstructing, truth
from pirf.cli.choices import say
from pirf.cli.jobs import planned, run
from pirf.cli.pretraining import pretrain
from pirf.cli.tuning import finetune
from pirf.errors import InputError, NumericalError
from pirf.parallel import rank, ranks

__all__ = ["app", "main"]

_HELP = """Fine-tune diffusion models on physics, and compare honestly.

A MODEL is a shipped name, poisson-32 say, or a folder that pirf has written. Samplers, strategies and regularizers are written
as in Python: --gradient 'LayerTruncated(LastSteps(2), stages=1)'. The same call again resumes what was stopped. Under torchrun
(torchrun --nproc_per_node=4 -m pirf finetune …) processes share the work.

Exit codes: 0 fine, 1 FAIL, 2 bad input, 3 PARTIAL, 130 interrupted.
"""

app = typer.Typer(
    name="pirf",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> bool:
    if asked:
        say(f"pirf {pirf.__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _whole(
    _: Annotated[bool, typer.Option("--version", help="print it", callback=_version, is_eager=True)] = False,
) -> None:
    pass


plans = typer.Typer(help="Estimate time and memory of a run before it begins.")
app.command()(demonstration.demo)
app.command()(certify.verify)
app.command()(truth.data)
for verb in (pretrain, finetune):
    app.command()(run(verb))
    plans.command()(planned(verb))
app.add_typer(plans, name="plan")
app.command()(drawing.sample)
app.command()(reconstructing.reconstruct)
app.command()(comparing.compare)
app.command()(models.convert)
app.command()(checkup.doctor)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the verb that the arguments (by default those of the process) name, and exit."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    with ranks():
        if code := _run(given):
            raise SystemExit(code)  # at once: the other processes may be waiting for this one
    raise SystemExit(0)


def _run(given: list[str]) -> int:
    try:
        return int(app(given, prog_name="pirf", standalone_mode=False) or 0)
    except (InputError, NumericalError) as error:
        return _refused(error)
    except typer.Abort:  # Ctrl-C, in older versions of typer
        return 130
    except OSError as error:
        return _refused(
            InputError(
                "paths that can be read and written are needed",
                got=error.filename or "no path",
                why=error.strerror or str(error),
                hint="another path, or room and permissions there",
            )
        )
    except Exception as error:
        if not isinstance(error, typer.BadParameter.__bases__):  # UsageError, wherever typer keeps it
            raise
        usage = cast(typer.BadParameter, error)
        verb = "pirf" if usage.ctx is None else usage.ctx.command_path
        return _refused(
            InputError(
                "arguments that the help describes are needed",
                got=" ".join(given),
                why=usage.format_message().rstrip(".?"),
                hint=f"{verb} --help",
            )
        )


def _refused(error: Exception) -> int:
    typer.echo(f"pirf: {error}" if rank() == 0 else f"pirf, process {rank()}: {error}", err=True)
    return 2
