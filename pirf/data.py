"""Where training fields come from: a problem draws fresh ones for ever, an array is reshuffled every epoch."""

from __future__ import annotations

from hashlib import blake2b
from typing import Protocol, final, runtime_checkable

import attrs
import numpy as np
import torch

from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.tensors import Field

__all__ = ["Fields", "Source"]


@runtime_checkable
class Source(Protocol):
    """Anything that hands out physical fields by index: a :class:`pirf.Problem`, or :class:`Fields`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""

    @property
    def scaling(self) -> Scaling:
        """Physical to normalised units."""

    def sample(self, count: int, seed: int = 0, start: int = 0) -> Field:
        """Fields number start … start + count − 1 of the stream with this seed."""


def _usable(fields: Field) -> Field:
    if fields.ndim < 3 or len(fields) == 0 or not bool(torch.isfinite(fields).all()):
        raise InputError(
            "training needs finite fields of shape (sample, channel, *grid)",
            got=f"shape {tuple(fields.shape)}" + (" with NaN or infinity" if fields.numel() and fields.ndim > 2 else ""),
            why="an empty or non-finite set would train a model of nothing",
            hint="torch.isfinite(fields).flatten(1).all(1) to find the bad samples",
        )
    return fields


def _check(_: object, __: object, fields: Field) -> None:
    _usable(fields)


@final
@attrs.frozen(eq=False, repr=False)
class Fields:
    """An array of physical fields ``(sample, channel, *grid)``; every pass through it is a new keyed permutation."""

    fields: Field = attrs.field(validator=_check)
    scaling: Scaling = attrs.field(default=attrs.Factory(lambda self: Scaling.fit(_usable(self.fields)), takes_self=True))

    def __repr__(self) -> str:
        # A digest of up to 64 samples stands for the data: what a run was trained on is part of its identity.
        some = self.fields[:: max(1, len(self.fields) // 64)].contiguous()
        digest = blake2b(some.numpy().tobytes(), digest_size=6).hexdigest()
        return f"Fields(<{'×'.join(map(str, self.fields.shape))} {digest}>)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.fields.shape[1:])

    def sample(self, count: int, seed: int = 0, start: int = 0) -> Field:
        """Samples of consecutive epochs, each a permutation keyed by (seed, epoch)."""
        size = len(self.fields)
        epochs = range(start // size, (start + count - 1) // size + 1)
        order = np.concatenate(
            [np.random.Generator(np.random.Philox(key=[seed, 0xE90C4], counter=[0, 0, 0, e])).permutation(size) for e in epochs]
        )
        first = start - epochs[0] * size
        return self.fields[torch.from_numpy(order[first : first + count])]
