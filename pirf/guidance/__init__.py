"""What happens around a step and after the last one.  A guided model is a denoiser that chains dispatch on."""

from pirf.guidance.base import Guidance, Term
from pirf.guidance.dps import DPS
from pirf.guidance.svdd import SVDD

__all__ = ["DPS", "SVDD", "Guidance", "Term"]
