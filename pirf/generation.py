"""Ground truth in bulk: sample i of seed s into one memory-mapped file, by any number of workers.

A folder holds ``fields.npy`` of shape ``(sample, channel, *grid)``, ``facts.json`` (which call made it) and ``done.npy`` (which
chunks are written).  A chunk counts as written only after its data are on disk, so that a run that was killed goes on where it
stopped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np
from tqdm.auto import tqdm

from pirf.errors import InputError, instance, whole
from pirf.parallel import meet, rank, world
from pirf.problems import Problem

__all__ = ["generate", "reserve"]

_FIELDS, _FACTS, _DONE = "fields.npy", "facts.json", "done.npy"


def generate(
    problem: Problem,
    count: int,
    out: str | Path,
    *,
    seed: int = 0,
    workers: int = -1,
    chunk: int = 64,
    dtype: Literal["float32", "float64"] = "float32",
    progress: bool = True,
) -> Path:
    """Write samples 0 … count − 1 of ``seed`` under ``out``; the same call again resumes.  ``workers=-1`` uses all cores.

    Which worker draws what makes no difference: sample i depends on (seed, i) alone.
    """
    from joblib import Parallel, delayed

    instance("a problem", problem, Problem, hint="pirf.problems.poisson(32)")
    whole("count=10_000, workers=-1", count=count, chunk=chunk, seed=seed, workers=workers)
    if count < 1 or chunk < 1 or workers == 0:
        raise InputError(
            "at least one sample in chunks of at least one is needed",
            got=f"count={count}, chunk={chunk}, workers={workers}",
            why="there would be nothing to write",
            hint="count=10_000",
        )
    out = Path(out)
    facts = {"problem": repr(problem), "channels": list(problem.channels), "count": count, "seed": seed}
    facts |= {"chunk": chunk, "dtype": dtype}
    chunks = [range(first, min(first + chunk, count)) for first in range(0, count, chunk)]
    if rank() == 0 and not (out / _FACTS).exists():
        out.mkdir(parents=True, exist_ok=True)
        reserve(out / _FIELDS, (count, *problem.shape), dtype)
        np.save(out / _DONE, np.zeros(len(chunks), bool))
        partial = out / f".partial-{_FACTS}"
        partial.write_text(json.dumps(facts, indent=1))
        partial.replace(out / _FACTS)  # last, and at once: what has it is complete enough to resume
    meet()  # the others wait until the file is there
    if (found := json.loads((out / _FACTS).read_text())) != facts:
        different = ", ".join(f"{k}={found.get(k)!r}" for k in facts if found.get(k) != facts[k])
        raise InputError(
            f"{out} holds the data of another call",
            got=different,
            why="mixing two sets in one file would spoil both",
            hint="another out=, or the settings of the first call",
        )
    done = np.lib.format.open_memmap(out / _DONE, "r+")  # one byte per chunk, written in place: a kill cannot tear it
    missing = [i for i, written in enumerate(done) if not written][rank() :: world()]
    meet()  # all have read the same list before one of them changes it
    jobs = (delayed(_write)(problem, chunks[i], i, seed, out / _FIELDS) for i in missing)
    with tqdm(
        total=count,
        initial=sum(len(chunks[i]) for i in np.flatnonzero(done)),
        unit="sample",
        disable=not progress or rank() > 0,
    ) as bar:
        for i in Parallel(n_jobs=workers, return_as="generator_unordered")(jobs):
            done[i] = True
            done.flush()
            bar.update(len(chunks[i]))
    meet()
    return out


def reserve(path: Path, shape: Sequence[int], dtype: Literal["float32", "float64"]) -> None:
    """An ``.npy`` file of zeros with blocks of its own: writing through a map to a disk that is full ends the process."""
    np.lib.format.open_memmap(path, "w+", np.dtype(dtype), tuple(shape)).flush()
    try:
        if hasattr(os, "posix_fallocate"):  # not everywhere
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        size = path.stat().st_size
        path.unlink()
        raise InputError(
            f"room for {size} bytes is needed",
            got=error.strerror or str(error),
            why=f"they are to stand in {path}",
            hint="another folder, or fewer samples",
        ) from error


def _write(problem: Problem, indices: range, number: int, seed: int, path: Path) -> int:
    """One chunk, in whichever process."""
    file = cast("np.memmap[tuple[int, ...], np.dtype[np.float64]]", np.lib.format.open_memmap(path, "r+"))
    file[indices.start : indices.stop] = problem.sample(len(indices), seed, indices.start).numpy()
    file.flush()
    return number
