"""A user's own fields: ``.npy .npz .h5 .mat`` and folders of :func:`pirf.generate`, as ``(sample, channel, *grid)``.

Channels are arrays by name, each ``(sample, *grid)``; one array may hold several, ``(sample, channel, *grid)``.  PDEBench's
layouts are among them: ``nu`` and ``tensor`` ``(sample, 1, *grid)`` side by side, ``tensor`` (sample, time, x), or one group
per sample with ``data`` ``(time, *grid, channel)``.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pirf.data import Fields
from pirf.data.hdf5 import chosen, field_names
from pirf.data.shards import complete
from pirf.errors import InputError

__all__ = ["read"]

Array = NDArray[Any]


def read(path: str | Path, channels: Sequence[str] | None = None, limit: int | None = None) -> Fields:
    """The fields of a file as a data set, its scaling fitted; ``channels`` are names in the file, in the order wanted.

    ``limit`` reads the first samples only.  An ``.npy`` file (or a generated folder) has no names.  All samples are looked at,
    and memory has to hold them: what is larger is a :class:`~pirf.Stored`.
    """
    path = Path(path)
    readers: Mapping[str, Callable[[Path, Sequence[str] | None, int | None], Array]] = {
        ".npy": _npy, ".npz": _npz, ".h5": _hdf5, ".hdf5": _hdf5, ".mat": _mat
    }  # fmt: skip
    try:
        path = complete(path)
        if path.suffix not in readers or not path.is_file():
            raise InputError(
                f"a file that ends in {', '.join(readers)} is needed",
                got=f"{str(path)!r}" + ("" if path.exists() else ", which does not exist"),
                why="the ending says how to read it",
                hint="np.save('fields.npy', array) of shape (sample, channel, *grid)",
            )
        array = readers[path.suffix](path, channels, limit)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"a readable {path.suffix} file is needed",
            got=repr(str(path)),
            why=f"reading it fails: {error}",
            hint="writing it again, or the ending that its content has",
        ) from error
    return Fields(torch.from_numpy(array))


def _npy(path: Path, channels: Sequence[str] | None, limit: int | None) -> Array:
    if channels is not None:
        raise InputError(
            "an .npy file has no channel names", got=tuple(channels), why="it holds one array", hint="channels=None, or .npz"
        )
    array = np.load(path, mmap_mode="c")[:limit]  # copy on write: nothing is read before it is asked for
    return _checked(array, path, array.ndim >= 3, "(sample, channel, *grid)")


def _npz(path: Path, channels: Sequence[str] | None, limit: int | None) -> Array:
    with np.load(path) as archive:
        return _stack({name: archive[name][:limit] for name in chosen(path, channels, archive.files)}, path)


def _hdf5(path: Path, channels: Sequence[str] | None, limit: int | None) -> Array:
    import h5py

    with h5py.File(path, "r") as file:
        arrays = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset)}
        groups = [item["data"] for _, item in sorted(file.items()) if isinstance(item, h5py.Group) and "data" in item]
        if groups and channels is None:
            return _samples(groups[:limit], path)
        # Who asks for a vector beside the fields by name gets it, or hears what it is.
        names = chosen(path, channels, field_names(arrays), beside=list(arrays))
        return _stack({name: np.asarray(arrays[name][:limit] if arrays[name].ndim else arrays[name]) for name in names}, path)


def _samples(groups: Sequence[Any], path: Path) -> Array:
    """One dataset per sample, channels last."""
    shapes = sorted({group.shape for group in groups})
    if len(shapes) != 1 or len(shapes[0]) < 2:
        raise InputError(
            f"one shape (time, *grid, channel) for every sample is needed from {path.name}",
            got=" and ".join(map(str, shapes[:3])),
            why="samples are stacked into one field, the channels last",
            hint="one data set per sample group, with an axis for its channels even where there is one",
        )
    return _stack({"data": np.moveaxis(np.stack([group[()] for group in groups]), -1, 1)}, path)


def _mat(path: Path, channels: Sequence[str] | None, limit: int | None) -> Array:
    from scipy.io import loadmat

    try:
        content = loadmat(path)
    except NotImplementedError:  # version 7.3 is HDF5 with the axes reversed
        import h5py

        with h5py.File(path, "r") as file:
            content = {name: item[()].T for name, item in file.items() if isinstance(item, h5py.Dataset)}
    names = [name for name, item in content.items() if isinstance(item, np.ndarray) and item.ndim >= 3]
    return _stack({name: content[name][:limit] for name in chosen(path, channels, names)}, path)


def _stack(arrays: Mapping[str, Array], path: Path) -> Array:
    """(sample, channel, *grid) from one array per channel, or from one that holds them all."""
    grids = {name: array[:, 0] if array.ndim > 3 and array.shape[1] == 1 else array for name, array in arrays.items()}
    if len(grids) == 1:
        (array,) = grids.values()
        array = _checked(array, path, array.ndim >= 3, "(sample, *grid) or (sample, channel, *grid)")
        return array if array.ndim > 3 else array[:, None]
    shapes = {name: array.shape for name, array in grids.items()}
    fits = len(set(shapes.values())) == 1 and all(len(s) >= 2 for s in shapes.values())
    if not fits:
        raise InputError(
            f"channels of one shape (sample, *grid) are needed from {path.name}",
            got=", ".join(f"{name} {shape}" for name, shape in shapes.items()),
            why="they are stacked into one field",
            hint="channels=(...) to choose among them",
        )
    return _checked(np.stack(list(grids.values()), 1), path, True, "")


def _checked(array: Array, path: Path, fits: bool, expected: str) -> Array:
    if not fits or array.dtype.kind != "f":
        raise InputError(
            f"real numbers of shape {expected or '(sample, channel, *grid)'} are needed from {path.name}",
            got=f"{array.dtype} of shape {array.shape}",
            why="the first axis counts samples",
            hint="np.save of a float array with the channels along axis 1",
        )
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
