r"""**Gray–Scott**: :math:`u_t = D_u \Delta u - uv^2 + F(1 - u)`, :math:`v_t = D_v \Delta v + uv^2 - (F + k)v`, no flux through
the walls; channels (u₀, v₀, u₁, v₁), two species in two frames, Δt apart.

*Discrete law.*  Cells with even ghosts, five-point Laplacians.  With Φ the flow over Δt, the residual is
:math:`(u_1 - \Phi_u(u_0, v_0))/\Delta t` and :math:`(v_1 - \Phi_v(u_0, v_0))/\Delta t`.  Φ is ``substeps`` Strang steps of
length h: half a step of the part that is linear in (1 − u, v), exact in its cosine modes, a whole one of u′ = −uv², v′ = uv²,
half a linear one.  With w = u + v, which the reaction conserves cell by cell,
:math:`u(h) = u(0)\exp(-\tfrac h6(v^2 + 4v_{1/2}^2 + v_1^2))`, :math:`v_{1/2} = w - u e^{-h(v^2 + \tilde v^2)/4}`,
:math:`\tilde v = w - u e^{-hv^2/2}`, :math:`v_1 = w - u e^{-hv_{1/2}^2}`.  It is the law of
:func:`pirf.reference.gray_scott.advance`, written again from the equation: truth is at round-off, and data of the exact
equation differ from it in second order of h.

*Expected behaviour.*  From seeds, stripes grow and fill the square.  No state makes Φ overflow: fields of an untrained model
have finite scores and gradients.

*Cost.*  One cosine transform of both species each way and four exponentials per sub-step; the backward pass runs every
sub-step again instead of remembering what happened in it.

*Good values.*  The problem's S is the mean of :math:`((u_1 - u_0)^2 + (v_1 - v_0)^2)/2\Delta t^2`: ρ = MSE/S is about 1 for a
pattern that stands still.

*How to cheat.*  The empty state (1, 0) solves the equation, every homogeneous state stays homogeneous, and any (u₀, v₀) can be
followed correctly.  Watch variance, spectrum and diversity.
"""

from __future__ import annotations

from typing import final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import dct, idct
from pirf.operators.exponential import repeated
from pirf.operators.transforms import neumann_spectrum
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["GrayScott"]


def _on_cells(reward: object, attribute: object, grid: Grid) -> None:
    if len(grid.axes) != 2 or any(axis.layout != "cells" for axis in grid.axes):
        raise InputError(
            "Gray–Scott needs two axes of cells",
            got=repr(grid),
            why="its walls stand half a cell outside the outermost centres",
            hint="Grid.square(32, 32 * 2.5 / 256)",
        )


def _two_positive(reward: object, attribute: object, values: tuple[float, float]) -> None:
    if len(values) != 2 or not min(values) > 0:
        raise InputError(
            "diffusion needs two positive numbers", got=repr(values), why="u and v each have their own", hint="(2e-5, 1e-5)"
        )


@final
@attrs.frozen
class GrayScott(PDEReward):
    """u_t = D_u Δu − uv² + F(1 − u), v_t = D_v Δv + uv² − (F + k)v for two frames, ``interval`` apart."""

    grid: Grid = attrs.field(validator=_on_cells)
    feed: float = attrs.field(default=0.04, validator=attrs.validators.ge(0))
    kill: float = attrs.field(default=0.06, validator=attrs.validators.ge(0))
    diffusion: tuple[float, float] = attrs.field(default=(2e-5, 1e-5), validator=_two_positive)
    interval: float = attrs.field(default=16.0, validator=attrs.validators.gt(0))
    substeps: int = attrs.field(default=16, validator=attrs.validators.ge(1))

    def residual(self, x: Field) -> Residual:
        """One field per species."""
        self.grid.check(x, 4)
        return (x[:, 2:] - self.flow_map(x[:, :2])) / self.interval

    def flow_map(self, state: Field) -> Field:
        """Φ(u, v), one ``interval`` later."""
        h = self.interval / self.substeps
        laplacian = neumann_spectrum(self.grid, state)
        rates = torch.stack([self.diffusion[0] * laplacian - self.feed, self.diffusion[1] * laplacian - self.feed - self.kill])
        half = torch.exp(0.5 * h * rates)

        def step(modes: Tensor) -> Tensor:
            return half * dct(_react(idct(half * modes), h))

        modes = repeated(step, dct(_flipped(state)), self.substeps)
        return _flipped(idct(modes))


def _flipped(state: Tensor) -> Tensor:
    """(u, v) ↔ (1 − u, v), in which the empty state is 0."""
    u, v = state[:, :1], state[:, 1:]
    return torch.cat([1 - u, v], 1)


def _react(state: Tensor, h: float) -> Tensor:
    """(1 − u, v) after the reaction alone has run for h."""
    flipped, v = state[:, :1], state[:, 1:]
    u = 1 - flipped
    total = u + v
    early = total - u * torch.exp(-0.5 * h * v**2)
    middle = total - u * torch.exp(-0.25 * h * (v**2 + early**2))
    late = total - u * torch.exp(-h * middle**2)
    after = u * torch.exp(-h / 6 * (v**2 + 4 * middle**2 + late**2))
    return torch.cat([1 - after, total - after], 1)
