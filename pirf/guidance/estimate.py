r"""Guidance that corrects the estimate, :math:`\tilde D = D + \delta(x, \sigma)`, and leaves the step to the sampler.

Every evaluation of a step is corrected, a corrector's as well, so that such guidance meets every sampler as it is, with the
order that the sampler has.  The corrected estimate carries no gradient.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch

from pirf.denoisers import Denoiser
from pirf.guidance.base import Guidance
from pirf.tensors import Condition, Field, Level

__all__ = ["EstimateGuidance"]


class EstimateGuidance(Guidance):
    """A rule (network, x, σ, condition) → corrected estimate; inside it gradients are recorded."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__(denoiser)
        # One wrapper for each network of a step, always the same: a multistep memory is void when the network changes.
        self._known: dict[Denoiser, Denoiser] = {}

    @abstractmethod
    def corrected(self, network: Denoiser, x: Field, sigma: Level, condition: Condition | None) -> Field:
        """The corrected estimate; ``x`` is a leaf that requires a gradient, and the result may be in its graph."""

    @property
    def products(self) -> int:
        """Vector–Jacobian products of the network in one correction."""
        return 0

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The corrected estimate of the network that the level belongs to."""
        corrected: Field = _Corrected(self, self.inner)(x, sigma, condition)
        return corrected

    def for_step(self, departure: float) -> Denoiser:
        """The network of the step, its estimates corrected."""
        network = self.inner.for_step(departure)
        if network not in self._known:
            self._known[network] = _Corrected(self, network)
        return self._known[network]


@final
class _Corrected(Denoiser):
    """A network with its corrections, for the chain: what one call costs is counted there."""

    def __init__(self, guidance: EstimateGuidance, network: Denoiser) -> None:
        super().__init__(network.shape, network.scaling)
        self._parts = (guidance, network)  # in a tuple: their weights are registered where they belong

    @property
    def cost(self) -> int:
        return self._parts[1].cost

    @property
    def vjps(self) -> int:
        return self._parts[0].products

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        guidance, network = self._parts
        with torch.inference_mode(False), torch.enable_grad():
            mine = None if condition is None else {name: value.clone() for name, value in condition.items()}
            leaf = x.detach().clone().requires_grad_()
            return guidance.corrected(network, leaf, sigma.detach().clone(), mine).detach()
