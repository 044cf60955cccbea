r"""Stored prefixes: the states :math:`x_{N-K}` of a pool of samples, exact for as long as no trained weight touches them.

Under :class:`pirf.Handover` every step above σ* belongs to the frozen base.  The states from which the tail departs are then
computed once and reused for every update: what was most of an update disappears, and the gradient stays exactly on-policy.
What the tail's first evaluation owes to frozen weights (the features of a trunk out of the graph, the base's estimate of the
channels that the tail does not write) is stored beside them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import final

import attrs
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pirf.errors import InputError
from pirf.memory import by_pieces
from pirf.noise import Noise
from pirf.parallel import rank, share, summed, world
from pirf.samplers import Chain, State
from pirf.training.checkpoints import file_digest

__all__ = ["Prefixes"]

_MANIFEST = "manifest.json"


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
        shared: bool = False,
        identity: str = "",
        progress: bool = True,
    ) -> Prefixes:
        """Run the prefix of every sample of ``noise``, a range of them; ``shared``: every rank its part, for all of them.

        What the next evaluation can recall is stored if it takes no more than ``features`` bytes; with a ``folder``, everything
        lives in memory-mapped files there, and what they hold already is not computed again, if it has the same ``identity``.
        """
        first, count = noise.samples[0], len(noise)
        folder = folder / f"rank-{rank()}" if folder is not None and shared and world() > 1 else folder
        found = None if folder is None else cls._mapped(folder, identity, stop, first)
        everywhere = float(summed(torch.tensor(float(found is not None)))) == world() if shared else True
        if found is not None and everywhere:
            return found
        mine = share(count) if shared else range(count)
        level = torch.tensor(chain.levels[stop], dtype=chain.denoiser.like.dtype, device=chain.denoiser.like.device)
        stores: list[Tensor] = []
        remembered = 0

        def reached(rows: range) -> tuple[State, tuple[Tensor, ...]]:
            keyed = chain.keyed(noise[range(first + rows.start, first + rows.stop)])
            _, state = keyed.depart(stop)
            known = keyed.denoiser.for_step(chain.levels[stop]).remember(state.x, level, keyed.condition)
            return state, known if sum(k[0].nbytes for k in known) * count <= features else ()

        with tqdm(total=len(mine), desc="prefix states", leave=False, disable=not progress or rank() > 0) as bar:
            for rows, (state, known) in by_pieces(mine, batch, reached):
                parts = (state.x, *state.memory, *known)
                if not stores:
                    remembered = len(known)
                    stores = [_room(part, count, folder, i) if part.ndim else part for i, part in enumerate(parts)]
                for store, part in zip(stores, parts, strict=True):
                    if part.ndim:
                        store[rows.start : rows.stop] = part
                bar.update(len(rows))
        if shared:
            for store in stores:
                if store.ndim:
                    summed(store)
        if folder is not None:
            kinds = [{"shape": list(s.shape), "dtype": str(s.dtype)[6:], "value": None if s.ndim else float(s)} for s in stores]
            facts = {"identity": identity, "remembered": remembered, "stores": kinds, "sums": _sums(folder)}
            (folder / _MANIFEST).write_text(json.dumps(facts))
        return cls._of(stores, remembered, stop, first)

    @classmethod
    def _of(cls, stores: Sequence[Tensor], remembered: int, stop: int, first: int) -> Prefixes:
        end = len(stores) - remembered
        return cls(stop, State(stores[0], tuple(stores[1:end]), None, tuple(stores[end:])), first)

    @classmethod
    def _mapped(cls, folder: Path, identity: str, stop: int, first: int) -> Prefixes | None:
        """What lies in the folder, if it is whole and of this identity."""
        try:
            facts = json.loads((folder / _MANIFEST).read_text())
            if facts["identity"] != identity or facts["sums"] != _sums(folder):
                return None
            stores = [_stored(folder, i, **kind) for i, kind in enumerate(facts["stores"])]
            return cls._of(stores, facts["remembered"], stop, first)
        except (OSError, KeyError, TypeError, ValueError, AttributeError):
            return None

    def holds(self, samples: Sequence[int]) -> bool:
        """Whether all of them are of the pool."""
        return self.begin <= min(samples) and max(samples) < self.begin + len(self.state.x)

    def __call__(self, chain: Chain) -> tuple[int, State] | None:
        """The stored states of the chain's samples, or None where one of them is not of the pool."""
        if not self.holds(chain.noise.samples):
            return None
        rows = [i - self.begin for i in chain.noise.samples]
        return self.stop, State(self.state.x[rows], _rows(self.state.memory, rows), None, _rows(self.state.known, rows))


def _rows(tensors: Sequence[Tensor], rows: list[int]) -> tuple[Tensor, ...]:
    return tuple(t[rows] if t.ndim else t for t in tensors)


def _room(part: Tensor, count: int, folder: Path | None, number: int) -> Tensor:
    """Space for ``count`` rows like those of ``part``, zero, in memory or in a file."""
    shape = (count, *part.shape[1:])
    if folder is None:
        return part.new_zeros(shape)
    folder.mkdir(parents=True, exist_ok=True)
    for old in (_MANIFEST, f"{number}.raw"):
        (folder / old).unlink(missing_ok=True)
    _reserve(folder / f"{number}.raw", math.prod(shape) * part.element_size())
    return _file(folder, number, shape, part.dtype)


def _reserve(path: Path, size: int) -> None:
    """Blocks for all of a file: writing through a map to a disk that is full ends the process."""
    with path.open("wb") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size) if size and hasattr(os, "posix_fallocate") else file.truncate(size)
        except OSError as error:
            raise InputError(
                f"room for {size} bytes of prefix states is needed",
                got=str(error),
                why=f"they are spilled to {path.parent}",
                hint="another out=, a smaller pool, or spill=False",
            ) from error


def _stored(folder: Path, number: int, shape: Sequence[int], dtype: str, value: float | None) -> Tensor:
    kind = getattr(torch, dtype)
    return torch.tensor(value, dtype=kind) if value is not None else _file(folder, number, shape, kind)


def _file(folder: Path, number: int, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    if not math.prod(shape):  # there are no empty files to map
        return torch.zeros(tuple(shape), dtype=dtype)
    flat = torch.from_file(str(folder / f"{number}.raw"), shared=True, size=math.prod(shape), dtype=dtype)
    return flat.reshape(tuple(shape))


def _sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of states."""
    return {path.name: file_digest(path) for path in sorted(folder.glob("*.raw"))}
