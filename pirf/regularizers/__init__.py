"""What to keep close to the base: weights, or outputs on the visited states."""

from pirf.regularizers.base import Regularizer
from pirf.regularizers.combine import Together
from pirf.regularizers.distillation import Distillation
from pirf.regularizers.weights import WeightAnchor

__all__ = ["Distillation", "Regularizer", "Together", "WeightAnchor"]
