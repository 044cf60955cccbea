r"""**Burgers**: :math:`u_t + u u_x = \nu u_{xx}`, periodic in x; one channel with axes (t, x).

*Discrete law.*  Frames at both ends of [0, T] (``nodes``), ``periodic`` points in x.  With
:math:`F(u) = \tfrac13(u\,Du + D(u^2)) - \nu Lu`, D central and L compact, the residual is the Crank–Nicolson equation
:math:`r^k = (u^{k+1} - u^k)/\Delta t + \tfrac12(F(u^{k+1}) + F(u^k))`, one row per step and point.  It is the law of
:func:`pirf.reference.burgers.solve`, written again from the equation.  The compact L sees checkerboards in x, the difference
in time those in t, and every frame stands in a row, the outer ones too.

*Adjoint.*  :math:`\lambda_u^k = (\lambda^{k-1} - \lambda^k)/\Delta t + F'(u^k)^T\tfrac12(\lambda^{k-1} + \lambda^k)`, where a
λ out of range is 0 and F′ᵀ that of :mod:`pirf.operators.advection`.

*Data of the exact equation*, from a finer or a spectral solver, differs from this law by its discretisation error.
``form="map"`` judges such data: :math:`r^k = (u^{k+1} - \Phi(u^k))/\Delta t`, where Φ is one ETDRK4 step, of fourth order
in Δt and spectral in x.

*Good values.*  S = 0.10 is about the mean square of u_t: ρ = MSE/S is 0 for a solution and of order 1 for frames without
relation.  ``problem.floor`` is what solutions score in float32.

*How to cheat.*  Constants solve the equation, and so does the evolution of any other u₀: flat or faint fields please every
residual.  Watch variance, diversity and spectrum.
"""

from __future__ import annotations

import math
from typing import Literal, final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.adjoints import smooth
from pirf.operators.advection import (
    advection_diffusion,
    advection_diffusion_tangent,
    advection_diffusion_transpose,
)
from pirf.operators.exponential import etdrk4
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["Burgers"]


def _time_and_circle(reward: object, attribute: object, grid: Grid) -> None:
    if [axis.layout for axis in grid.axes] != ["nodes", "periodic"]:
        raise InputError(
            "Burgers needs the axes (t, x): frames at nodes, periodic points",
            got=f"{grid!r}",
            why="the residual steps from frame to frame around a circle",
            hint="Grid((Axis(n, 1.0, 'nodes'), Axis(n, 1.0, 'periodic')))",
        )


@final
@attrs.frozen
class Burgers(PDEReward):
    """u_t + u u_x = ν u_xx on (t, x), periodic in x."""

    grid: Grid = attrs.field(validator=_time_and_circle)
    viscosity: float = attrs.field(default=0.01, validator=attrs.validators.gt(0))
    form: Literal["crank-nicolson", "map"] = attrs.field(
        default="crank-nicolson", validator=attrs.validators.in_(("crank-nicolson", "map"))
    )

    def residual(self, x: Field) -> Residual:
        """One row for every step and point, ``(batch, 1, frames − 1, points)``."""
        self.grid.check(x, 1)
        if self.form == "map":
            dt = self.grid.axes[0].spacing
            return (x[:, :, 1:] - self._map(x[:, :, :-1], dt)) / dt
        return smooth(x, self._rows, self._tangent, self._transposed)

    def _rows(self, x: Field) -> Residual:
        return self._stepped(x, advection_diffusion(x, self.grid, self.viscosity, 1))

    def _tangent(self, x: Field, v: Field) -> Residual:
        return self._stepped(v, advection_diffusion_tangent(x, v, self.grid, self.viscosity, 1))

    def _stepped(self, u: Field, rate: Field) -> Residual:
        """The trapezium in time."""
        return (u[:, :, 1:] - u[:, :, :-1]) / self.grid.axes[0].spacing + 0.5 * (rate[:, :, 1:] + rate[:, :, :-1])

    def _transposed(self, x: Field, w: Residual) -> Field:
        edge = torch.zeros_like(w[:, :, :1])
        before, after = torch.cat([edge, w], 2), torch.cat([w, edge], 2)
        pulled = advection_diffusion_transpose(x, 0.5 * (before + after), self.grid, self.viscosity, 1)
        return (before - after) / self.grid.axes[0].spacing + pulled

    def _map(self, u: Field, dt: float) -> Field:
        """Φ: one step of the exact equation, to fourth order."""
        axis = self.grid.axes[1]
        k = 2 * math.pi / axis.extent * torch.arange(axis.n // 2 + 1, dtype=u.dtype, device=u.device)
        slope = torch.where(2 * torch.arange(len(k), device=u.device) == axis.n, 0.0, k)  # a sawtooth has no odd derivative

        def advection(modes: Tensor) -> Tensor:
            rate: Tensor = -0.5j * slope * torch.fft.rfft(torch.fft.irfft(modes, axis.n).square())
            return rate

        after: Tensor = torch.fft.irfft(etdrk4(torch.fft.rfft(u), dt, -self.viscosity * k**2, advection), axis.n)
        return after
