r"""The only bridge between physical and normalised units: :math:`x = (f - \text{shift}) / \text{scale}` per channel.

A model whose noise is a random field has its state in whitened units, :math:`C^{-1/2} x`: its scaling carries the
:class:`Colour`, so that whoever joins a model and a reward meets physical fields without knowing of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.tensors import Field

__all__ = ["Colour", "Scaling"]


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@attrs.frozen
class Colour(ABC):
    """A symmetric positive operator :math:`C^{1/2}` on fields, the same for every channel, and its inverse."""

    @abstractmethod
    def colour(self, z: Field) -> Field:
        """White noise to a random field, C^{1/2} z."""

    @abstractmethod
    def whiten(self, x: Field) -> Field:
        """The inverse, C^{-1/2} x."""


@final
@attrs.frozen
class Scaling:
    """Affine map per channel.  ``fit`` gives every channel mean zero and standard deviation σ_data = ½.

    With a ``colour`` normalised fields are whitened as well.
    """

    shift: tuple[float, ...] = attrs.field(converter=_floats)
    scale: tuple[float, ...] = attrs.field(converter=_floats)
    colour: Colour | None = None

    def __attrs_post_init__(self) -> None:
        if len(self.shift) != len(self.scale) or not all(s > 0 for s in self.scale):
            raise InputError(
                "a Scaling needs one shift and one positive scale per channel",
                got=f"shift={self.shift}, scale={self.scale}",
                why="every channel is mapped by (f − shift)/scale",
                hint="Scaling.fit(fields)",
            )

    @classmethod
    def identity(cls, channels: int) -> Scaling:
        """Physical and normalised units are the same."""
        return cls((0.0,) * channels, (1.0,) * channels)

    @classmethod
    def fit(cls, fields: Field, sigma_data: float = 0.5) -> Scaling:
        """Mean 0 and standard deviation ``sigma_data`` over samples and points of ``fields``."""
        rows = fields.double().transpose(0, 1).flatten(1)
        return cls(rows.mean(1).tolist(), (rows.std(1) / sigma_data).tolist())

    def normalise(self, fields: Field) -> Field:
        """Physical to normalised units."""
        shift, scale = self._columns(fields)
        x = (fields - shift) / scale
        return x if self.colour is None else self.colour.whiten(x)

    def physical(self, x: Field) -> Field:
        """Normalised to physical units."""
        shift, scale = self._columns(x)
        fields = x if self.colour is None else self.colour.colour(x)
        return fields * scale + shift

    def _columns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if x.ndim < 2 or x.shape[1] != len(self.scale):
            raise InputError(
                f"fields with {len(self.scale)} channel(s) along dimension 1 are needed",
                got=f"shape {tuple(x.shape)}",
                why="a Scaling holds one affine map per channel",
                hint="Scaling.fit on fields with these channels",
            )
        column = (-1, *[1] * (x.ndim - 2))
        shift, scale = (torch.tensor(v, dtype=x.dtype, device=x.device).reshape(column) for v in (self.shift, self.scale))
        return shift, scale
