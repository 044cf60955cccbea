"""What training asks of its data: fields by their number in a stream, and perhaps what is told of them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field

__all__ = ["Conditioned", "Source", "check_told", "finite", "misfit"]


@runtime_checkable
class Source(Protocol):
    """Anything that hands out physical fields by index: a :class:`pirf.Problem`, or a set of them."""

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


def finite(values: Tensor) -> bool:
    """Whether no entry is NaN or infinite."""
    # A sum is finite only if all that it adds up is, and is cheaper than a look at each.  It may overflow: then look.
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def check_told(name: str, value: object, count: int) -> Tensor:
    """One finite entry of a condition for each of ``count`` samples; anything else is refused."""
    if not isinstance(value, Tensor):
        raise misfit(name, count, f"a {type(value).__name__}")
    if not finite(value) or value.shape[:1] != (count,):
        raise misfit(name, count, f"shape {tuple(value.shape)}" + ("" if finite(value) else " with NaN or infinity"))
    return value


def misfit(name: str, count: int, got: str) -> InputError:
    """What to say of a condition that does not belong to ``count`` samples."""
    return InputError(
        f"finite entries of the condition {name!r}, one for each of {count} samples, are needed",
        got=got,
        why="they are shuffled together with the fields",
        hint=f'conditions={{"{name}": values}} with values[i] told of sample i',
    )
