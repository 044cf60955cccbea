r"""How much a guidance term counts at a noise level, where a number for all levels will not do.

FunDPS (Yao et al. 2025) weighs its observations by 1 for σ > 1 and by σ below, ``Fading(1.0)``, and its equation by 0 for σ > 1
and by σ below, ``Below(Fading(1.0))``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, final

import attrs

from pirf.errors import InputError

__all__ = ["Below", "Fading", "Weight"]


class Weight(ABC):
    """A rule of the noise level, printed as code."""

    @abstractmethod
    def at(self, sigma: float) -> float:
        """The weight of what departs from this level."""


def zero_or_more(_: object, attribute: attrs.Attribute[Any], weight: Any) -> None:
    """A validator of weights."""
    number = isinstance(weight, Real) and not isinstance(weight, bool)
    if not isinstance(weight, Weight) and not (number and 0 <= weight < math.inf):
        raise InputError(
            f"a finite {attribute.name} of 0 or more, or a rule of the noise level, is needed",
            got=repr(weight),
            why="guidance descends",
            hint="Term(reward, 1.0)",
        )


def weigh(weight: float | Weight, sigma: float) -> float:
    """The weight at a noise level."""
    return weight.at(sigma) if isinstance(weight, Weight) else weight


@final
@attrs.frozen
class Fading(Weight):
    """``weight`` while σ > ``level``; below it falls in proportion to σ."""

    weight: float | Weight = attrs.field(default=1.0, validator=zero_or_more)
    level: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def at(self, sigma: float) -> float:
        """Weight · min(σ/level, 1)."""
        return weigh(self.weight, sigma) * min(sigma / self.level, 1.0)


@final
@attrs.frozen
class Below(Weight):
    """``weight`` for σ ≤ ``level``, nothing above."""

    weight: float | Weight = attrs.field(default=1.0, validator=zero_or_more)
    level: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def at(self, sigma: float) -> float:
        """The weight, or 0."""
        return weigh(self.weight, sigma) if sigma <= self.level else 0.0
