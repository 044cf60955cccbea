"""Many files as one array: its rows in any order, each file read in its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.data.base import finite
from pirf.data.hdf5 import hdf5
from pirf.data.shards import Shard, complete, npy
from pirf.errors import InputError

__all__ = ["Rows", "evenly", "opened"]


@final
@attrs.frozen(eq=False)
class Rows:
    """The samples of several files of one kind, one file after another."""

    shards: tuple[Shard, ...]

    def __len__(self) -> int:
        return sum(map(len, self.shards))

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self.shards[0].shape[1:]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """What samples are handed out in: half precision has no room for arithmetic, and becomes single."""
        found = self.shards[0].dtype
        return np.dtype(np.float32) if found.itemsize < 4 else found.newbyteorder("=")

    def read(self, numbers: NDArray[np.int64]) -> Tensor:
        """These samples, in this order."""
        values = np.empty((len(numbers), *self.shape), self.shards[0].dtype)
        found = list(self._located(numbers))
        for shard, rows, _ in found:  # all of them before the first is read, so that the disk serves them together
            shard.announce(rows)
        for shard, rows, places in found:
            shard.read([(row, values[k : k + 1]) for row, k in zip(rows, places, strict=True)])
        samples = torch.from_numpy(values.astype(self.dtype, copy=False))
        if not finite(samples):
            spoiled = ~samples.reshape(len(samples), -1).isfinite().all(1).numpy()
            shard, rows, _ = next(self._located(numbers[spoiled]))
            raise InputError(
                "training needs finite fields",
                got=f"NaN or infinity in sample {rows[0]} of {shard.path}",
                why="it would spoil every weight",
                hint="np.isfinite on the file, a thousand samples at a time, to find all of them",
            )
        return samples

    def digest(self) -> bytes:
        """A hash of at most 64 samples of every file."""
        found = blake2b(digest_size=16)
        for shard in self.shards:
            numbers = evenly(len(shard), 64).tolist()
            values = np.empty((len(numbers), *self.shape), shard.dtype)
            shard.announce(numbers)
            shard.read([(row, values[k : k + 1]) for k, row in enumerate(numbers)])
            found.update(values.tobytes())
        return found.digest()

    def _located(self, numbers: NDArray[np.int64]) -> Iterator[tuple[Shard, list[int], list[int]]]:
        """Which samples of which files these are, in the order of the files, and their places among ``numbers``."""
        order = np.argsort(numbers, kind="stable")
        ends = list(accumulate(map(len, self.shards)))
        cuts = [0, *np.searchsorted(numbers[order], ends).tolist()]
        for shard, end, low, high in zip(self.shards, ends, cuts[:-1], cuts[1:], strict=True):
            if low < high:
                yield shard, (numbers[order[low:high]] - end + len(shard)).tolist(), order[low:high].tolist()


def evenly(size: int, most: int) -> NDArray[np.int64]:
    """At most so many of the numbers below ``size``, evenly spaced."""
    count = min(size, most)
    return np.arange(count, dtype=np.int64) * size // count


def opened(paths: Sequence[Path], channels: Sequence[str] | None = None, *, rank: int, needed: str) -> Rows:
    """The samples of these files; their headers are all that is read.  ``needed`` says what has at least ``rank`` axes."""
    shards = tuple(_shard(path, channels) for path in paths)
    kinds = {(shard.shape[1:], shard.dtype) for shard in shards}
    real = all(dtype.kind == "f" and dtype.itemsize <= 8 for _, dtype in kinds)
    if len(kinds) != 1 or not real or any(len(s.shape) < rank or 0 in s.shape for s in shards):
        raise InputError(
            f"files of one precision and one shape of real numbers, {needed}, are needed",
            got=", ".join(f"{s.path.name} with {s.dtype} {s.shape}" for s in shards[:3]) or "none",
            why="they are one array, whose first axis counts samples",
            hint="np.save of a float32 array with the channels along axis 1",
        )
    return Rows(shards)


def _shard(path: Path, channels: Sequence[str] | None) -> Shard:
    try:
        path = complete(path)
        if path.suffix not in (".npy", ".h5", ".hdf5") or not path.is_file():
            raise InputError(
                "a file that ends in .npy, .h5, .hdf5 is needed, or a folder of pirf.generate",
                got=f"{str(path)!r}" + ("" if path.exists() else ", which does not exist"),
                why="samples of others cannot be read one by one",
                hint="pirf.read where the set fits in memory; of a folder of files, sorted(folder.glob('*.npy'))",
            )
        if path.suffix != ".npy":
            return hdf5(path, channels)
        if channels is not None:
            raise InputError(
                "an .npy file has no channel names", got=channels, why="it holds one array", hint="channels=None, or .h5"
            )
        return npy(path)
    except InputError:
        raise
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"a readable {path.suffix} file is needed",
            got=repr(str(path)),
            why=f"reading it fails: {error}",
            hint="writing it again, or the ending that its content has",
        ) from error
