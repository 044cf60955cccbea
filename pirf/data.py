r"""Where training fields come from: a problem draws fresh ones for ever, an array is reshuffled every epoch.

A source may say of every sample what a conditional model is told of it, so that the pairs (x, c) are drawn from
:math:`p(x, c)`: :class:`Fields` with an array for every name, or :class:`Conditional`, whose conditions are channels of
another source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Protocol, final, runtime_checkable

import attrs
import numpy as np
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field

__all__ = ["Conditional", "Conditioned", "Fields", "Source"]


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


@runtime_checkable
class Conditioned(Source, Protocol):
    """A source that knows what is told of its samples."""

    def condition(self, count: int, seed: int = 0, start: int = 0) -> Condition:
        """Of samples number start … start + count − 1 of the stream with this seed; without an entry, nothing is told."""


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


def _told(instance: Fields, __: object, conditions: Mapping[str, object]) -> None:
    for name, value in conditions.items():
        got = f"a {type(value).__name__}"
        if isinstance(value, Tensor):
            finite = bool(torch.isfinite(value).all())
            if finite and value.shape[:1] == (len(instance.fields),):
                continue
            got = f"shape {tuple(value.shape)}" + ("" if finite else " with NaN or infinity")
        raise InputError(
            f"finite entries of the condition {name!r}, one for each of {len(instance.fields)} samples, are needed",
            got=got,
            why="they are shuffled together with the fields",
            hint=f'Fields(fields, conditions={{"{name}": values}}) with values[i] told of fields[i]',
        )


@final
@attrs.frozen(eq=False, repr=False)
class Fields:
    """An array of physical fields ``(sample, channel, *grid)``; every pass through it is a new keyed permutation.

    ``conditions`` are told of its samples: numbers ``(sample,)`` or fields ``(sample, channel, *grid)`` by name.
    """

    fields: Field = attrs.field(validator=_check)
    scaling: Scaling = attrs.field(default=attrs.Factory(lambda self: Scaling.fit(_usable(self.fields)), takes_self=True))
    conditions: Mapping[str, Tensor] = attrs.field(factory=dict, validator=_told)

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
        size = len(self.fields)
        epochs = range(start // size, (start + count - 1) // size + 1)
        order = np.concatenate(
            [np.random.Generator(np.random.Philox(key=[seed, 0xE90C4], counter=[0, 0, 0, e])).permutation(size) for e in epochs]
        )
        first = start - epochs[0] * size
        return torch.from_numpy(order[first : first + count])


@final
@attrs.frozen(eq=False, repr=False)
class Conditional:
    """A source whose channels are told apart: ``Conditional(problem, {"a": problem.given})`` draws the others, given these.

    What is told keeps its physical units, and what is drawn the order of its channels.
    """

    source: Source
    told: Mapping[str, Sequence[int]]
    _last: dict[tuple[int, int, int], Field] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        known = [c for channels in self.told.values() for c in channels]
        count = self.source.shape[0]
        if not known or not set(known) < set(range(count)):
            raise InputError(
                f"some of the channels 0 … {count - 1}, not all, are needed to tell",
                got=dict(self.told),
                why="the others are what is drawn",
                hint='Conditional(problem, {"a": problem.given})',
            )

    def __repr__(self) -> str:
        return f"Conditional({self.source!r}, {dict(self.told)})"

    @property
    def channels(self) -> tuple[int, ...]:
        """Those that are drawn."""
        known = {c for channels in self.told.values() for c in channels}
        return tuple(c for c in range(self.source.shape[0]) if c not in known)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is drawn."""
        return (len(self.channels), *self.source.shape[1:])

    @property
    def scaling(self) -> Scaling:
        """That of the channels that are drawn."""
        whole = self.source.scaling
        shift, scale = (tuple(values[c] for c in self.channels) for values in (whole.shift, whole.scale))
        return attrs.evolve(whole, shift=shift, scale=scale)

    def sample(self, count: int, seed: int = 0, start: int = 0) -> Field:
        """The channels that are drawn."""
        return self._whole(count, seed, start)[:, list(self.channels)]

    def condition(self, count: int, seed: int = 0, start: int = 0) -> Condition:
        """The channels that are told."""
        whole = self._whole(count, seed, start)
        return {name: whole[:, list(channels)] for name, channels in self.told.items()}

    def _whole(self, count: int, seed: int, start: int) -> Field:
        key = (count, seed, start)
        if key not in self._last:  # a solver may stand behind the source: what was drawn last is asked for twice
            fields = self.source.sample(count, seed, start)
            self._last.clear()
            self._last[key] = fields
        return self._last[key]
