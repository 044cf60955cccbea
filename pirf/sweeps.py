r"""Ablations and leaderboards: every cell of a grid of choices measured once, kept on disk, summed up over seeds.

``sweep(measure, cells, out)`` calls ``measure(**cell)`` for every cell that is not in ``out`` yet.  It can be stopped at any
time and goes on where it was; several processes may work on the same folder.  What a cell is called by is the ``repr`` of its
choices, which is code for every frozen value of this package.

*Intervals.*  Differences between two rows are paired, seed by seed: the mean of d ± t₀.₉₇₅ s_d/√n.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import mean, stdev
from typing import Any, final

import attrs
from scipy import stats
from torch import Tensor, nn
from tqdm.auto import tqdm

from pirf.errors import InputError

__all__ = ["Interval", "interval", "paired", "sweep"]

Figures = Mapping[str, Any]


@final
@attrs.frozen
class Interval:
    """A mean and half the width of its 95 % interval, NaN for a single value."""

    mean: float
    half: float
    count: int

    def __str__(self) -> str:
        if math.isnan(self.half):
            return f"{self.mean:.3g}"
        return (
            f"{self.mean:.3g} ± {self.half:.{1 if self.half < 1 else 2}g}"
            if self.half < 100
            else f"{self.mean:.3g} ± {self.half:.0f}"
        )

    @property
    def excludes_zero(self) -> bool:
        """Whether the sign is settled."""
        return abs(self.mean) > self.half


def interval(values: Sequence[float]) -> Interval:
    """Student's, over seeds."""
    if not values:
        raise InputError("at least one value is needed", got="none", why="nothing was measured", hint="the seeds that exist")
    count = len(values)
    half = float(stats.t.ppf(0.975, count - 1)) * stdev(values) / math.sqrt(count) if count > 1 else math.nan
    return Interval(mean(values), half, count)


def paired(ours: Mapping[object, float], theirs: Mapping[object, float]) -> Interval:
    """Ours − theirs over the seeds that both have."""
    return interval([ours[seed] - theirs[seed] for seed in ours if seed in theirs])


def sweep(
    measure: Callable[..., Figures],
    cells: Iterable[Mapping[str, object]],
    out: str | Path,
    *,
    identity: str = "",
    known_only: bool = False,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """One dict per cell, its choices and what ``measure`` found; figures must be JSON.

    ``identity`` is what all cells share and must not have changed (a base model's fingerprint, a budget): cells of another one
    are measured again.  With ``known_only`` nothing is measured.
    """
    out, rows = Path(out), []
    for cell in tqdm(list(cells), desc="cells", leave=False, disable=not progress):
        path = _place(out, cell)
        found = _read(path, identity)
        if found is None and not known_only:
            found = dict(measure(**cell))
            _write(path, {"cell": {k: _text(v) for k, v in cell.items()}, "identity": identity, "figures": found})
        if found is not None:
            rows.append({**cell, **found})
    return rows


def _text(value: object) -> object:
    if isinstance(value, str | int | float | bool):
        return value
    text = repr(value)
    if isinstance(value, nn.Module | Tensor) or " at 0x" in text:
        raise InputError(
            "choices that say by their repr what they are, are needed",
            got=type(value).__name__ if isinstance(value, nn.Module | Tensor) else text,
            why="a cell is found again by it, and another one would be taken for this",
            hint='{"model": "base"}, a name, and models[model] inside measure',
        )
    return text


def _place(out: Path, cell: Mapping[str, object]) -> Path:
    text = json.dumps({k: _text(v) for k, v in cell.items()}, sort_keys=True)
    words = "-".join("".join(c if c.isalnum() else "-" for c in str(_text(v)))[:24].strip("-") for v in cell.values())
    return out / f"{words}-{blake2b(text.encode(), digest_size=4).hexdigest()}.json"


def _read(path: Path, identity: str) -> dict[str, Any] | None:
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text())
    return dict(record["figures"]) if record["identity"] == identity else None


def _write(path: Path, record: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    try:
        text = json.dumps(record, indent=1) + "\n"
    except TypeError as error:
        raise InputError(
            "figures that are JSON are needed", got=str(error), why="a cell is kept as a file", hint="float(tensor)"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)
