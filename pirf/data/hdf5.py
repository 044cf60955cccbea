"""Datasets of an HDF5 file by name, as the channels of its samples.

What is neither chunked nor compressed lies in the file as it would in an ``.npy`` file, and is read in the same way.  Chunks
are read through h5py, those of a batch once each: small ones, of a sample or a few, make a fast set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import numpy as np

from pirf.data.shards import Plain, Row, Shard, Side
from pirf.errors import InputError

__all__ = ["Chunked", "chosen", "field_names", "hdf5"]


@final
@attrs.frozen
class Chunked(Shard):
    """A dataset that h5py has to put together."""

    name: str

    def read(self, rows: Sequence[Row]) -> None:
        """Its chunks once each."""
        import h5py

        numbers, places = np.unique([row for row, _ in rows], return_inverse=True)  # h5py takes no number twice
        with h5py.File(self.path, "r") as file:
            values = file[self.name][numbers]
        for place, (_, into) in zip(places, rows, strict=True):
            into[...] = values[place].reshape(into.shape)


def hdf5(path: Path, channels: Sequence[str] | None = None) -> Shard:
    """The samples of a file; ``channels`` are names of datasets, in the order wanted."""
    import h5py

    with h5py.File(path, "r") as file:
        datasets = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        if channels is None and any("data" in item for item in file.values() if isinstance(item, h5py.Group)):
            raise InputError(
                f"datasets with all samples are needed from {path.name}",
                got="one group for every sample",
                why="its samples cannot be read by their number",
                hint="np.lib.format.open_memmap to write them into one .npy file, a sample at a time",
            )
        names = chosen(path, channels, field_names(datasets), beside=list(datasets))
        parts = [_dataset(path, datasets[name], alone=len(names) == 1) for name in names]
    if len({(part.shape, part.dtype) for part in parts}) > 1:
        raise InputError(
            f"channels of one shape (sample, *grid) and one precision are needed from {path.name}",
            got=", ".join(f"{name} {part.dtype} {part.shape}" for name, part in zip(names, parts, strict=True)),
            why="they are stacked into one field",
            hint="channels=(...) to choose among them",
        )
    return Side.by(parts)


def _dataset(path: Path, dataset: Any, alone: bool) -> Shard:
    shape = tuple(dataset.shape)
    squeezed = (shape[0], *shape[2:]) if len(shape) > 3 and shape[1] == 1 else shape
    # One dataset may hold all channels; several hold one each.
    shape = squeezed if alone and len(squeezed) > 3 else (*squeezed[:1], 1, *squeezed[1:])
    offset = dataset.id.get_offset()
    if offset is not None and dataset.id.get_storage_size() == dataset.dtype.itemsize * math.prod(shape):
        return Plain(path, shape, dataset.dtype, offset)
    return Chunked(path, shape, dataset.dtype, dataset.name)


def field_names(datasets: Mapping[str, Any]) -> list[str]:
    """Those that can be fields: coordinates and other vectors stand beside them.  Without one, all."""
    return [name for name, item in datasets.items() if item.ndim >= 3] or list(datasets)


def chosen(path: Path, channels: Sequence[str] | None, present: Sequence[str], beside: Sequence[str] = ()) -> list[str]:
    """The channels asked for, all of ``present`` where none are, refused where the file lacks them."""
    names = list(present) if channels is None else list(channels)
    missing = [name for name in names if name not in (*present, *beside)]
    if missing or not names:
        raise InputError(
            f"channels among {', '.join(present) or 'nothing'} are needed from {path.name}",
            got=", ".join(missing) or "none",
            why="the file holds no such field",
            hint="channels=('a', 'u') in the order that your reward reads",
        )
    return names
