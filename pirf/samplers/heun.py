r"""Heun on the probability-flow ODE :math:`dx/d\sigma = (x - D(x, \sigma))/\sigma` (Karras et al. 2022): second order.

Two evaluations a step and one at the last, which is Euler to σ = 0: 2N − 1 in all, and :math:`x_N = D(x, \sigma_{N-1})`.
"""

from __future__ import annotations

from typing import final

import attrs

from pirf.noise import Noise
from pirf.samplers.base import Denoise, Sampler, State

__all__ = ["Heun"]


@final
@attrs.frozen
class Heun(Sampler):
    r""":math:`x' = x + \tfrac{\sigma'-\sigma}{2}(d + d')`, with d' at the Euler point."""

    def step(self, denoise: Denoise, state: State, departure: float, arrival: float, noise: Noise) -> State:
        """Predict, correct; both evaluations belong to the network of the departure level."""
        estimate = denoise(state.x, departure)
        if arrival == 0:
            return State(estimate, (), estimate)
        slope = (state.x - estimate) / departure
        predicted = state.x + (arrival - departure) * slope
        corrected = denoise(predicted, arrival)
        average = 0.5 * (slope + (predicted - corrected) / arrival)
        return State(state.x + (arrival - departure) * average, (), corrected)
