r"""Euler on the probability-flow ODE :math:`dx/d\sigma = (x - D(x, \sigma))/\sigma`: first order, one evaluation a step."""

from __future__ import annotations

from typing import final

import attrs

from pirf.noise import Noise
from pirf.samplers.base import Denoise, Sampler, State

__all__ = ["Euler"]


@final
@attrs.frozen
class Euler(Sampler):
    r""":math:`x' = D + \tfrac{\sigma'}{\sigma}(x - D)`; the last step, to σ = 0, returns D itself."""

    def step(self, denoise: Denoise, state: State, departure: float, arrival: float, noise: Noise) -> State:
        """One evaluation."""
        estimate = denoise(state.x, departure)
        return State(estimate + arrival / departure * (state.x - estimate), (), estimate)
