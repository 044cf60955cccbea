r"""The heat equation :math:`u_t = \kappa \Delta u` on a rectangle whose walls let no heat through, and the law of its data.

*Space.*  Cell centres with even ghosts, so that the flux through the faces of the wall is zero: the five-point Laplacian is
diagonal in the DCT-II with the eigenvalues λ ≤ 0 of :func:`pirf.reference.poisson.eigenvalues`.
*Time.*  Exact: :math:`\hat u(t) = e^{\kappa t \lambda} \hat u(0)`, one multiplication per mode whatever t is.

*Initial temperature.*  GRF-N (:mod:`pirf.reference.random_fields`), whose spatial mean is zero, plus a random mean: the
constant mode, which GRF-N leaves out, gets the standard deviation ¼.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pirf.reference import random_fields
from pirf.reference.poisson import Extent, eigenvalues

__all__ = ["LEVEL", "initial_condition", "solve", "solve_cold"]

Array = NDArray[np.float64]
LEVEL = 0.25  # standard deviation of the mean temperature


def initial_condition(noise: Array, alpha: float = 2.0, tau: float = 3.0) -> Array:
    """The linear map from white noise ``(..., n, n)`` to the temperature at time 0."""
    field: Array = random_fields.colour(noise, alpha, tau) + LEVEL * noise[..., :1, :1]
    return field


def solve(u0: Array, diffusivity: float = 0.01, duration: float = 1.0, extent: Extent = (1.0, 1.0)) -> Array:
    """The temperature after ``duration`` from ``u0`` at cell centres, ``(..., n, m)``."""
    damping = np.exp(diffusivity * duration * eigenvalues(u0.shape[-2:], extent, "neumann"))
    u1: Array = fft.idctn(damping * fft.dctn(u0, type=2, axes=(-2, -1)), type=2, axes=(-2, -1))
    return u1


def solve_cold(u0: Array, diffusivity: float = 0.01, duration: float = 1.0, extent: Extent = (1.0, 1.0)) -> Array:
    """The same between walls that are held at u = 0: the solution of the *wrong* boundary problem."""
    damping = np.exp(diffusivity * duration * eigenvalues(u0.shape[-2:], extent, "dirichlet"))
    u1: Array = fft.idstn(damping * fft.dstn(u0, type=2, axes=(-2, -1)), type=2, axes=(-2, -1))
    return u1
