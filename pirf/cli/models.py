"""``pirf convert``: a checkpoint of another library becomes a folder that every other verb takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pirf.cli.choices import AsJson, say
from pirf.cli.spelling import read
from pirf.denoisers import storage
from pirf.denoisers.conversion import convert as converted
from pirf.scaling import Scaling

__all__ = ["convert"]


def convert(
    path: Annotated[Path, typer.Argument(help="an EDM or DiffusionPDE checkpoint, .pkl or .pt", metavar="FILE")],
    out: Annotated[Path, typer.Argument(help="folder for the model", metavar="FOLDER")],
    scaling: Annotated[
        str | None, typer.Option(help="the units it was trained in: 'Scaling(shift=(0, 0), scale=(1, 2))'", metavar="CODE")
    ] = None,
    channels: Annotated[list[str] | None, typer.Option(help="name of a channel; repeat, in order", metavar="NAME")] = None,
    memory: Annotated[float, typer.Option(help="GiB that reading may take", metavar="NUMBER")] = 2.0,
    seconds: Annotated[float, typer.Option(help="of processor time that reading may take", metavar="NUMBER")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Convert a checkpoint of another library. None of the code in the file is run."""
    units = None if scaling is None else read(scaling, Scaling)
    folder = converted(path, out, scaling=units, channels=channels or (), memory=memory, seconds=seconds)
    model = storage.load(folder)
    shape = "×".join(map(str, model.shape))
    facts = {"path": str(folder), "shape": list(model.shape), "card": model.card}
    say(f"{path} is now {folder}: fields of {shape}, {model.card['parameters']:,} weights", facts, as_json)
