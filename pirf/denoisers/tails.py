r"""What takes a handover's steps below σ*: tuned and base network at the same state, each in its own channels.

:math:`D(x, \sigma)_c = D_{tuned}(x, \sigma)_c` for the channels :math:`c` that are tuned, :math:`D_{base}(x, \sigma)_c`
elsewhere.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from pirf.denoisers.base import Denoiser, Staged
from pirf.errors import InputError
from pirf.tensors import Condition, Field, Level

__all__ = ["tail_of"]

Channels = tuple[int, ...]


def tail_of(
    base: Denoiser, tuned: Denoiser, channels: Channels | None, reads: Channels | None, floor: float, stages: int | None
) -> Denoiser:
    """The tuned network itself, or what the options make of it."""
    if stages is None:
        return tuned if channels is None and not floor else _Tail(base, tuned, channels, reads, floor)
    if isinstance(base, Staged) and isinstance(tuned, Staged) and channels is not None and reads is None and not floor:
        own = {id(p) for p in tuned.end_parameters(stages)}
        if {id(p) for p in tuned.parameters()} - own <= {id(p) for p in base.parameters()}:
            return _Fork(base, tuned, channels, stages)
    raise InputError(
        "stages= needs channels= and two networks on one trunk, asked alike",
        got=f"{type(base).__name__} and {type(tuned).__name__}, channels={channels}, reads={reads}, floor={floor:g}",
        why="a trunk that reads another state, or another level, has other features",
        hint="Handover.split(base, below, channels=problem.solved, stages=1)",
    )


@final
class _Tail(Denoiser):
    """The tuned network, fed with ``reads``, asked at ``floor`` or above, its estimate used in ``channels``."""

    def __init__(
        self, base: Denoiser, tuned: Denoiser, channels: Channels | None, reads: Channels | None, floor: float
    ) -> None:
        super().__init__(base.shape, base.scaling)
        self.base, self.tuned, self.channels, self.reads, self.floor = base, tuned, channels, reads, floor

    @property
    def cost(self) -> int:
        return self.tuned.cost + (self.base.cost if self.channels is not None else 0)

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        mine = self.tuned(self._seen(x), sigma.clamp_min(self.floor), condition)
        if self.channels is None:
            return mine
        with torch.set_grad_enabled(x.requires_grad and torch.is_grad_enabled()):
            given = self.base(x, sigma, condition)
        return _spliced(mine, given, self.channels)

    def remember(self, x: Field, sigma: Level, condition: Condition | None = None) -> tuple[Tensor, ...]:
        """The base's estimate, where it keeps some channels, and what the tuned network remembers."""
        known = self.tuned.remember(self._seen(x), sigma.clamp_min(self.floor), condition)
        if self.channels is None:
            return known
        with torch.no_grad():
            return (self.base(x, sigma, condition), *known)

    def recall(self, x: Field, sigma: Level, condition: Condition | None, known: tuple[Tensor, ...]) -> Field:
        """The tuned network beside the base's stored estimate."""
        mine = self.tuned.recall(self._seen(x), sigma.clamp_min(self.floor), condition, known[self.channels is not None :])
        return mine if self.channels is None else _spliced(mine, known[0], self.channels)

    def _seen(self, x: Field) -> Field:
        return x if self.reads is None else torch.where(_mask(self.reads, x), x, 0)


@final
class _Fork(Denoiser):
    """One trunk, which no weight of the tuned end can change, and two ends: the tuned one's estimate in ``channels``."""

    def __init__(self, base: Staged, tuned: Staged, channels: Channels, stages: int) -> None:
        super().__init__(base.shape, base.scaling)
        self.base, self.tuned, self.channels, self.stages = base, tuned, channels, stages

    @property
    def cost(self) -> int:
        return self.tuned.cost + self.base.cost

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        with torch.set_grad_enabled(x.requires_grad and torch.is_grad_enabled()):
            features = self.base.trunk(x, sigma, condition, self.stages)
            given = self.base.head(x, sigma, features, self.stages)
        return _spliced(self.tuned.head(x, sigma, features, self.stages), given, self.channels)

    def remember(self, x: Field, sigma: Level, condition: Condition | None = None) -> tuple[Tensor, ...]:
        """The base's estimate and the trunk's features."""
        with torch.no_grad():
            features = self.base.trunk(x, sigma, condition, self.stages)
            given = self.base.head(x, sigma, features, self.stages)
        return (given, *(f.expand(len(x), *f.shape[1:]) for f in features))  # one row may stand for all samples

    def recall(self, x: Field, sigma: Level, condition: Condition | None, known: tuple[Tensor, ...]) -> Field:
        """The tuned end alone."""
        return _spliced(self.tuned.head(x, sigma, known[1:], self.stages), known[0], self.channels)


def _spliced(mine: Tensor, given: Tensor, channels: Channels) -> Tensor:
    return torch.where(_mask(channels, mine), mine, given)


def _mask(channels: Channels, x: Field) -> Tensor:
    chosen = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
    chosen[list(channels)] = True
    return chosen.reshape(-1, *[1] * (x.ndim - 2))
