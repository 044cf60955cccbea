"""How a reward on the final sample becomes a gradient on the weights: which steps, layers and estimator carry it."""

from pirf.backprop.adjoint_matching import AdjointMatching
from pirf.backprop.base import GradientStrategy, Loss, Pathwise, Rollout
from pirf.backprop.continuous_time import ContinuousTime
from pirf.backprop.full import Full
from pirf.backprop.last_steps import LastSteps
from pirf.backprop.layers import LayerTruncated
from pirf.backprop.low_variance import LowVariance
from pirf.backprop.noise_hypernetwork import NoiseHypernetwork
from pirf.backprop.one_step import OneStep
from pirf.backprop.policy import KLPolicyGradient, Policy, PolicyGradient
from pirf.backprop.random_steps import RandomSteps
from pirf.backprop.reward_directed import RewardDirectedQ
from pirf.backprop.stochastic_control import StochasticControl
from pirf.backprop.value_gradient import ValueGradient
from pirf.backprop.values import Fitted, Known, Value
from pirf.backprop.windows import Windows

__all__ = [
    "AdjointMatching",
    "ContinuousTime",
    "Fitted",
    "Full",
    "GradientStrategy",
    "KLPolicyGradient",
    "Known",
    "LastSteps",
    "LayerTruncated",
    "Loss",
    "LowVariance",
    "NoiseHypernetwork",
    "OneStep",
    "Pathwise",
    "Policy",
    "PolicyGradient",
    "RandomSteps",
    "RewardDirectedQ",
    "Rollout",
    "StochasticControl",
    "Value",
    "ValueGradient",
    "Windows",
]
