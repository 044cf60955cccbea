r"""Ancestral sampling: the Gaussian reverse kernel with the estimate plugged in for x0.

Stochasticity η splits the arrival level into fresh noise and a deterministic part,
:math:`\sigma_\uparrow^2 = \eta^2 \sigma'^2 (\sigma^2 - \sigma'^2)/\sigma^2` and
:math:`\sigma_\downarrow^2 = \sigma'^2 - \sigma_\uparrow^2`; the step has mean
:math:`D + \tfrac{\sigma_\downarrow}{\sigma}(x - D)` and variance :math:`\sigma_\uparrow^2`.  η = 1 is the memoryless
DDPM kernel, η = 0 is Euler.  The step to σ = 0 is deterministic.

The plug-in kernel forgets that x0 is uncertain.  For Gaussian data of standard deviation s the exact kernel has the same mean
and the variance :math:`\sigma_\uparrow^2 + (1 - \sigma_\downarrow/\sigma)^2\, s^2\sigma^2/(s^2 + \sigma^2)`; with η = 1
that is :math:`(s^2 + \sigma'^2)(\sigma^2 - \sigma'^2)/(s^2 + \sigma^2)`, and the chain samples the data's law for any
number of steps.  ``spread=s`` asks for it: an oracle for tests, and for data that nearly is Gaussian.
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
    """Euler to σ↓, then fresh noise of size σ↑; with ``spread``, the kernel of Gaussian data."""

    eta: float = attrs.field(default=1.0, validator=(attrs.validators.ge(0), attrs.validators.le(1)))
    spread: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))

    @property
    def memoryless(self) -> bool:
        """With η = 1."""
        return self.eta == 1

    def variance(self, departure: float, arrival: float) -> float:
        """σ↑², and what the estimate leaves unknown."""
        up, down = self._split(departure, arrival)
        unknown = (self.spread * departure) ** 2 / (self.spread**2 + departure**2)
        return up + (1 - down / departure) ** 2 * unknown

    def transition(self, denoise: Denoise, state: State, departure: float, arrival: float) -> Transition:
        """Mean and variance; one evaluation."""
        estimate = denoise(state.x, departure)
        _, down = self._split(departure, arrival)
        mean = estimate + down / departure * (state.x - estimate)
        return Transition(mean, self.variance(departure, arrival), estimate)

    def _split(self, departure: float, arrival: float) -> tuple[float, float]:
        """σ↑² and σ↓."""
        up = (self.eta * arrival) ** 2 * (departure**2 - arrival**2) / departure**2
        return up, math.sqrt(arrival**2 - up)
