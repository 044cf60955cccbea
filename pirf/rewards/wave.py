r"""**Wave**: :math:`u_{tt} = c^2 u_{xx}` on (t, x), u = 0 at both ends; channels (u, v) with v = u_t.

*Discrete law.*  Frames at both ends of [0, T] (``nodes``), cells in x with odd ghosts.  The second difference is diagonal in
the sines, :math:`\omega_k = 2ch^{-1}\sin(\pi k/2n)`, and with :math:`\Lambda = c\sqrt{-\Delta_h}`, ω in every mode, the
equation turns each pair (Λu, v) by the angle ωΔt from frame to frame.  The residual is what is left of

.. math:: r^k = \frac1{\Delta t} \left[ \binom{\Lambda u}{v}^{k+1} -
   \begin{pmatrix} \cos \Lambda\Delta t & \sin \Lambda\Delta t \\ -\sin \Lambda\Delta t & \cos \Lambda\Delta t \end{pmatrix}
   \binom{\Lambda u}{v}^k \right],

two rows per step and point.  It is the law of :func:`pirf.reference.wave.solve`, written again from the equation.

*Units.*  A row of u alone would be a velocity and a row of v an acceleration, and their sum of squares would mean nothing.  Λu
is a velocity as v is, so that both rows are accelerations and need no weight: their mean square is the *energy* of a step's
defect over Δt².  Energy is what the propagator preserves, so that no step hides or inflates the defect of another, and the
error of frame k in the energy norm is at most :math:`\Delta t \sum_{j<k} \|r^j\|`.

*Two norms.*  ``norm="solution"`` scores the error of every later frame itself, against the exact evolution of the first one, u
and v in units of ``scale``.

*Data of the exact equation*, from a finer solver, travel at c where this law is dispersive: ω_k < πck/L.  ``form="spectral"``
takes ω_k = πck/L, with which smooth exact solutions score round-off.  Both forms are exact in time, for any Δt.

*Good values.*  S is the mean square of the acceleration u_tt: a first frame that stays for ever scores ρ = MSE/S of order 1.

*How to cheat.*  Rest solves the equation, so does a single standing mode, and so does every multiple of a solution.  Slow decay
is cheap, since both channels shrink together.  Watch variance, diversity, spectrum, and the energy: its law and its balance.
"""

from __future__ import annotations

import math
from typing import Literal, final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.transforms import dirichlet_eigenvalues, sine_matrix
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["Wave"]


def _time_and_string(reward: object, attribute: object, grid: Grid) -> None:
    if [axis.layout for axis in grid.axes] != ["nodes", "cells"]:
        raise InputError(
            "Wave needs the axes (t, x): frames at nodes, points at cell centres",
            got=f"{grid!r}",
            why="the residual steps from frame to frame, and u = 0 stands on the faces at both ends",
            hint="Grid((Axis(n, 1.0, 'nodes'), Axis(n, 1.0, 'cells')))",
        )


@final
@attrs.frozen
class Wave(PDEReward):
    """u_tt = c² u_xx on (t, x), u = 0 at both ends; ``scale`` are the units of u and v in the solution norm."""

    grid: Grid = attrs.field(validator=_time_and_string)
    speed: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    form: Literal["semi-discrete", "spectral"] = attrs.field(
        default="semi-discrete", validator=attrs.validators.in_(("semi-discrete", "spectral"))
    )
    norm: Literal["l2", "solution"] = attrs.field(default="l2", validator=attrs.validators.in_(("l2", "solution")))
    scale: tuple[float, float] = attrs.field(
        default=(1.0, 1.0),
        validator=[
            attrs.validators.deep_iterable(attrs.validators.gt(0)),
            attrs.validators.min_len(2),
            attrs.validators.max_len(2),
        ],
    )

    def residual(self, x: Field) -> Residual:
        """Two rows for every step and point, ``(batch, 2, frames − 1, points)``."""
        self.grid.check(x, 2)
        time, sines, frequencies = self.grid.axes[0], sine_matrix(x.shape[-1], x), self._frequencies(x)
        elapsed, before = time.points().to(x.device)[1:, None], slice(0, 1)  # since the first frame
        if self.norm == "l2":
            elapsed, before = elapsed[:1], slice(0, -1)  # since the frame before
        angle = frequencies * elapsed
        omega, cosine, sine = frequencies.to(x), angle.cos().to(x), angle.sin().to(x)
        modes = x @ sines
        p, q = omega * modes[:, 0], modes[:, 1]  # of Λu and v
        of_p = p[:, 1:] - cosine * p[:, before] - sine * q[:, before]
        of_q = q[:, 1:] + sine * p[:, before] - cosine * q[:, before]
        if self.norm == "l2":
            rows = torch.stack([of_p, of_q], 1) / time.spacing
        else:
            rows = torch.stack([of_p / (self.scale[0] * omega), of_q / self.scale[1]], 1)
        return rows @ sines.T

    def _frequencies(self, like: Tensor) -> Tensor:
        """ω_k of the modes k = 1..n, in float64: angles of many turns."""
        axis, wide = self.grid.axes[1], torch.zeros((), dtype=torch.float64, device=like.device)
        if self.form == "spectral":
            return math.pi * self.speed / axis.extent * torch.arange(1, axis.n + 1, dtype=wide.dtype, device=wide.device)
        return self.speed * (-dirichlet_eigenvalues(axis, wide)).sqrt()
