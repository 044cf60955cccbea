"""Differential operators with their boundary conditions, and steps in time, as differentiable functions of fields."""

from pirf.operators import spectral
from pirf.operators.advection import central_difference, skew_advection
from pirf.operators.boundary import Boundary, Dirichlet, Neumann, Periodic
from pirf.operators.elements import stress_divergence
from pirf.operators.elliptic import solve_flux_divergence
from pirf.operators.equilibrium import solve_stress_divergence
from pirf.operators.exponential import etdrk4
from pirf.operators.stencils import edge_rows, laplacian
from pirf.operators.transforms import dct, dst, idct, idst, solve_dirichlet, solve_neumann
from pirf.operators.volumes import flux_divergence

__all__ = [
    "Boundary",
    "Dirichlet",
    "Neumann",
    "Periodic",
    "central_difference",
    "dct",
    "dst",
    "edge_rows",
    "etdrk4",
    "flux_divergence",
    "idct",
    "idst",
    "laplacian",
    "skew_advection",
    "solve_dirichlet",
    "solve_flux_divergence",
    "solve_neumann",
    "solve_stress_divergence",
    "spectral",
    "stress_divergence",
]
