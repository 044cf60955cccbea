r"""Dropout whose masks have an address: entry j of sample i in layer l is lost where

.. math:: U_{ilj} < p, \qquad U_{il} = \Phi(\text{seed}_i, l), \qquad \text{seed}_i = \text{Noise}[i],

and otherwise multiplied by :math:`1/(1-p)`.  What a sample loses depends on its own address and on the layer,
never on the batch it travels in: batches may be split among micro-batches and processes, and learn the same.

``with keyed_dropout(noise)`` around an evaluation gives every sample its seed.  A part of it that is made again in the backward
pass runs when that block has long been left, so ``checkpoint(…, context_fn=again)`` keeps the seeds for it.  Outside such a
block dropout is torch's, from the global generator; while evaluating, and at p = 0, it is nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import final

import torch
from torch import Tensor, nn

from pirf.errors import InputError
from pirf.noise import Noise

__all__ = ["KeyedDropout", "again", "keyed_dropout", "lost", "number"]

Seeds = tuple[int, ...] | None

_SEEDS: ContextVar[Seeds] = ContextVar("dropout seeds", default=None)

_GOLDEN = 0x9E3779B97F4A7C15
"""2⁶⁴ over the golden ratio: multiples of it, modulo a power of two, lie far apart."""


@contextmanager
def _seeded(seeds: Seeds) -> Iterator[None]:
    before = _SEEDS.set(seeds)
    try:
        yield
    finally:
        _SEEDS.reset(before)


def keyed_dropout(noise: Noise) -> AbstractContextManager[None]:
    """What is evaluated inside drops by the address of each sample: row i of a batch is sample i of ``noise``."""
    return _seeded(tuple(noise.fold("dropout").integers(0, 2**62)))


def again() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """``checkpoint(…, use_reentrant=False, context_fn=again)``: what is made again drops what it dropped the first time."""
    return nullcontext(), _seeded(_SEEDS.get())


def lost(shape: Sequence[int], share: float, layer: int, device: torch.device) -> Tensor | None:
    """Which entries of a batch of this shape are lost, or None where no seeds are known.  The layer's number keys them."""
    seeds = _SEEDS.get()
    if seeds is None:
        return None
    if len(seeds) != shape[0]:
        raise InputError(
            f"a batch of {len(seeds)} samples is needed",
            got=shape[0],
            why="each of them has a seed of its own for dropout",
            hint="keyed_dropout(noise[samples]) with the samples of this batch",
        )
    mask, generator = torch.empty(tuple(shape), dtype=torch.bool, device=device), torch.Generator(device)
    for row, seed in zip(mask, seeds, strict=True):
        row.bernoulli_(share, generator=generator.manual_seed((seed + layer * _GOLDEN) % 2**63))
    return mask


@final
class KeyedDropout(nn.Dropout):
    """``nn.Dropout`` of single entries that knows its number in the network."""

    layer = 0

    def forward(self, x: Tensor) -> Tensor:
        """X, while training with its entries dropped by the sample's seed or, where there are none, by the global generator."""
        if not self.training or self.p == 0:
            return x
        mask = lost(x.shape, self.p, self.layer, x.device)
        if mask is None:
            return super().forward(x)
        # The graph keeps a byte per entry, and checkpoint tells it from torch's mask when it is made again without the seeds.
        return (x / (1 - self.p) if self.p < 1 else 0 * x).masked_fill(mask, 0)


def number(network: nn.Module, first: int = 0) -> None:
    """Give the dropout layers of a network their numbers, in the order of its modules."""
    for index, module in enumerate(m for m in network.modules() if isinstance(m, KeyedDropout)):
        module.layer = first + index
