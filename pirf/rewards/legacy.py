"""Every published residual that is reproduced here, so that ``pirf.verify`` can show what it rewards.

**For comparison only.**  Each is our own writing from the facts of the published code; what its authors compute with it
beside the residual (weights, norms, schedules) is not here.  A problem names those of its equation: ``problem.published``.

- *PIRF* (arXiv 2509.20570): :mod:`pirf.rewards.legacy_elliptic`, :mod:`pirf.rewards.legacy_darcy`,
  :mod:`pirf.rewards.legacy_burgers`, :mod:`pirf.rewards.legacy_kolmogorov`.
- *DiffusionPDE* (Huang et al. 2024, arXiv 2406.17763): :mod:`pirf.rewards.legacy_diffusionpde`.
- *PIDM*, Physics-Informed Diffusion Models (Bastek et al. 2024, arXiv 2403.14404): :mod:`pirf.rewards.legacy_pidm`.
"""

from pirf.rewards.legacy_burgers import ReleasedBurgers
from pirf.rewards.legacy_darcy import ReleasedDarcy, ReleasedDarcyLognormal
from pirf.rewards.legacy_diffusionpde import (
    DiffusionPDEBurgers,
    DiffusionPDEDarcy,
    DiffusionPDEHelmholtz,
    DiffusionPDEPoisson,
)
from pirf.rewards.legacy_elliptic import ReleasedHelmholtz, ReleasedPoisson
from pirf.rewards.legacy_kolmogorov import ReleasedKolmogorov
from pirf.rewards.legacy_pidm import PIDMDarcy

__all__ = [
    "DiffusionPDEBurgers",
    "DiffusionPDEDarcy",
    "DiffusionPDEHelmholtz",
    "DiffusionPDEPoisson",
    "PIDMDarcy",
    "ReleasedBurgers",
    "ReleasedDarcy",
    "ReleasedDarcyLognormal",
    "ReleasedHelmholtz",
    "ReleasedKolmogorov",
    "ReleasedPoisson",
]
