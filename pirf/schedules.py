r"""Noise levels :math:`\sigma_0 > \dots > \sigma_N = 0` as values; how many is chosen by the sampler."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from itertools import pairwise
from typing import final

import attrs

from pirf.errors import InputError

__all__ = ["EDM", "Between", "Levels", "Linear", "Logarithmic", "Schedule"]


class Schedule(ABC):
    """A rule that turns a number of steps into noise levels."""

    @abstractmethod
    def levels(self, steps: int) -> tuple[float, ...]:
        """``steps + 1`` strictly decreasing levels, the last one 0."""


@attrs.frozen
class Between(Schedule):
    """``steps`` levels from sigma_max down to sigma_min, then 0; a single step starts at sigma_max."""

    sigma_min: float = attrs.field(default=0.002, validator=attrs.validators.gt(0))
    sigma_max: float = attrs.field(default=80.0, validator=attrs.validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if self.sigma_min >= self.sigma_max:
            raise InputError(
                "sigma_min < sigma_max is needed",
                got=f"{self.sigma_min} and {self.sigma_max}",
                why="sampling goes from the largest level down",
                hint="EDM(sigma_min=0.002, sigma_max=80)",
            )

    @abstractmethod
    def at(self, share: float) -> float:
        """The level after this share of the way, in [0, 1]."""

    def levels(self, steps: int) -> tuple[float, ...]:
        """Equidistant shares."""
        return (*(self.at(i / max(steps - 1, 1)) for i in range(steps)), 0.0)


@final
@attrs.frozen
class EDM(Between):
    r""":math:`\sigma_i = (\sigma_{max}^{1/\rho} + \tfrac{i}{N-1}(\sigma_{min}^{1/\rho} - \sigma_{max}^{1/\rho}))^\rho`,
    :math:`\sigma_N = 0` (Karras et al. 2022).
    """

    rho: float = attrs.field(default=7.0, validator=attrs.validators.gt(0))

    def at(self, share: float) -> float:
        """Equidistant ρ-th roots."""
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return float((high + share * (low - high)) ** self.rho)


@final
@attrs.frozen
class Linear(Between):
    r""":math:`\sigma_i = \sigma_{max} + \tfrac{i}{N-1}(\sigma_{min} - \sigma_{max})`."""

    def at(self, share: float) -> float:
        """Equidistant levels."""
        return self.sigma_max + share * (self.sigma_min - self.sigma_max)


@final
@attrs.frozen
class Logarithmic(Between):
    r""":math:`\sigma_i = \sigma_{max} (\sigma_{min}/\sigma_{max})^{i/(N-1)}`."""

    def at(self, share: float) -> float:
        """Equidistant logarithms."""
        return float(self.sigma_max * (self.sigma_min / self.sigma_max) ** share)


@final
@attrs.frozen
class Levels(Schedule):
    """Exactly these levels, 0 at the end: ``Heun(steps=3, schedule=Levels((10.0, 1.0, 0.1, 0.0)))``."""

    values: tuple[float, ...] = attrs.field(converter=tuple)

    @values.validator
    def _descending(self, _: object, values: tuple[float, ...]) -> None:
        if len(values) < 2 or values[-1] != 0 or not all(a > b for a, b in pairwise(values)) or not math.isfinite(values[0]):
            raise InputError(
                "finite, strictly decreasing levels with 0 at the end are needed",
                got=values,
                why="sampling goes from the largest level down to the clean sample",
                hint="Levels((10.0, 1.0, 0.1, 0.0))",
            )

    def levels(self, steps: int) -> tuple[float, ...]:
        """The levels themselves, for as many steps as there are between them."""
        if steps != len(self.values) - 1:
            raise InputError(
                f"steps={len(self.values) - 1} belongs to these levels",
                got=f"steps={steps}",
                why="they are given one by one",
                hint="a schedule with a rule: EDM(), Linear(), Logarithmic()",
            )
        return self.values
