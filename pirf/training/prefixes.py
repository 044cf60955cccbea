r"""Stored prefixes: the states :math:`x_{N-K}` of a pool of samples, exact for as long as no trained weight touches them.

Under :class:`pirf.Handover` every step above σ* belongs to the frozen base.  The states from which the tail departs are then
computed once and reused for every update: what was most of an update disappears, and the gradient stays exactly on-policy.
"""

from __future__ import annotations

from typing import final

import attrs
import torch
from tqdm.auto import tqdm

from pirf.noise import Noise
from pirf.samplers import Chain, State
from pirf.tensors import Field

__all__ = ["Prefixes"]


@final
@attrs.frozen(eq=False)
class Prefixes:
    """States at level ``stop`` for samples 0 … M − 1, as a lookup for :attr:`Chain.prefixes`."""

    stop: int
    states: Field
    memory: tuple[torch.Tensor, ...]

    @classmethod
    def compute(cls, chain: Chain, stop: int, noise: Noise, count: int, batch: int = 64, progress: bool = True) -> Prefixes:
        """Run the prefix of every sample of the pool, ``noise[0 … count − 1]``."""
        parts = []
        for first in tqdm(range(0, count, batch), desc="prefix states", leave=False, disable=not progress):
            parts.append(chain.keyed(noise[range(first, min(first + batch, count))]).depart(stop)[1])
        # What a multistep method remembers: estimates have one row per sample, levels are the same for all.
        memory = tuple(torch.cat(m) if m[0].ndim else m[0] for m in zip(*(p.memory for p in parts), strict=True))
        return cls(stop, torch.cat([p.x for p in parts]), memory)

    def __call__(self, chain: Chain) -> tuple[int, State] | None:
        """The stored states of the chain's samples, or None where one of them is not of the pool."""
        rows = list(chain.noise.samples)
        if max(rows) >= len(self.states):
            return None
        return self.stop, State(self.states[rows], tuple(m[rows] if m.ndim else m for m in self.memory))
