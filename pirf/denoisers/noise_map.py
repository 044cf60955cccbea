r"""A frozen denoiser whose chains begin elsewhere: :math:`x_0 = \sigma_0\,(z + f_\varphi(z))` in place of :math:`\sigma_0 z`.

f is a linear map of the channels beside two hidden convolutions, :math:`f(z) = A z + W\,h(z) + b`, with A, W and b zero at
first: the model begins as the base to the last bit.  Sampling evaluates f once and the base as often as before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import nn

from pirf.denoisers.base import Denoiser
from pirf.errors import InputError, instance
from pirf.tensors import Condition, Field, Level

__all__ = ["NoiseMap"]


@final
class NoiseMap(Denoiser):
    """``base`` with a map of the initial noise, ``width`` channels wide, which is all that fine-tuning may touch."""

    def __init__(self, base: Denoiser, width: int = 16) -> None:
        instance("a denoiser as the base", base, Denoiser, hint='NoiseMap(pirf.load("poisson-32"))')
        super().__init__(base.shape, base.scaling)
        if width < 1:
            raise InputError(
                "a map of at least one channel is needed",
                got=f"width={width}",
                why="h(z) would be empty",
                hint="width=16",
            )
        self.base, self.width = base, width
        self.offset = _Offset(base.shape, width).to(base.like)

    def extra_repr(self) -> str:
        """The width of the map."""
        return f"width={self.width}"

    def start(self, z: Field) -> Field:
        """Z + f(z), as the base starts from it."""
        return self.base.start(z + self.offset(z))

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The base's estimate."""
        return self.base(x, sigma, condition)

    @property
    def cost(self) -> int:
        """The base's."""
        return self.base.cost

    def for_step(self, departure: float) -> Denoiser:
        """The base's."""
        return self.base.for_step(departure)

    def admit(self, levels: Sequence[float]) -> None:
        """The base's."""
        self.base.admit(levels)

    def tunable(self) -> list[nn.Parameter]:
        """The weights of f."""
        return list(self.offset.parameters())


@final
class _Offset(nn.Module):
    """The map f: z → Az + W h(z) + b on grids of any dimension (from the third axis on, axes are laid out as one)."""

    def __init__(self, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        fields, *grid = shape
        self.grid = (*grid[:2], math.prod(grid[2:])) if len(grid) > 3 else tuple(grid) or (1,)
        kind: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(self.grid) - 1]
        with torch.random.fork_rng(devices=()):  # initial weights are always the same and leave the generator alone
            torch.manual_seed(0)
            self.linear = kind(fields, fields, 1, bias=False)
            self.first, self.second = kind(fields, width, 3, padding=1), kind(width, width, 3, padding=1)
            self.last = kind(width, fields, 3, padding=1)
        for parameter in (*self.linear.parameters(), *self.last.parameters()):
            nn.init.zeros_(parameter)

    def forward(self, z: Field) -> Field:
        x = z.reshape(*z.shape[:2], *self.grid)
        h = nn.functional.silu(self.second(nn.functional.silu(self.first(x))))
        out: Field = self.linear(x) + self.last(h)
        return out.reshape(z.shape)
