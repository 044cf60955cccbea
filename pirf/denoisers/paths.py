r"""How others write a noisy sample: :math:`x_t = \alpha(t)\, x_0 + \beta(t)\, z`, whose level is
:math:`\sigma(t) = \beta/\alpha`, since :math:`x_t/\alpha = x_0 + \sigma z`.

A path is read at a level, not at a time: a chain knows σ, and :math:`\alpha(\sigma)` is accurate where
:math:`\alpha(t)`, near pure noise, is a difference of nearly equal numbers.  So every path inverts its level in closed form.

==================================  ==========================================  ==========================================
path                                level                                       time of a level
==================================  ==========================================  ==========================================
:class:`LinearPath`                 :math:`t/(1-t)`                             :math:`\sigma/(1+\sigma)`
:class:`CosinePath`                 :math:`\tan(\pi t/2)`                       :math:`\tfrac2\pi \arctan\sigma`
:class:`VariancePreserving`         :math:`\sqrt{e^{B(t)} - 1}`                 :math:`B = \ln(1+\sigma^2)`, a quadratic in t
:class:`DiscreteVP`                 :math:`\sqrt{1/\bar\alpha_t - 1}`           :math:`\ln\sigma` interpolated linearly
:class:`VarianceExploding`          :math:`t`                                   :math:`\sigma`
==================================  ==========================================  ==========================================
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import NamedTuple, final

import attrs
import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.operators.constants import constant

__all__ = [
    "CosinePath",
    "DiscreteVP",
    "LinearPath",
    "Path",
    "Point",
    "PreservingPath",
    "VarianceExploding",
    "VariancePreserving",
]


class Point(NamedTuple):
    """Where levels stand on a path: time, α and β, and the derivatives of α and β by the time."""

    time: Tensor
    alpha: Tensor
    beta: Tensor
    alpha_slope: Tensor
    beta_slope: Tensor


@attrs.frozen
class Path(ABC):
    r"""A rule :math:`x_t = \alpha(t) x_0 + \beta(t) z`, its level and the inverse of its level."""

    @property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest level on the path."""
        return 0.0, math.inf

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        """What multiplies the clean sample."""

    @abstractmethod
    def beta(self, t: Tensor) -> Tensor:
        """What multiplies the noise."""

    def sigma(self, t: Tensor) -> Tensor:
        """The level β/α."""
        return self.beta(t) / self.alpha(t)

    @abstractmethod
    def time(self, sigma: Tensor) -> Tensor:
        """When the path is at this level."""

    @abstractmethod
    def at(self, sigma: Tensor) -> Point:
        """Where the path is at this level."""


@final
@attrs.frozen
class LinearPath(Path):
    """α = 1 − t, β = t: flow matching and rectified flows (Lipman et al. 2022, Liu et al. 2022).

    ``reversed``: for models whose t = 0 is noise and whose t = 1 is data.
    """

    reversed: bool = False

    def alpha(self, t: Tensor) -> Tensor:
        """1 − t, or t."""
        return t if self.reversed else 1 - t

    def beta(self, t: Tensor) -> Tensor:
        """The time itself, or 1 − t."""
        return 1 - t if self.reversed else t

    def time(self, sigma: Tensor) -> Tensor:
        """σ/(1 + σ), or 1/(1 + σ)."""
        return (1 if self.reversed else sigma) / (1 + sigma)

    def at(self, sigma: Tensor) -> Point:
        """Both slopes are 1 or −1."""
        alpha, sign = 1 / (1 + sigma), -1 if self.reversed else 1
        one = sign * torch.ones_like(sigma)
        return Point(self.time(sigma), alpha, sigma * alpha, -one, one)


@final
@attrs.frozen
class VarianceExploding(Path):
    """α = 1, β = t: the noise is added and nothing is scaled (Song et al. 2021, Karras et al. 2022)."""

    def alpha(self, t: Tensor) -> Tensor:
        """One."""
        return torch.ones_like(t)

    def beta(self, t: Tensor) -> Tensor:
        """The time itself."""
        return t

    def time(self, sigma: Tensor) -> Tensor:
        """The level itself."""
        return sigma

    def at(self, sigma: Tensor) -> Point:
        """Slopes 0 and 1."""
        one = torch.ones_like(sigma)
        return Point(sigma, one, sigma, torch.zeros_like(sigma), one)


@attrs.frozen
class PreservingPath(Path):
    """α² + β² = 1: all that is left to say is when each level is reached, and how fast the level then rises."""

    @abstractmethod
    def speed(self, sigma: Tensor) -> Tensor:
        """dσ/dt."""

    def at(self, sigma: Tensor) -> Point:
        """α = 1/√(1 + σ²), α' = −α³σ dσ/dt, β' = α³ dσ/dt."""
        alpha = (1 + sigma**2).rsqrt()
        slope = alpha**3 * self.speed(sigma)
        return Point(self.time(sigma), alpha, sigma * alpha, -sigma * slope, slope)


@final
@attrs.frozen
class CosinePath(PreservingPath):
    """α = cos(πt/2), β = sin(πt/2)."""

    def alpha(self, t: Tensor) -> Tensor:
        """cos(πt/2)."""
        return torch.cos(math.pi / 2 * t)

    def beta(self, t: Tensor) -> Tensor:
        """sin(πt/2)."""
        return torch.sin(math.pi / 2 * t)

    def time(self, sigma: Tensor) -> Tensor:
        """An arctangent."""
        return 2 / math.pi * torch.atan(sigma)

    def speed(self, sigma: Tensor) -> Tensor:
        """π(1 + σ²)/2."""
        return math.pi / 2 * (1 + sigma**2)


