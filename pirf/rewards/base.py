r"""The seam for physics: :math:`r(x) = -\frac1m \sum_i R_i(x)^2` per sample, in physical units.

Rewards are frozen values without tensors: hashable, printable as code, on every device.  Only where a reward is joined
with a denoiser are normalised fields mapped to physical ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from pirf.errors import InputError
from pirf.tensors import Condition, Field, Residual, Score

__all__ = ["ConditionalPDEReward", "PDEReward", "ResidualReward", "Reward"]


class Reward(ABC):
    """Field, condition → one score per sample.  Must not couple samples."""

    @property
    def differentiable(self) -> bool:
        """Whether its gradient may be asked for.  Default: it may; a wrapper passes on what its inner reward says."""
        return True

    @abstractmethod
    def __call__(self, x: Field, condition: Condition | None = None) -> Score:
        """Higher is better."""


class ResidualReward(Reward):
    """A reward with a residual: projections, guidance and certificates ask for it."""

    @abstractmethod
    def residuals(self, x: Field, condition: Condition | None = None) -> Residual:
        """One number per discrete equation, zero where it holds."""

    def __call__(self, x: Field, condition: Condition | None = None) -> Score:
        """Minus the mean square of the residual."""
        return -self.residuals(x, condition).flatten(1).square().mean(1)


class PDEReward(ResidualReward):
    """Subclass this for a new PDE: an attrs class with a ``residual`` of physical fields."""

    @abstractmethod
    def residual(self, x: Field) -> Residual:
        """The discrete equation, in physical units."""

    def residuals(self, x: Field, condition: Condition | None = None) -> Residual:
        """The residual; the condition does not enter."""
        return self.residual(x)


class ConditionalPDEReward(ResidualReward):
    """A PDE whose parameters differ by sample and arrive with the condition."""

    @abstractmethod
    def residual(self, x: Field, condition: Condition) -> Residual:
        """The discrete equation with the parameters of each sample."""

    def residuals(self, x: Field, condition: Condition | None = None) -> Residual:
        """The residual under the given condition."""
        if condition is None:
            raise InputError(
                f"{type(self).__name__} needs a condition",
                got="none",
                why="its equation has parameters that differ by sample",
                hint="passing condition={...} to the chain",
            )
        return self.residual(x, condition)
