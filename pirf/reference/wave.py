r"""The wave equation :math:`u_{tt} = c^2 u_{xx}` between fixed ends, as a pair (u, v = u_t), and the law of its data.

*Space.*  Cell centres (i+½)h with odd ghosts, so that u = 0 stands on both ends.  The second difference is then diagonal in the
DST-II, and mode k of the semi-discrete equation is an oscillator of frequency :math:`\omega_k = 2ch^{-1} \sin(\pi k/2n)`.

*Time.*  Exact: :math:`\hat u(t) = \hat u \cos\omega t + \hat v\,\omega^{-1} \sin\omega t`,
:math:`\hat v(t) = -\hat u\,\omega \sin\omega t + \hat v \cos\omega t`.  Every frame is reached from the first, at round-off.

*Initial condition.*  :math:`u_0 = \sum_{k=1}^{64} \lambda_k \xi_k \sin \pi kx`,
:math:`v_0 = \sum_{k=1}^{64} \lambda_k\, \pi ck\, \eta_k \sin \pi kx` with ξ, η ~ N(0, 1),
:math:`\lambda_k = \sqrt2\, \tau^{\alpha - 1/2} ((\pi k)^2 + \tau^2)^{-\alpha/2}`, α = 3, τ = 7.  Displacement and velocity hold
the same energy in every mode, so that the exact equation leaves this law as it is at all times.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = ["MODES", "initial_condition", "initial_spectrum", "solve", "solve_free"]

Array = NDArray[np.float64]
MODES = 64


def initial_spectrum(alpha: float = 3.0, tau: float = 7.0) -> Array:
    """The standard deviations λ_k of the displacement's modes k = 1..64."""
    k = np.arange(1, MODES + 1)
    spectrum: Array = np.sqrt(2) * tau ** (alpha - 0.5) * ((np.pi * k) ** 2 + tau**2) ** (-alpha / 2)
    return spectrum


def initial_condition(noise: Array, n: int, speed: float = 1.0, alpha: float = 3.0, tau: float = 7.0) -> Array:
    """The linear map from white noise ``(..., 2, 64)`` to (u₀, v₀) at the n cell centres of [0, 1], ``(..., 2, n)``."""
    k = np.arange(1, MODES + 1)
    sines = np.sin(np.pi * np.outer(k, (np.arange(n) + 0.5) / n))
    weights = noise * initial_spectrum(alpha, tau) * np.stack([np.ones(MODES), np.pi * speed * k])
    fields: Array = (weights[..., None] * sines).sum(-2)  # a matrix product would round differently with the batch size
    return fields


def solve(start: Array, frames: int, speed: float = 1.0, duration: float = 1.0, extent: float = 1.0) -> Array:
    """(u, v) at ``frames`` times from 0 to ``duration``, ``(..., 2, frames, n)``, from (u₀, v₀), ``(..., 2, n)``.

    A negative ``duration`` runs backwards.
    """
    modes = np.arange(1, start.shape[-1] + 1)
    return _evolve(start, modes, fft.dst, fft.idst, frames, speed, duration, extent)


def solve_free(start: Array, frames: int, speed: float = 1.0, duration: float = 1.0, extent: float = 1.0) -> Array:
    """The same with free ends, u_x = 0, where waves return upright: the solution of the *wrong* boundary problem."""
    return _evolve(start, np.arange(start.shape[-1]), fft.dct, fft.idct, frames, speed, duration, extent)


def _evolve(
    start: Array,
    modes: NDArray[np.int64],
    forward: Callable[..., Array],
    inverse: Callable[..., Array],
    frames: int,
    speed: float,
    duration: float,
    extent: float,
) -> Array:
    n = start.shape[-1]
    omega = 2 * speed * n / extent * np.sin(np.pi * modes / (2 * n))
    times = np.linspace(0.0, duration, frames)[:, None]
    angle = omega * times
    u, v = np.moveaxis(forward(start, type=2)[..., None, :], -3, 0)
    later = np.stack(
        [
            np.cos(angle) * u + times * np.sinc(angle / np.pi) * v,  # sin(ωt)/ω, which is t where ω = 0
            np.cos(angle) * v - omega * np.sin(angle) * u,
        ],
        -3,
    )
    out = inverse(later, type=2)
    out[..., 0, :] = start
    return out
