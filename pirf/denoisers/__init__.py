r"""Estimates of the clean field: :math:`D(x, \sigma) \approx E[x_0 \mid x_0 + \sigma z = x]`, in normalised units."""

from pirf.denoisers.base import Adapter, Denoiser, FrozenTrunk, Staged
from pirf.denoisers.edm import Preconditioned
from pirf.denoisers.gaussian import GaussianDenoiser
from pirf.denoisers.handover import Handover
from pirf.denoisers.low_rank import low_rank, merged
from pirf.denoisers.noise_map import NoiseMap
from pirf.denoisers.unet import UNet

__all__ = [
    "Adapter",
    "Denoiser",
    "FrozenTrunk",
    "GaussianDenoiser",
    "Handover",
    "NoiseMap",
    "Preconditioned",
    "Staged",
    "UNet",
    "low_rank",
    "merged",
]
