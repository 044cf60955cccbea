"""An array of fields as a source."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.data.base import check_told
from pirf.data.epochs import Epochs
from pirf.errors import InputError, instance
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field

__all__ = ["Fields"]


def _usable(fields: Field) -> Field:
    instance("a tensor of fields", fields, Tensor, hint="Fields(torch.from_numpy(array))")
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


def _scaling(_: object, __: object, scaling: Scaling) -> None:
    instance("a scaling", scaling, Scaling, hint="Scaling(shift, scale), a number of each for every channel")


def _told(known: Fields, __: object, conditions: Mapping[str, object]) -> None:
    for name, value in conditions.items():
        check_told(name, value, len(known.fields))


@final
@attrs.frozen(eq=False, repr=False)
class Fields:
    """An array of physical fields ``(sample, channel, *grid)``; every pass through it is a new keyed permutation.

    ``conditions`` are told of its samples: numbers ``(sample,)`` or fields ``(sample, channel, *grid)`` by name.
    """

    fields: Field = attrs.field(validator=_check)
    scaling: Scaling = attrs.field(
        default=attrs.Factory(lambda self: Scaling.fit(_usable(self.fields)), takes_self=True), validator=_scaling
    )
    conditions: Mapping[str, Tensor] = attrs.field(factory=dict, validator=_told)
    _epochs: Epochs = attrs.field(default=attrs.Factory(lambda self: Epochs(len(self.fields)), takes_self=True), init=False)

    def __repr__(self) -> str:
        # A digest of up to 64 samples stands for the data: what a run was trained on is part of its identity.
        digest = blake2b(digest_size=6)
        for values in (self.fields, *self.conditions.values()):
            digest.update(values[:: max(1, len(values) // 64)].contiguous().cpu().numpy().tobytes())
        told = f" told {', '.join(self.conditions)}" if self.conditions else ""
        return f"Fields(<{'×'.join(map(str, self.fields.shape))}{told} {digest.hexdigest()}>)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return tuple(self.fields.shape[1:])

    def sample(self, count: int, seed: int = 0, start: int = 0) -> Field:
        """Samples of consecutive epochs, each a permutation keyed by (seed, epoch)."""
        return self.fields[self._rows(count, seed, start)]

    def condition(self, count: int, seed: int = 0, start: int = 0) -> Condition:
        """What is told of the same samples."""
        rows = self._rows(count, seed, start)
        return {name: values[rows] for name, values in self.conditions.items()}

    def _rows(self, count: int, seed: int, start: int) -> Tensor:
        return torch.from_numpy(self._epochs.rows(count, seed, start))
