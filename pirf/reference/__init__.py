"""Ground truth from NumPy and SciPy alone.

Nothing here may import the rest of the package: if it shared code with the rewards, their agreement would prove nothing.
"""

from pirf.reference import burgers, darcy, elasticity, heat, helmholtz, kolmogorov, poisson, random_fields, wave

__all__ = [
    "burgers",
    "darcy",
    "elasticity",
    "heat",
    "helmholtz",
    "kolmogorov",
    "poisson",
    "random_fields",
    "wave",
]
