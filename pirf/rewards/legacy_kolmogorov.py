r"""The Kolmogorov residual that the published PIRF code evaluates, reproduced to show what it rewards.

**For comparison only.**  :math:`(\omega_2-\omega_0)/2\Delta t + u\cdot\nabla\omega - \Delta\omega/Re + 0.1\,\omega + 4\cos 4y`
at ω₁, products taken point by point.  One equation for three frames: equal noise on ω₀ and ω₂ changes nothing, and a smooth
ω₁ with any matching slope is perfect.  On truth, aliases dominate it on small grids and the time difference on large ones;
everything zero scores 8.
"""

from __future__ import annotations

from typing import final

import attrs
import torch

from pirf.grids import Grid
from pirf.operators import spectral
from pirf.rewards.base import PDEReward
from pirf.rewards.kolmogorov import torus
from pirf.tensors import Field, Residual

__all__ = ["ReleasedKolmogorov"]


@final
@attrs.frozen
class ReleasedKolmogorov(PDEReward):
    """A central difference in time against the right side at the middle frame, without dealiasing."""

    grid: Grid = attrs.field(validator=torus)
    reynolds: float = attrs.field(validator=attrs.validators.gt(0))
    interval: float = attrs.field(default=1 / 32, validator=attrs.validators.gt(0))

    def residual(self, x: Field) -> Residual:
        """One field for three frames."""
        self.grid.check(x, 3)
        w = x[:, 1:2]
        stream = -spectral.inverse_laplacian(w, self.grid)
        u, v = spectral.derivative(stream, self.grid, 1), -spectral.derivative(stream, self.grid, 0)
        advection = u * spectral.derivative(w, self.grid, 0) + v * spectral.derivative(w, self.grid, 1)
        force = 4 * torch.cos(4 * self.grid.meshgrid()[1]).to(x)
        slope = (x[:, 2:] - x[:, :1]) / (2 * self.interval)
        return slope + advection - spectral.laplacian(w, self.grid) / self.reynolds + 0.1 * w + force