@final
@attrs.frozen
class VariancePreserving(PreservingPath):
    r"""α = exp(−B/2) with :math:`B(t) = \beta_{min} t + \tfrac12(\beta_{max} - \beta_{min})t^2` (Song et al. 2021).

    It is the limit of DDPM's linear schedule in continuous time, 0 ≤ t ≤ 1.
    """

    beta_min: float = attrs.field(default=0.1, converter=float, validator=attrs.validators.gt(0))
    beta_max: float = attrs.field(default=20.0, converter=float, validator=attrs.validators.gt(0))

    @property
    def span(self) -> tuple[float, float]:
        """Up to the level at t = 1."""
        return 0.0, math.sqrt(math.expm1((self.beta_min + self.beta_max) / 2))

    def alpha(self, t: Tensor) -> Tensor:
        """exp(−B/2)."""
        return torch.exp(-self._integral(t) / 2)

    def beta(self, t: Tensor) -> Tensor:
        """√(1 − exp(−B))."""
        return torch.sqrt(-torch.expm1(-self._integral(t)))

    def time(self, sigma: Tensor) -> Tensor:
        """The positive root, in the form that cancels nothing."""
        integral = torch.log1p(sigma**2)
        return 2 * integral / (self.beta_min + self._rate(integral))

    def speed(self, sigma: Tensor) -> Tensor:
        """b(t)(1 + σ²)/2σ."""
        return self._rate(torch.log1p(sigma**2)) * (1 + sigma**2) / (2 * sigma)

    def _integral(self, t: Tensor) -> Tensor:
        return t * (self.beta_min + (self.beta_max - self.beta_min) / 2 * t)

    def _rate(self, integral: Tensor) -> Tensor:
        """b(t) = β_min + (β_max − β_min) t, where B(t) is this."""
        return torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * integral)


def _floats(values: Iterable[float] | Tensor) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


@final
@attrs.frozen(repr=False)
class DiscreteVP(PreservingPath):
    r"""DDPM's steps 0 … T − 1, given one by one by their :math:`\bar\alpha` (Ho et al. 2020); ln σ is linear between them.

    A level between two steps is told as a fractional step, as networks with a smooth embedding of the time take it.
    """

    alphas_bar: tuple[float, ...] = attrs.field(converter=_floats)

    @alphas_bar.validator
    def _falling(self, _: object, values: tuple[float, ...]) -> None:
        if len(values) < 2 or not all(1 > a > b > 0 for a, b in pairwise(values)):
            raise InputError(
                "two or more falling numbers between 0 and 1, both excluded, are needed",
                got=f"{len(values)} from {values[0]:.4g} to {values[-1]:.4g}" if values else "none",
                why="every step must have a level of its own, and a last step without signal has none that is finite",
                hint="DiscreteVP.from_betas(betas)",
            )

    @classmethod
    def from_betas(cls, betas: Iterable[float] | Tensor) -> DiscreteVP:
        """ᾱ is the running product of 1 − β: ``torch.linspace(1e-4, 0.02, 1000)`` is DDPM's."""
        return cls(accumulate((1 - beta for beta in _floats(betas)), lambda a, b: a * b))

    def __repr__(self) -> str:
        digest = blake2b(repr(self.alphas_bar).encode(), digest_size=6).hexdigest()
        return f"DiscreteVP(<{len(self.alphas_bar)} steps, σ {self.span[0]:.4g} to {self.span[1]:.4g}, {digest}>)"

    @property
    def span(self) -> tuple[float, float]:
        """The levels of the first and of the last step."""
        low, high = (math.sqrt((1 - a) / a) for a in (self.alphas_bar[0], self.alphas_bar[-1]))
        return low, high

    def alpha(self, t: Tensor) -> Tensor:
        """√ᾱ, between two steps that of the level there."""
        return (1 + self.sigma(t) ** 2).rsqrt()

    def beta(self, t: Tensor) -> Tensor:
        """√(1 − ᾱ), likewise."""
        return self.sigma(t) * self.alpha(t)

    def sigma(self, t: Tensor) -> Tensor:
        """Of a fractional step."""
        logs, gaps = _log_levels(self.alphas_bar, t.dtype, t.device)
        before = t.detach().floor().clamp(0, len(gaps) - 1).long()
        return torch.exp(logs.take(before) + (t - before) * gaps.take(before))

    def time(self, sigma: Tensor) -> Tensor:
        """A fractional step; what lies beyond either end is told as that end."""
        logs, gaps = _log_levels(self.alphas_bar, sigma.dtype, sigma.device)
        before = self._before(sigma)
        return (before + (torch.log(sigma) - logs.take(before)) / gaps.take(before)).clamp(0, len(gaps))

    def speed(self, sigma: Tensor) -> Tensor:
        """σ times the slope of ln σ, at a step that of the interval before it."""
        _, gaps = _log_levels(self.alphas_bar, sigma.dtype, sigma.device)
        return sigma * gaps.take(self._before(sigma))

    def _before(self, sigma: Tensor) -> Tensor:
        """The step before each level, the first or last but one where there is none."""
        logs, gaps = _log_levels(self.alphas_bar, sigma.dtype, sigma.device)
        return (torch.searchsorted(logs, torch.log(sigma).contiguous()) - 1).clamp(0, len(gaps) - 1)


@constant
def _log_levels(alphas_bar: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """The ln σ of every step, and its differences, which float32 would lose."""
    a = torch.tensor(alphas_bar, dtype=torch.float64)
    logs = 0.5 * torch.log((1 - a) / a)
    return logs.to(device=device, dtype=dtype), logs.diff().to(device=device, dtype=dtype)
