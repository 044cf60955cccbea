r"""Estimates of the clean field: :math:`D(x, \sigma) \approx E[x_0 \mid x_0 + \sigma z = x]`, in normalised units."""

from pirf.denoisers.base import Adapter, Denoiser, FrozenTrunk, Staged, Wrapped
from pirf.denoisers.classifier_free import ClassifierFree
from pirf.denoisers.coloured import Coloured, Matern, SpectralColour, SquaredExponential
from pirf.denoisers.conditions import Bound, FieldInput, Input, ScalarInput, inputs_for
from pirf.denoisers.edm import Preconditioned
from pirf.denoisers.gaussian import GaussianDenoiser
from pirf.denoisers.handover import Handover
from pirf.denoisers.low_rank import low_rank, merged
from pirf.denoisers.noise_map import NoiseMap
from pirf.denoisers.paths import CosinePath, DiscreteVP, LinearPath, Path, VarianceExploding, VariancePreserving
from pirf.denoisers.prediction import Clean, Epsilon, Prediction, Target, V, Velocity
from pirf.denoisers.unet import UNet, conditioned

__all__ = [
    "Adapter",
    "Bound",
    "ClassifierFree",
    "Clean",
    "Coloured",
    "CosinePath",
    "Denoiser",
    "DiscreteVP",
    "Epsilon",
    "FieldInput",
    "FrozenTrunk",
    "GaussianDenoiser",
    "Handover",
    "Input",
    "LinearPath",
    "Matern",
    "NoiseMap",
    "Path",
    "Preconditioned",
    "Prediction",
    "ScalarInput",
    "SpectralColour",
    "SquaredExponential",
    "Staged",
    "Target",
    "UNet",
    "V",
    "VarianceExploding",
    "VariancePreserving",
    "Velocity",
    "Wrapped",
    "conditioned",
    "inputs_for",
    "low_rank",
    "merged",
]
