r"""The order of a data set that ends: pass e through it is a permutation :math:`\pi_{\text{seed}, e}` of its samples.

Number i of the stream is sample :math:`\pi_{\text{seed}, \lfloor i/n \rfloor}(i \bmod n)`, whoever asks and whatever was asked
before.
"""

from __future__ import annotations

from typing import Any, final

import attrs
import numpy as np
from numpy.typing import NDArray

__all__ = ["Epochs"]


@final
@attrs.frozen(eq=False)
class Epochs:
    """Passes through ``size`` samples."""

    size: int
    _kept: dict[tuple[int, int], NDArray[Any]] = attrs.field(factory=dict, init=False, repr=False)

    def rows(self, count: int, seed: int, start: int) -> NDArray[np.int64]:
        """Which samples stand at numbers start … start + count − 1 of the stream with this seed."""
        numbers = range(start, start + count)
        passes = range(start // self.size, (start + count - 1) // self.size + 1)
        parts = []
        for epoch in passes:
            first = epoch * self.size
            within = slice(max(numbers.start - first, 0), numbers.stop - first)
            parts.append(self._order(seed, epoch)[within])
        return np.concatenate(parts).astype(np.int64)

    def _order(self, seed: int, epoch: int) -> NDArray[Any]:
        """The permutation of one pass.  It takes a second per ten million samples: two are kept, as a batch may need both."""
        if (seed, epoch) not in self._kept:
            generator = np.random.Generator(np.random.Philox(key=[seed, 0xE90C4], counter=[0, 0, 0, epoch]))
            order = generator.permutation(np.arange(self.size, dtype=np.min_scalar_type(self.size)))
            while len(self._kept) > 1:
                del self._kept[next(iter(self._kept))]
            self._kept[seed, epoch] = order
        return self._kept[seed, epoch]
