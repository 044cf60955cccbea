"""Ground truth from NumPy and SciPy alone.

Nothing here may import the rest of the package: if it shared code with the rewards, their agreement would prove nothing.
"""

from pirf.reference import (
    burgers,
    darcy,
    elasticity,
    exponential,
    gray_scott,
    heat,
    helmholtz,
    kolmogorov,
    kuramoto_sivashinsky,
    poisson,
    random_fields,
    wave,
)

__all__ = [
    "burgers",
    "darcy",
    "elasticity",
    "exponential",
    "gray_scott",
    "heat",
    "helmholtz",
    "kolmogorov",
    "kuramoto_sivashinsky",
    "poisson",
    "random_fields",
    "wave",
]
