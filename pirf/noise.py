r"""Random numbers that have an address instead of a history.

Every draw is :math:`\xi = \Phi(\text{seed}, \text{path}, \text{sample})` with :math:`\Phi` the counter-based Philox
generator: the key is a hash of the seed and of the folded path (stream, update, level, draw), the counter is the index
of the sample.  A sample's numbers therefore do not depend on the batch it travels in, on the number of processes, on
what was drawn before, or on whether the run was interrupted; and nothing touches the global generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import final

import attrs
import numpy as np
import torch
from torch import Tensor

__all__ = ["Noise"]


def _samples(value: int | Sequence[int]) -> range | tuple[int, ...]:
    if isinstance(value, int):
        return (value,)
    return value if isinstance(value, range) else tuple(int(i) for i in value)


@final
@attrs.frozen
class Noise:
    """``Noise(seed).fold(stream, update, ...)[samples]``: an address; ``.normal(shape)`` reads what stands there."""

    seed: int = 0
    path: tuple[int | str, ...] = ()
    samples: range | tuple[int, ...] = attrs.field(default=range(1), converter=_samples)

    def fold(self, *address: int | str) -> Noise:
        """The same samples, one level deeper in the tree of streams."""
        return attrs.evolve(self, path=self.path + address)

    def __getitem__(self, samples: int | Sequence[int]) -> Noise:
        """The same stream for other samples."""
        return attrs.evolve(self, samples=samples)

    def __len__(self) -> int:
        return len(self.samples)

    def generators(self) -> list[np.random.Generator]:
        """One independent generator per sample."""
        digest = blake2b(repr((self.seed, self.path)).encode(), digest_size=16).digest()
        key = np.frombuffer(digest, dtype=np.uint64)
        return [np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, i])) for i in self.samples]

    def normal(self, shape: Sequence[int], dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """Standard normal numbers ``(len(samples), *shape)``, drawn in float64 on the CPU, then moved."""
        out = np.empty((len(self.samples), *shape))
        for row, generator in enumerate(self.generators()):
            out[row] = generator.standard_normal(tuple(shape))
        return torch.from_numpy(out).to(device=device, dtype=dtype)

    def uniform(self, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
        """One number in [0, 1) per sample."""
        return torch.tensor([g.random() for g in self.generators()], dtype=dtype, device=device)

    def integers(self, low: int, high: int) -> list[int]:
        """One integer in [low, high) per sample."""
        return [int(g.integers(low, high)) for g in self.generators()]
