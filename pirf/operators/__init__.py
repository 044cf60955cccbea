"""Differential operators with their boundary conditions, as differentiable functions of fields."""

from pirf.operators.boundary import Boundary, Dirichlet, Neumann, Periodic
from pirf.operators.stencils import laplacian
from pirf.operators.transforms import solve_dirichlet

__all__ = ["Boundary", "Dirichlet", "Neumann", "Periodic", "laplacian", "solve_dirichlet"]
