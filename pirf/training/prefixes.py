r"""Stored prefixes: the states :math:`x_{N-K}` of a pool of samples, exact for as long as no trained weight touches them.

Under :class:`pirf.Handover` every step above σ* belongs to the frozen base.  The states from which the tail departs are then
computed once and reused for every update: what was most of an update disappears, and the gradient stays exactly on-policy.
What the tail's first evaluation owes to frozen weights (the features of a trunk out of the graph, the base's estimate of the
channels that the tail does not write) is stored beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import final

import attrs
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pirf.noise import Noise
from pirf.samplers import Chain, State

__all__ = ["Prefixes"]


@final
@attrs.frozen(eq=False)
class Prefixes:
    """States at level ``stop`` for samples ``begin`` … ``begin`` + M − 1, as a lookup for :attr:`Chain.prefixes`."""

    stop: int
    state: State
    """Of all samples; entries without rows (the level a multistep method remembers) are the same for all."""
    begin: int = 0

    @classmethod
    def compute(
        cls,
        chain: Chain,
        stop: int,
        noise: Noise,
        batch: int = 64,
        features: int = 2**31,
        folder: Path | None = None,
        progress: bool = True,
    ) -> Prefixes:
        """Run the prefix of every sample of ``noise``, a range of them.

        What the next evaluation can recall is stored if it takes no more than ``features`` bytes; with a ``folder``, everything
        lives in memory-mapped files there.
        """
        first, count = noise.samples[0], len(noise)
        level = torch.tensor(chain.levels[stop], dtype=chain.denoiser.like.dtype, device=chain.denoiser.like.device)
        stores: list[Tensor] = []
        remembered = 0
        for row in tqdm(range(0, count, batch), desc="prefix states", leave=False, disable=not progress):
            keyed = chain.keyed(noise[range(first + row, first + min(row + batch, count))])
            _, state = keyed.depart(stop)
            known = keyed.denoiser.for_step(chain.levels[stop]).remember(state.x, level, keyed.condition)
            if sum(k[0].nbytes for k in known) * count > features:
                known = ()
            parts = (state.x, *state.memory, *known)
            if not stores:
                remembered = len(known)
                stores = [_room(part, count, folder, str(i)) if part.ndim else part for i, part in enumerate(parts)]
            for store, part in zip(stores, parts, strict=True):
                if part.ndim:
                    store[row : row + len(part)] = part
        end = len(stores) - remembered
        return cls(stop, State(stores[0], tuple(stores[1:end]), None, tuple(stores[end:])), first)

    def __call__(self, chain: Chain) -> tuple[int, State] | None:
        """The stored states of the chain's samples, or None where one of them is not of the pool."""
        rows = [i - self.begin for i in chain.noise.samples]
        if min(rows) < 0 or max(rows) >= len(self.state.x):
            return None
        return self.stop, State(self.state.x[rows], _rows(self.state.memory, rows), None, _rows(self.state.known, rows))


def _rows(tensors: Sequence[Tensor], rows: list[int]) -> tuple[Tensor, ...]:
    return tuple(t[rows] if t.ndim else t for t in tensors)


def _room(part: Tensor, count: int, folder: Path | None, name: str) -> Tensor:
    """Space for ``count`` rows like those of ``part``, in memory or in a file."""
    shape = (count, *part.shape[1:])
    if folder is None or not math.prod(shape):  # there are no empty files to map
        return part.new_empty(shape)
    folder.mkdir(parents=True, exist_ok=True)
    flat = torch.from_file(str(folder / f"{name}.raw"), shared=True, size=math.prod(shape), dtype=part.dtype)
    return flat.reshape(shape)
