"""Scores of physical fields, higher is better.  A new PDE is a subclass of :class:`PDEReward` with a residual."""

from pirf.rewards import legacy
from pirf.rewards.base import ConditionalPDEReward, PDEReward, ResidualReward, Reward
from pirf.rewards.black_box import BlackBox
from pirf.rewards.burgers import Burgers
from pirf.rewards.combine import Decades, Given, Scaled, Sum, balance
from pirf.rewards.darcy import Darcy
from pirf.rewards.elasticity import Elasticity
from pirf.rewards.functionals import Functional, Points, Stacked, Weights
from pirf.rewards.gray_scott import GrayScott
from pirf.rewards.heat import Heat
from pirf.rewards.helmholtz import Helmholtz
from pirf.rewards.kolmogorov import Kolmogorov
from pirf.rewards.kuramoto_sivashinsky import KuramotoSivashinsky
from pirf.rewards.masks import lines, observe, region, sensors
from pirf.rewards.observation import Observation
from pirf.rewards.poisson import Poisson
from pirf.rewards.sources import CornerWells, Source, Uniform
from pirf.rewards.wave import Wave

__all__ = [
    "BlackBox",
    "Burgers",
    "ConditionalPDEReward",
    "CornerWells",
    "Darcy",
    "Decades",
    "Elasticity",
    "Functional",
    "Given",
    "GrayScott",
    "Heat",
    "Helmholtz",
    "Kolmogorov",
    "KuramotoSivashinsky",
    "Observation",
    "PDEReward",
    "Points",
    "Poisson",
    "ResidualReward",
    "Reward",
    "Scaled",
    "Source",
    "Stacked",
    "Sum",
    "Uniform",
    "Wave",
    "Weights",
    "balance",
    "legacy",
    "lines",
    "observe",
    "region",
    "sensors",
]
