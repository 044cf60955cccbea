"""Scores of physical fields, higher is better.  A new PDE is a subclass of :class:`PDEReward` with a residual."""

from pirf.rewards import legacy, legacy_burgers
from pirf.rewards.base import ConditionalPDEReward, PDEReward, ResidualReward, Reward
from pirf.rewards.burgers import Burgers
from pirf.rewards.combine import Decades, Given, Scaled, Sum, balance
from pirf.rewards.helmholtz import Helmholtz
from pirf.rewards.poisson import Poisson

__all__ = [
    "Burgers",
    "ConditionalPDEReward",
    "Decades",
    "Given",
    "Helmholtz",
    "PDEReward",
    "Poisson",
    "ResidualReward",
    "Reward",
    "Scaled",
    "Sum",
    "balance",
    "legacy",
    "legacy_burgers",
]
