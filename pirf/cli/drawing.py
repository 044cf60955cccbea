"""``pirf sample``: fields from a model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from pirf.cli.choices import AsJson, Device, Model, Sampling, Seed, model_of, say, shows_progress
from pirf.cli.spelling import read
from pirf.errors import InputError
from pirf.generation import reserve
from pirf.inference import sample as draw
from pirf.parallel import rank
from pirf.samplers import Sampler

__all__ = ["npy", "sample"]

_TOGETHER = 1024


def npy(path: Path) -> Path:
    """A path that ends in .npy, its folder made."""
    if path.suffix != ".npy":
        raise InputError(
            "a file that ends in .npy is needed", got=str(path), why="an array is written", hint=f"{path.stem}.npy"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def sample(
    model: Model,
    out: Annotated[Path, typer.Option(help="an .npy file for (sample, channel, *grid), physical units", metavar="FILE")],
    count: Annotated[int, typer.Option(help="number of samples", metavar="NUMBER")] = 64,
    sampler: Sampling = "Heun(steps=20)",
    seed: Seed = 0,
    start: Annotated[int, typer.Option(help="number of the first sample", metavar="NUMBER")] = 0,
    batch: Annotated[int, typer.Option(help="samples in memory at a time", metavar="NUMBER")] = 64,
    device: Device = None,
    as_json: AsJson = False,
) -> None:
    """Draw fields from a model: sample i depends on (seed, i) alone."""
    chosen, network, began = read(sampler, Sampler), model_of(model, device), time.perf_counter()
    if count < 1 or start < 0:
        raise InputError(
            "one sample or more, from an index of 0 or more, are needed",
            got=f"--count {count} --start {start}",
            why="samples are addressed by index",
            hint="--count 64",
        )
    partial = npy(out).with_suffix(f".partial-{rank()}")
    try:
        if rank() == 0:
            reserve(partial, (count, *network.shape), "float32")
        file = np.lib.format.open_memmap(partial, "r+") if rank() == 0 else None
        for first in range(0, count, _TOGETHER):
            here = min(_TOGETHER, count - first)
            fields = draw(network, chosen, here, seed, start + first, batch=batch, progress=shows_progress())
            if file is not None:
                file[first : first + here] = fields.cpu().float().numpy()
        if file is not None:
            file.flush()
            partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    spent = time.perf_counter() - began
    facts = {"path": str(out), "shape": [count, *network.shape], "sampler": repr(chosen), "seed": seed, "start": start}
    say(f"{count} samples of {model} in {out}, {spent:.1f} s", {**facts, "seconds": spent}, as_json)
