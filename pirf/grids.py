"""Where the numbers of a field stand: one :class:`Axis` per dimension."""

from __future__ import annotations

from typing import Literal, final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError

__all__ = ["Axis", "Grid", "Layout"]

Layout = Literal["cells", "nodes", "periodic"]
_OFFSET = {"cells": 0.5, "nodes": 0.0, "periodic": 0.0}


@final
@attrs.frozen
class Axis:
    """``n`` points on [0, extent]: cell centres (i+½)h, nodes with both ends ih (h = extent/(n−1)), or periodic ih."""

    n: int = attrs.field(validator=attrs.validators.ge(2))
    extent: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    layout: Layout = attrs.field(default="cells", validator=attrs.validators.in_(tuple(_OFFSET)))

    @property
    def spacing(self) -> float:
        """The distance h between neighbours."""
        return self.extent / (self.n - 1 if self.layout == "nodes" else self.n)

    def points(self) -> Tensor:
        """Coordinates of the points, float64."""
        return (torch.arange(self.n, dtype=torch.float64) + _OFFSET[self.layout]) * self.spacing


@final
@attrs.frozen(repr=False)
class Grid:
    """A tensor product of axes, in the order of a field's trailing dimensions."""

    axes: tuple[Axis, ...]

    @classmethod
    def square(cls, n: int, extent: float = 1.0, layout: Layout = "cells") -> Grid:
        """The same axis twice."""
        return cls((Axis(n, extent, layout),) * 2)

    def __repr__(self) -> str:
        first = self.axes[0]
        if self.axes != (first, first):
            return f"Grid({self.axes!r})"
        options = [
            f"{v!r}" for v, default in ((first.extent, 1.0), (first.layout, "cells")) if v != default or first.layout != "cells"
        ]
        return f"Grid.square({', '.join([str(first.n), *options])})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis."""
        return tuple(axis.n for axis in self.axes)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between neighbours per axis."""
        return tuple(axis.spacing for axis in self.axes)

    def meshgrid(self) -> tuple[Tensor, ...]:
        """Coordinates of every point, one tensor per axis."""
        return tuple(torch.meshgrid(*(axis.points() for axis in self.axes), indexing="ij"))

    def check(self, x: Tensor, channels: int) -> None:
        """Refuse a field that does not stand on this grid with this many channels."""
        expected = (channels, *self.shape)
        if tuple(x.shape[1:]) != expected or x.ndim != len(expected) + 1:
            raise InputError(
                f"a field of shape (batch, {', '.join(map(str, expected))}) is needed",
                got=f"shape {tuple(x.shape)}",
                why=f"the grid has {'×'.join(map(str, self.shape))} points and the equation reads {channels} channel(s)",
                hint="a problem of that size, or fields with the channels stacked along dimension 1",
            )
