r"""The only bridge between physical and normalised units: :math:`x = (f - \text{shift}) / \text{scale}` per channel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.tensors import Field

__all__ = ["Scaling"]


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@final
@attrs.frozen
class Scaling:
    """Affine map per channel.  ``fit`` gives every channel mean zero and standard deviation σ_data = ½."""

    shift: tuple[float, ...] = attrs.field(converter=_floats)
    scale: tuple[float, ...] = attrs.field(converter=_floats)

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
        return (fields - shift) / scale

    def physical(self, x: Field) -> Field:
        """Normalised to physical units."""
        shift, scale = self._columns(x)
        return x * scale + shift

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
