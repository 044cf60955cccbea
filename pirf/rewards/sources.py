"""Right-hand sides as values: what is fed into each cell per unit of area."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid

__all__ = ["CornerWells", "Source", "Uniform"]


class Source(ABC):
    """A function of the place.  Concrete classes are frozen and hold no tensors."""

    @abstractmethod
    def values(self, grid: Grid) -> Tensor:
        """Its values at the points of the grid, float64, of the grid's shape."""


@final
@attrs.frozen
class Uniform(Source):
    """The same rate everywhere."""

    rate: float = 1.0

    def values(self, grid: Grid) -> Tensor:
        """Constant."""
        return torch.full(grid.shape, self.rate, dtype=torch.float64)


@final
@attrs.frozen
class CornerWells(Source):
    """+rate in the corner at the origin, −rate in the opposite one; each is ``width`` of every axis wide."""

    rate: float = 10.0
    width: float = attrs.field(default=0.125, validator=[attrs.validators.gt(0), attrs.validators.le(0.5)])

    def values(self, grid: Grid) -> Tensor:
        """Whole cells only, so that the two balance exactly."""
        out = torch.zeros(grid.shape, dtype=torch.float64)
        counts = [self.width * n for n in grid.shape]
        if any(abs(count - round(count)) > 1e-9 for count in counts):
            raise InputError(
                "a well covers whole cells",
                got=f"{' × '.join(f'{count:g}' for count in counts)} cells",
                why=f"it is {self.width:g} of every axis wide",
                hint=f"a multiple of {round(1 / self.width)} points per axis",
            )
        out[tuple(slice(0, round(count)) for count in counts)] = self.rate
        out[tuple(slice(n - round(count), n) for n, count in zip(grid.shape, counts, strict=True))] = -self.rate
        return out
