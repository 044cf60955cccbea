"""A problem is a grid, named channels, a law with its reference solver, a reward and a scaling, under one name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from pirf.problems.base import Problem
from pirf.problems.burgers import burgers
from pirf.problems.darcy import darcy, darcy_lognormal
from pirf.problems.elasticity import elasticity
from pirf.problems.facts import facts, fits
from pirf.problems.gray_scott import gray_scott
from pirf.problems.heat import heat
from pirf.problems.helmholtz import helmholtz
from pirf.problems.kolmogorov import kolmogorov
from pirf.problems.kuramoto_sivashinsky import kuramoto_sivashinsky
from pirf.problems.poisson import poisson
from pirf.problems.wave import wave

__all__ = [
    "Problem",
    "burgers",
    "catalogue",
    "darcy",
    "darcy_lognormal",
    "elasticity",
    "facts",
    "fits",
    "gray_scott",
    "heat",
    "helmholtz",
    "kolmogorov",
    "kuramoto_sivashinsky",
    "poisson",
    "wave",
]

catalogue: Mapping[str, Callable[..., Problem]] = MappingProxyType(
    {
        "poisson": poisson,
        "helmholtz": helmholtz,
        "darcy": darcy,
        "darcy_lognormal": darcy_lognormal,
        "burgers": burgers,
        "kolmogorov": kolmogorov,
        "elasticity": elasticity,
        "heat": heat,
        "wave": wave,
        "kuramoto_sivashinsky": kuramoto_sivashinsky,
        "gray_scott": gray_scott,
    }
)
"""Every problem of the package: name → function of the grid's size."""
