"""How a reward on the final sample becomes a gradient on the weights: which steps, layers and estimator carry it."""

from pirf.backprop.base import GradientStrategy, Loss, Pathwise, Rollout
from pirf.backprop.full import Full
from pirf.backprop.last_steps import LastSteps
from pirf.backprop.layers import LayerTruncated

__all__ = ["Full", "GradientStrategy", "LastSteps", "LayerTruncated", "Loss", "Pathwise", "Rollout"]
