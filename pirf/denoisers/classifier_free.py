r"""Classifier-free guidance (Ho & Salimans 2022): one network, asked twice, what it is told driven further than it was told,

.. math:: D_w(x, \sigma, c) = (1 + w)\, D(x, \sigma, c) - w\, D(x, \sigma, \varnothing).

By Tweedie's formula the score is that of :math:`p(x)\, p(c \mid x)^{1+w}` at every noise level; what such a chain samples is
not exactly that law of clean fields, because noising and raising to a power do not commute.
"""

from __future__ import annotations

import math
from typing import final

from pirf.denoisers.base import Denoiser, Wrapped
from pirf.errors import InputError
from pirf.tensors import Condition, Field, Level

__all__ = ["ClassifierFree"]


@final
class ClassifierFree(Wrapped):
    """``denoiser`` at this ``weight``: −1 is told nothing, 0 is the conditional estimate, above 0 exaggerates.

    At weight 0 it is evaluated once, else twice.

    Without a condition it is the denoiser's own estimate, which is then counted as two all the same.
    """

    def __init__(self, denoiser: Denoiser, weight: float) -> None:
        super().__init__(denoiser)
        if not (math.isfinite(weight) and weight >= -1):
            raise InputError(
                "a weight of -1 or more is needed",
                got=f"weight={weight}",
                why="below that the estimate turns against what is told",
                hint="ClassifierFree(denoiser, weight=1.0)",
            )
        self.weight = float(weight)

    def extra_repr(self) -> str:
        """The weight."""
        return f"weight={self.weight}"

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The guided estimate."""
        told = self.inner(x, sigma, condition)
        if self.weight == 0 or condition is None:
            return told
        return (1 + self.weight) * told - self.weight * self.inner(x, sigma)

    @property
    def _calls(self) -> int:
        return 1 if self.weight == 0 else 2

    @property
    def cost(self) -> int:
        """Twice the inner denoiser's, or once where the weight is 0."""
        return self._calls * self.inner.cost

    @property
    def vjps(self) -> int:
        """As many times those of the inner denoiser."""
        return self._calls * self.inner.vjps

    def around(self, network: Denoiser) -> Denoiser:
        """The same guidance of another network."""
        return ClassifierFree(network, self.weight)
