"""Differential operators with their boundary conditions, as differentiable functions of fields."""

from pirf.operators.boundary import Boundary, Dirichlet, Neumann, Periodic
from pirf.operators.stencils import laplacian
from pirf.operators.transforms import dct, dst, idct, idst, solve_dirichlet

__all__ = ["Boundary", "Dirichlet", "Neumann", "Periodic", "dct", "dst", "idct", "idst", "laplacian", "solve_dirichlet"]
