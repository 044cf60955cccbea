r"""DPM-Solver++(2M) (Lu et al. 2022): second order at one evaluation a step, by remembering the previous estimate.

With :math:`\lambda = -\ln\sigma`, h the step in λ and r = h_previous/h,
:math:`\bar D = (1 + \tfrac1{2r}) D_k - \tfrac1{2r} D_{k-1}` and
:math:`x' = \tfrac{\sigma'}{\sigma} x + (1 - \tfrac{\sigma'}{\sigma}) \bar D`.
"""

from __future__ import annotations

import math
from typing import final

import attrs
import torch

from pirf.noise import Noise
from pirf.samplers.base import Denoise, Sampler, State

__all__ = ["Multistep"]


@final
@attrs.frozen
class Multistep(Sampler):
    """Two-step exponential integrator; the first step and the step to σ = 0 are Euler's."""

    def step(self, denoise: Denoise, state: State, departure: float, arrival: float, noise: Noise) -> State:
        """One evaluation; the memory is (previous estimate, previous level)."""
        estimate = denoise(state.x, departure)
        blend = estimate
        if state.memory and arrival > 0:
            previous, level = state.memory
            ratio = math.log(float(level) / departure) / math.log(departure / arrival)
            blend = estimate + (estimate - previous) / (2 * ratio)
        x = blend + arrival / departure * (state.x - blend)
        memory = (estimate.detach(), torch.tensor(departure, dtype=torch.float64))
        return State(x, memory, estimate)
