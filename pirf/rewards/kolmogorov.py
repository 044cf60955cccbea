r"""**Kolmogorov flow**: :math:`\omega_t + u\cdot\nabla\omega = \Delta\omega/Re - 0.1\,\omega - 4\cos 4y` on the torus [0, 2π)²;
channels are three consecutive frames (ω₀, ω₁, ω₂), Δt apart.

y is the last axis, :math:`u = (\psi_y, -\psi_x)` with :math:`-\Delta\psi = \omega`.

*Discrete law.*  In space the Fourier method of :func:`pirf.reference.kolmogorov.tendency`, written again from the equation:
:math:`G(\omega) = -\nabla\cdot P(u\,P\omega) + (\Delta/Re - 0.1)\,\omega - 4\cos 4y` with P the 2/3 rule.  In time two forms,
each with two equations for three frames, so that no frame is free:

- ``form="lobatto"`` (Lobatto IIIA; third order each, their sum fourth):
  :math:`r_1 = (\omega_1-\omega_0)/\Delta t - (5G_0 + 8G_1 - G_2)/12`,
  :math:`r_2 = (\omega_2-\omega_1)/\Delta t - (-G_0 + 8G_1 + 5G_2)/12`.
- ``form="map"`` (fourth order): :math:`r_k = (\omega_{k+1} - \Phi_{\Delta t}(\omega_k))/\Delta t` with Φ the solver itself,
  ``substeps`` steps of the integrating-factor Runge–Kutta method.  Truth is at round-off when these are the solver's own.
  It costs 4·``substeps`` evaluations of G per frame where the other form needs one; its backward pass runs every sub-step
  again instead of remembering what happened in it.

*Adjoint.*  That of the Lobatto form is :math:`G'^T` (:mod:`pirf.operators.vorticity`) after the transposed weights: it keeps
the three frames and computes the velocities again.

*Good values.*  The problem's S is ⟨ω_t²⟩, so ρ = MSE/S is about 1 for a frozen flow.  Truth itself is not exact for the
Lobatto form: ``problem.floor`` says what it scores, and ρ cannot be asked to fall below it.

*How to cheat.*  Any smooth ω₀ that is correctly evolved, and the laminar −4/(16/Re + 0.1)·cos 4y that stands still, score
like data or better; so does a flow plus a mean that decays as exp(−0.1t), which no velocity feels.  Watch spectrum and law.
"""

from __future__ import annotations

import math
from typing import Literal, final

import attrs
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import spectral
from pirf.operators.adjoints import smooth
from pirf.operators.constants import constant
from pirf.operators.vorticity import tendency, tendency_tangent, tendency_transpose, transport
from pirf.rewards.base import PDEReward
from pirf.tensors import Field, Residual

__all__ = ["Kolmogorov"]

DRAG, STRENGTH, WAVES = 0.1, 4.0, 4  # −drag ω − strength cos(waves y)


def torus(instance: object, attribute: object, grid: Grid) -> None:
    """Refuse a grid on which the equation cannot be written down."""
    fits = len(grid.axes) == 2 and all(a.layout == "periodic" and math.isclose(a.extent, 2 * math.pi) for a in grid.axes)
    if not fits or grid.shape[1] <= 3 * WAVES:
        raise InputError(
            f"Kolmogorov flow needs a periodic grid on [0, 2π)² with more than {3 * WAVES} points along y",
            got=repr(grid),
            why=f"its force is cos {WAVES}y, which must survive the 2/3 rule",
            hint="Grid.square(32, 2 * math.pi, 'periodic')",
        )


