"""How a reward on the final sample becomes a gradient on the weights: which steps, layers and estimator carry it."""

from pirf.backprop.adjoint_matching import AdjointMatching
from pirf.backprop.base import GradientStrategy, Loss, Pathwise, Rollout
from pirf.backprop.full import Full
from pirf.backprop.last_steps import LastSteps
from pirf.backprop.layers import LayerTruncated
from pirf.backprop.low_variance import LowVariance
from pirf.backprop.noise_hypernetwork import NoiseHypernetwork
from pirf.backprop.one_step import OneStep
from pirf.backprop.random_steps import RandomSteps
from pirf.backprop.windows import Windows

__all__ = [
    "AdjointMatching",
    "Full",
    "GradientStrategy",
    "LastSteps",
    "LayerTruncated",
    "Loss",
    "LowVariance",
    "NoiseHypernetwork",
    "OneStep",
    "Pathwise",
    "RandomSteps",
    "Rollout",
    "Windows",
]
