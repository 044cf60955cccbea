r"""**Kuramoto–Sivashinsky**: :math:`u_t + u u_x + u_{xx} + u_{xxxx} = 0`, periodic in x; one channel with axes (t, x).

*Discrete law.*  Frames at both ends of [0, T] (``nodes``), ``periodic`` points in x.  With Φ the flow over the
time Δt between two frames, the residual is :math:`r^k = (u^{k+1} - \Phi(u^k))/\Delta t`, one row per step and point.  Φ is
``substeps`` steps of ETDRK4 on the Fourier modes of :math:`u_t = -\tfrac12 \partial_x P(Pu)^2 - u_{xx} - u_{xxxx}`, P the 2/3
rule.  It is the law of :func:`pirf.reference.kuramoto_sivashinsky.frames`, written again from the equation: truth is at
round-off when the sub-steps are the solver's own, of fourth order in them otherwise.

*Expected behaviour.*  On circles of L ≈ 22 and more, chaos: cells of length 2π√2 drift, merge and split.  Neighbouring
solutions part exponentially, so that many frames solved again from the first one, in another precision, end elsewhere.  A row
of the residual looks one Δt ahead and does not feel that.

*Good values.*  The problem's S is ⟨u_t²⟩: ρ = MSE/S is 0 for a solution and 1 for a state that stands still.

*Cost.*  4·``substeps`` nonlinear terms per frame, all frames at once; the backward pass runs every sub-step again instead of
remembering what happened in it.  Fields of many times the data's amplitude outrun the sub-steps and score −∞ or NaN.

*How to cheat.*  u = 0, cells at rest and any other first frame, correctly evolved, solve the equation; so does a solution seen
from a moving frame, u(x − ct, t) + c.  Watch spectrum, law and diversity.
"""

from __future__ import annotations

import math
from typing import final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.exponential import etdrk4
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["KuramotoSivashinsky"]


def _time_and_circle(reward: object, attribute: object, grid: Grid) -> None:
    if [axis.layout for axis in grid.axes] != ["nodes", "periodic"]:
        raise InputError(
            "Kuramoto–Sivashinsky needs the axes (t, x): frames at nodes, periodic points",
            got=repr(grid),
            why="the residual steps from frame to frame around a circle",
            hint="Grid((Axis(32, 31.0, 'nodes'), Axis(32, 22.0, 'periodic')))",
        )


@final
@attrs.frozen
class KuramotoSivashinsky(PDEReward):
    """u_t + u u_x + u_xx + u_xxxx = 0 on (t, x), periodic in x."""

    grid: Grid = attrs.field(validator=_time_and_circle)
    substeps: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    interval: float | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.gt(0)))
    """Δt, where it is not the spacing of the time axis."""

    def residual(self, x: Field) -> Residual:
        """One row for every step and point, ``(batch, 1, frames − 1, points)``."""
        self.grid.check(x, 1)
        return (x[:, :, 1:] - self.flow_map(x[:, :, :-1])) / self._interval

    def flow_map(self, u: Field) -> Field:
        """Φ(u), every row along the last axis one Δt later."""
        axis = self.grid.axes[1]
        m = torch.arange(axis.n // 2 + 1, dtype=u.dtype, device=u.device)
        k, keep = 2 * math.pi / axis.extent * m, (3 * m < axis.n).to(u)

        def advection(modes: Tensor) -> Tensor:
            rate: Tensor = -0.5j * k * keep * torch.fft.rfft(torch.fft.irfft(keep * modes, axis.n).square())
            return rate

        modes = etdrk4(torch.fft.rfft(u), self._interval / self.substeps, k**2 - k**4, advection, self.substeps)
        after: Tensor = torch.fft.irfft(modes, axis.n)
        return after

    @property
    def _interval(self) -> float:
        return self.grid.axes[0].spacing if self.interval is None else self.interval
