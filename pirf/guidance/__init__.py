"""What happens around a step and after the last one.  A guided model is a denoiser that chains dispatch on."""

from pirf.guidance.base import Guidance, Term
from pirf.guidance.cocogen import CoCoGen
from pirf.guidance.dps import DPS
from pirf.guidance.estimate import EstimateGuidance
from pirf.guidance.projection import Projection
from pirf.guidance.pseudoinverse import PseudoinverseGuidance
from pirf.guidance.residual_descent import ResidualDescent
from pirf.guidance.svdd import SVDD
from pirf.guidance.weights import Below, Fading, Weight

__all__ = [
    "DPS",
    "SVDD",
    "Below",
    "CoCoGen",
    "EstimateGuidance",
    "Fading",
    "Guidance",
    "Projection",
    "PseudoinverseGuidance",
    "ResidualDescent",
    "Term",
    "Weight",
]