@final
@attrs.frozen
class Kolmogorov(PDEReward):
    """ω_t + u·∇ω = Δω/Re − 0.1ω − 4cos 4y for three frames, ``interval`` apart."""

    grid: Grid = attrs.field(validator=torus)
    reynolds: float = attrs.field(validator=attrs.validators.gt(0))
    form: Literal["lobatto", "map"] = attrs.field(default="lobatto", validator=attrs.validators.in_(("lobatto", "map")))
    substeps: int = attrs.field(default=8, validator=attrs.validators.ge(1))
    interval: float = attrs.field(default=1 / 32, validator=attrs.validators.gt(0))

    def residual(self, x: Field) -> Residual:
        """One field per pair of neighbouring frames."""
        self.grid.check(x, 3)
        if self.form == "map":
            slope = (x[:, 1:] - x[:, :-1]) / self.interval
            return slope - (self.flow_map(x[:, :-1]) - x[:, :-1]) / self.interval
        return smooth(x, self._rows, self._tangent, self._transposed)

    def _rows(self, x: Field) -> Residual:
        return self._collocated(x, self.tendency(x))

    def _tangent(self, x: Field, v: Field) -> Residual:
        return self._collocated(v, tendency_tangent(x, v, self.grid, self._linear(x)))

    def _collocated(self, x: Field, rate: Field) -> Residual:
        """Lobatto IIIA: the parabola through three rates, integrated over either interval."""
        g0, g1, g2 = torch.chunk(rate, 3, 1)
        return (x[:, 1:] - x[:, :-1]) / self.interval - torch.cat([5 * g0 + 8 * g1 - g2, -g0 + 8 * g1 + 5 * g2], 1) / 12

    def _transposed(self, x: Field, w: Residual) -> Field:
        first, second = torch.chunk(w, 2, 1)
        weights = torch.cat([5 * first - second, 8 * (first + second), 5 * second - first], 1) / -12
        slope = torch.cat([-first, first - second, second], 1) / self.interval
        return slope + tendency_transpose(x, weights, self.grid, self._linear(x))

    def tendency(self, vorticity: Field) -> Field:
        """G(ω), every channel a flow of its own."""
        return tendency(vorticity, self.grid, self._linear(vorticity), _force(self.grid, vorticity))

    def flow_map(self, vorticity: Field) -> Field:
        """Φ(ω), every channel a flow of its own, one ``interval`` later."""
        h = self.interval / self.substeps
        half = torch.exp(0.5 * h * self._linear(vorticity))
        modes = spectral.modes(vorticity, self.grid)
        for _ in range(self.substeps):
            if torch.is_grad_enabled() and modes.requires_grad and not torch.compiler.is_compiling():
                modes = checkpoint(self._step, modes, half, h, use_reentrant=False, preserve_rng_state=False)
            else:
                modes = self._step(modes, half, h)
        return spectral.points(modes, self.grid)

    def _linear(self, like: Tensor) -> Tensor:
        return spectral.symbols(self.grid, like).laplacian / self.reynolds - DRAG

    def _step(self, modes: Tensor, half: Tensor, h: float) -> Tensor:
        """One step of IF-RK4; ``half`` is the linear part over half a step."""
        first = self._nonlinear(modes)
        second = self._nonlinear(half * (modes + 0.5 * h * first))
        third = self._nonlinear(half * modes + 0.5 * h * second)
        fourth = self._nonlinear(half * (half * modes + h * third))
        return half * (half * (modes + h / 6 * first) + h / 3 * (second + third)) + h / 6 * fourth

    def _nonlinear(self, modes: Tensor) -> Tensor:
        """−∇·P(u Pω) − 4cos 4y in modes."""
        return transport(modes, self.grid) + _force(self.grid, modes.real)


def _force(grid: Grid, like: Tensor) -> Tensor:
    """−4cos 4y in modes, a real number in one of them."""
    return _wave(grid, like.dtype, like.device)


@constant
def _wave(grid: Grid, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A sum over all points puts half of the amplitude into each of ±4."""
    n, m = grid.shape
    wave = torch.zeros(n, m // 2 + 1, dtype=dtype, device=device)
    wave[0, WAVES] = -STRENGTH * n * m / 2
    return wave
