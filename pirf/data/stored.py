r"""Fields that stay on disk, in any number of files and however large: a batch reads its rows and nothing else.

The order is that of :class:`~pirf.Fields`.  Nothing ever looks at the whole set: what is read is checked as it is read, and the
scaling is fitted to 4096 evenly spaced samples, whose mean misses that of all by a standard error, :math:`\sigma/64`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeAlias, cast, final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.data.base import check_told, misfit
from pirf.data.epochs import Epochs
from pirf.data.rows import Rows, evenly, opened
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field

__all__ = ["Stored"]

Paths: TypeAlias = str | Path | Sequence[str | Path]


def _paths(value: Paths) -> tuple[Path, ...]:
    return tuple(map(Path, [value] if isinstance(value, str | Path) else value))


def _names(value: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _rows(instance: Stored) -> Rows:
    return opened(instance.paths, instance.channels, rank=3, needed="(sample, channel, *grid)")


def _fitted(instance: Stored) -> Scaling:
    return fit(instance._rows)


def _told(instance: Stored) -> dict[str, Tensor | Rows]:
    return {name: _held(name, value, len(instance)) for name, value in instance.conditions.items()}


def _held(name: str, value: object, count: int) -> Tensor | Rows:
    """Arrays as tensors, paths opened."""
    listed = isinstance(value, Sequence) and len(value) > 0 and all(isinstance(item, str | Path) for item in value)
    if isinstance(value, str | Path) or listed:
        rows = opened(_paths(cast(Paths, value)), rank=1, needed="(sample,) or (sample, channel, *grid)")
        if len(rows) != count:
            raise misfit(name, count, f"shape {(len(rows), *rows.shape)}")
        return rows
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        value = torch.from_numpy(value.astype(value.dtype.newbyteorder("="), order="C"))
    return check_told(name, value, count)


@final
@attrs.frozen(eq=False, repr=False)
class Stored:
    """Physical fields ``(sample, channel, *grid)`` in files; every pass through them is a new keyed permutation.

    ``paths`` are ``.npy`` or HDF5 files, or folders of :func:`pirf.generate`: one, or several that are one set.  ``channels``
    are names in an HDF5 file, in the order wanted.  ``conditions`` are told of the samples, by name: arrays, or paths of
    ``.npy`` files, numbers ``(sample,)`` or fields ``(sample, channel, *grid)``.
    """

    paths: tuple[Path, ...] = attrs.field(converter=_paths)
    channels: tuple[str, ...] | None = attrs.field(default=None, kw_only=True, converter=_names)
    _rows: Rows = attrs.field(default=attrs.Factory(_rows, takes_self=True), init=False)
    scaling: Scaling = attrs.field(default=attrs.Factory(_fitted, takes_self=True))
    conditions: Mapping[str, Tensor | NDArray[Any] | Paths] = attrs.field(factory=dict)
    _told: Mapping[str, Tensor | Rows] = attrs.field(default=attrs.Factory(_told, takes_self=True), init=False)
    _epochs: Epochs = attrs.field(default=attrs.Factory(lambda self: Epochs(len(self)), takes_self=True), init=False)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        # Where the files lie does not matter to a run; what is in them does.
        digest = blake2b(self._rows.digest(), digest_size=6)
        for value in self._told.values():
            digest.update(value.digest() if isinstance(value, Rows) else value[evenly(len(self), 64)].cpu().numpy().tobytes())
        told = f" told {', '.join(self.conditions)}" if self.conditions else ""
        return f"Stored(<{'×'.join(map(str, (len(self), *self.shape)))} {self._rows.dtype}{told} {digest.hexdigest()}>)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return self._rows.shape

    def sample(self, count: int, seed: int = 0, start: int = 0) -> Field:
        """Samples of consecutive epochs, each a permutation keyed by (seed, epoch)."""
        return self._rows.read(self._epochs.rows(count, seed, start))

    def condition(self, count: int, seed: int = 0, start: int = 0) -> Condition:
        """What is told of the same samples."""
        rows = self._epochs.rows(count, seed, start)
        return {
            name: value.read(rows) if isinstance(value, Rows) else value[torch.from_numpy(rows)]
            for name, value in self._told.items()
        }


def fit(rows: Rows, most: int = 4096, together: int = 2**22) -> Scaling:
    """The :class:`~pirf.Scaling` of at most ``most`` evenly spaced samples.

    Of more values than ``together``, moments are merged part by part (Chan, Golub & LeVeque 1983).
    """
    numbers = evenly(len(rows), most)
    parts = min(len(numbers), -(-len(numbers) * math.prod(rows.shape) // together))
    if parts == 1:
        return Scaling.fit(rows.read(numbers))
    count, mean, squares = 0, torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for part in np.array_split(numbers, parts):
        values = rows.read(part).double().transpose(0, 1).flatten(1)
        more, step = values.shape[1], values.mean(1) - mean
        squares = squares + values.var(1, correction=0) * more + step**2 * (count * more / (count + more))
        mean = mean + step * (more / (count + more))
        count += more
    deviation = (squares / (count - 1)).sqrt()
    return Scaling(mean.tolist(), (deviation / 0.5).tolist())
