r"""Random fields by their spectra: every sample has its own counter-based generator, addressed by (seed, index).

**GRF-N**, the Gaussian random field with Neumann boundary conditions on [0,1]²:
:math:`g = \mathrm{idctn}(n\, c_k\, \xi_k)`, :math:`\xi \sim N(0, 1)`,
:math:`c_k = \tau^{\alpha-1} (\pi^2 |k|^2 + \tau^2)^{-\alpha/2}`, :math:`c_{00} = 0`.  Its covariance is proportional to
:math:`(-\Delta + \tau^2)^{-\alpha}` and its natural nodes are the cell centres.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["colour", "neumann_field", "neumann_spectrum", "white"]

Array = NDArray[np.float64]


def white(shape: tuple[int, ...], indices: Iterable[int], seed: int) -> Array:
    """Standard normal numbers ``(len(indices), *shape)``; sample i depends on (seed, i) alone."""
    key = np.array([seed % 2**64, 0x5EED], dtype=np.uint64)  # a list would pass through float64 from 2**63 on
    draws = [np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, i])).standard_normal(shape) for i in indices]
    return np.stack(draws) if draws else np.empty((0, *shape))


def neumann_spectrum(n: int, alpha: float = 2.0, tau: float = 3.0) -> Array:
    """The standard deviations c_k of the cosine modes, ``(n, n)``."""
    k = np.arange(n)
    squares = np.pi**2 * (k[:, None] ** 2 + k**2)
    spectrum: Array = tau ** (alpha - 1) * (squares + tau**2) ** (-alpha / 2)
    spectrum[0, 0] = 0.0
    return spectrum


def colour(noise: Array, alpha: float = 2.0, tau: float = 3.0) -> Array:
    """The linear map from white noise ``(..., n, n)`` to GRF-N at the cell centres."""
    n = noise.shape[-1]
    field: Array = fft.idctn(n * neumann_spectrum(n, alpha, tau) * noise, type=2, norm="ortho", axes=(-2, -1))
    return field


def neumann_field(n: int, indices: Iterable[int], seed: int = 0, alpha: float = 2.0, tau: float = 3.0) -> Array:
    """Samples of GRF-N at the n×n cell centres, ``(len(indices), n, n)``."""
    return colour(white((n, n), indices, seed), alpha, tau)
