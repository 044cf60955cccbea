"""Some channels of a source told, the others drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import attrs

from pirf.data.base import Source
from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field

__all__ = ["Conditional"]


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
