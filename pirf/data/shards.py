r"""Files of fields, read by the row: sample i of a plain file lies at byte :math:`o + i s`, and nothing else is touched.

Rows are read at their places in the file, all of them announced to the kernel first, rather than copied out of a memory map:
announced reads overlap, where a map waits for one page fault after another (``benchmarks/data_path.py`` measures both); a file
that is cut short ends in one line, where a map ends the process; and no file stays open, where a map holds one for each shard.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np
from numpy.typing import NDArray

from pirf.errors import InputError

__all__ = ["Plain", "Row", "Shard", "Side", "complete", "npy"]

Array = NDArray[Any]
Row = tuple[int, Array]
"""A sample's number in its file, and the array ``(1, channel, *grid)`` that it is read into."""


@attrs.frozen
class Shard(ABC):
    """Samples in one file, their first axis."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @abstractmethod
    def read(self, rows: Sequence[Row]) -> None:
        """Fill the arrays; the numbers ascend."""

    def announce(self, numbers: Sequence[int]) -> None:
        """Samples that are about to be read, where that helps."""

    def __len__(self) -> int:
        return self.shape[0]


@final
@attrs.frozen
class Plain(Shard):
    """Samples one after another from byte ``offset`` on."""

    offset: int

    def read(self, rows: Sequence[Row]) -> None:
        """At their places."""
        with self.path.open("rb", buffering=0) as file:
            for row, into in rows:
                file.seek(self.offset + row * self._size)
                if file.readinto(into.data) != self._size:
                    raise InputError(
                        f"{len(self)} samples are needed in {self.path}",
                        got=f"an end within sample {row}",
                        why="the file is shorter than when it was opened",
                        hint="finishing to write a set before training on it",
                    )

    def announce(self, numbers: Sequence[int]) -> None:
        """The kernel begins to fetch them, and does not wait."""
        if hasattr(os, "posix_fadvise"):  # not everywhere
            with self.path.open("rb", buffering=0) as file:
                for row in numbers:
                    os.posix_fadvise(file.fileno(), self.offset + row * self._size, self._size, os.POSIX_FADV_WILLNEED)

    @property
    def _size(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


@final
@attrs.frozen
class Side(Shard):
    """The channels of several shards side by side."""

    parts: tuple[Shard, ...]

    @classmethod
    def by(cls, parts: Sequence[Shard]) -> Shard:
        """These, of one shape but for the channels."""
        if len(parts) == 1:
            return parts[0]
        first = parts[0]
        shape = (len(first), sum(part.shape[1] for part in parts), *first.shape[2:])
        return cls(first.path, shape, first.dtype, tuple(parts))

    def read(self, rows: Sequence[Row]) -> None:
        """Each part its channels."""
        channel = 0
        for part in self.parts:
            mine = slice(channel, channel := channel + part.shape[1])
            part.read([(row, into[:, mine]) for row, into in rows])

    def announce(self, numbers: Sequence[int]) -> None:
        """To each part."""
        for part in self.parts:
            part.announce(numbers)


def npy(path: Path) -> Shard:
    """An ``.npy`` file; its header is all that is read."""
    array = np.lib.format.open_memmap(path, mode="r")
    if not array.flags.c_contiguous:
        raise InputError(
            f"the samples of {path} one after another are needed",
            got="Fortran order, every sample strewn over the file",
            why="one batch would read all of it",
            hint="np.save of np.ascontiguousarray(array)",
        )
    return Plain(path, array.shape, array.dtype, int(array.offset))


def complete(path: Path) -> Path:
    """The file itself, ``fields.npy`` of a folder; refused while :func:`pirf.generate` has not written all of it."""
    if path.is_dir():
        path = path / "fields.npy"
    done = path.with_name("done.npy")
    if path.name == "fields.npy" and done.is_file() and not (written := np.load(done)).all():
        raise InputError(
            f"all samples of {path} are needed",
            got=f"{int(written.sum())} of {len(written)} chunks",
            why="the others hold zeros until they are written",
            hint="the same pirf.generate or pirf data once more, as facts.json beside it says: it resumes",
        )
    return path
