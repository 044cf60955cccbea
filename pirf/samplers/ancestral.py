r"""Ancestral sampling: the Gaussian reverse kernel with the estimate plugged in for x0.

Stochasticity η splits the arrival level into fresh noise and a deterministic part,
:math:`\sigma_\uparrow^2 = \eta^2 \sigma'^2 (\sigma^2 - \sigma'^2)/\sigma^2` and
:math:`\sigma_\downarrow^2 = \sigma'^2 - \sigma_\uparrow^2`; the step has mean
:math:`D + \tfrac{\sigma_\downarrow}{\sigma}(x - D)` and variance :math:`\sigma_\uparrow^2`.  η = 1 is the memoryless
DDPM kernel, η = 0 is Euler.  The step to σ = 0 is deterministic.
"""

from __future__ import annotations

import math
from typing import final

import attrs

from pirf.samplers.base import Denoise, State, StochasticSampler, Transition

__all__ = ["Ancestral"]


@final
@attrs.frozen
class Ancestral(StochasticSampler):
    """Euler to σ↓, then fresh noise of size σ↑."""

    eta: float = attrs.field(default=1.0, validator=(attrs.validators.ge(0), attrs.validators.le(1)))

    def transition(self, denoise: Denoise, state: State, departure: float, arrival: float) -> Transition:
        """Mean and variance; one evaluation."""
        estimate = denoise(state.x, departure)
        up = (self.eta * arrival) ** 2 * (departure**2 - arrival**2) / departure**2
        down = math.sqrt(arrival**2 - up)
        return Transition(estimate + down / departure * (state.x - estimate), up, estimate)
