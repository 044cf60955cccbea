r"""What each sample of a fine-tuning run is told: :math:`c_i = c(\text{seed}, i)`, a function of its index alone.

An update, the stored prefix of a pool and a resumed run then agree on it without keeping it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import attrs
import torch

from pirf.data import Conditioned
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.tensors import Condition, digest

__all__ = ["Telling", "Tells"]

Tells = Conditioned | Callable[[Noise], Condition]
"""A source that knows conditions, or a function of the samples' address: one entry per sample, drawn from its own numbers."""

_SHOWN = 16
"""How many samples' conditions stand for all in the identity of a run."""


@final
@attrs.frozen(eq=False)
class Telling:
    """``tells``, asked once for every sample while it is among the ``most`` that were asked for last."""

    tells: Tells = attrs.field()
    most: int = 1024
    _known: dict[tuple[int, int], Condition] = attrs.field(factory=dict, init=False, repr=False)

    @tells.validator
    def _askable(self, _: object, tells: object) -> None:
        if not isinstance(tells, Conditioned) and not callable(tells):
            raise InputError(
                "a source with conditions, or a function of the samples' address, is needed",
                got=type(tells).__name__,
                why="every update asks for those of its own samples",
                hint='condition=lambda noise: {"nu": noise.uniform()}',
            )

    def __call__(self, noise: Noise) -> Condition:
        """One entry per sample of the noise."""
        wanted = [(noise.seed, i) for i in noise.samples]
        for run in _runs(sorted({i for seed, i in wanted if (seed, i) not in self._known})):
            found = self._asked(noise[run])
            self._known.update({(noise.seed, i): {n: v[row] for n, v in found.items()} for row, i in enumerate(run)})
        rows = [self._known[key] for key in wanted]
        for key in list(self._known)[: max(0, len(self._known) - self.most)]:
            del self._known[key]
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def identity(self, seed: int) -> str:
        """The content of the first conditions: a function has no name that another process would know."""
        first = self(Noise(seed).fold("condition")[range(_SHOWN)])
        return ", ".join(f"{name}=<{digest(value)}>" for name, value in sorted(first.items()))

    def _asked(self, noise: Noise) -> Condition:
        source, samples = self.tells, noise.samples
        found = source.condition(len(samples), noise.seed, samples[0]) if isinstance(source, Conditioned) else source(noise)
        shapes = {name: tuple(v.shape) if isinstance(v, torch.Tensor) else type(v).__name__ for name, v in found.items()}
        short = {name: shape for name, shape in shapes.items() if isinstance(shape, str) or shape[:1] != (len(samples),)}
        if short or not found:
            raise InputError(
                f"conditions with one entry for each of {len(samples)} sample(s) are needed",
                got=short or "none",
                why="every sample is told its own",
                hint='condition=lambda noise: {"nu": noise.uniform()}, or a source with conditions',
            )
        return found


def _runs(indices: Sequence[int]) -> list[range]:
    """The indices as ranges of consecutive ones."""
    runs: list[range] = []
    for i in indices:
        if runs and runs[-1].stop == i:
            runs[-1] = range(runs[-1].start, i + 1)
        else:
            runs.append(range(i, i + 1))
    return runs
