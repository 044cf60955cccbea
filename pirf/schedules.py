r"""Noise levels :math:`\sigma_0 > \dots > \sigma_N = 0` as values; how many is chosen by the sampler."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import attrs

from pirf.errors import InputError

__all__ = ["EDM", "Schedule"]


class Schedule(ABC):
    """A rule that turns a number of steps into noise levels."""

    @abstractmethod
    def levels(self, steps: int) -> tuple[float, ...]:
        """``steps + 1`` strictly decreasing levels, the last one 0."""


@final
@attrs.frozen
class EDM(Schedule):
    r""":math:`\sigma_i = (\sigma_{max}^{1/\rho} + \tfrac{i}{N-1}(\sigma_{min}^{1/\rho} - \sigma_{max}^{1/\rho}))^\rho`,
    :math:`\sigma_N = 0` (Karras et al. 2022).
    """

    sigma_min: float = attrs.field(default=0.002, validator=attrs.validators.gt(0))
    sigma_max: float = attrs.field(default=80.0, validator=attrs.validators.gt(0))
    rho: float = attrs.field(default=7.0, validator=attrs.validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if self.sigma_min >= self.sigma_max:
            raise InputError(
                "sigma_min < sigma_max is needed",
                got=f"{self.sigma_min} and {self.sigma_max}",
                why="sampling goes from the largest level down",
                hint="EDM(sigma_min=0.002, sigma_max=80)",
            )

    def levels(self, steps: int) -> tuple[float, ...]:
        """The levels; a single step starts at sigma_max."""
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        span = max(steps - 1, 1)
        return (*((high + i / span * (low - high)) ** self.rho for i in range(steps)), 0.0)
