r"""Viscous Burgers, :math:`u_t + u u_x = \nu u_{xx}` on the unit circle over one unit of time, and the law of its data.

*Time.*  Crank–Nicolson, :math:`(u^{k+1} - u^k)/\Delta t + \tfrac12(F^{k+1} + F^k) = 0` with Δt = 1/(frames − 1).
*Space.*  With l, r the neighbours of u, the skew-symmetric advection ⅓(u Du + D(u²)) and the compact second difference give
:math:`F = (r - l)(l + u + r)/6h - \nu(l - 2u + r)/h^2`: it conserves Σu, and Σu² falls through viscosity alone.

Newton's method solves each step.  Its cyclic tridiagonal systems, one per sample, stand behind each other in a single long
band without coupling, the corners folded in by Sherman and Morrison.  No sample influences another, to the last bit.
Where a wild state (white noise of ten times the data's amplitude, say) leaves Newton without an answer, the frames are NaN
from there on.

*Initial condition.*  :math:`u_0 = \sum_{k=1}^{64} \lambda_k (\xi_k \cos 2\pi kx + \eta_k \sin 2\pi kx)`, ξ, η ~ N(0, 1),
:math:`\lambda_k = \sqrt2\, \tau^{\alpha - 1/2} ((2\pi k)^2 + \tau^2)^{-\alpha/2}`, α = 5/2, τ = 7.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_banded

__all__ = ["MODES", "initial_condition", "initial_spectrum", "solve"]

Array = NDArray[np.float64]
MODES = 64
_NEWTON = 40  # iterations; data take three


def initial_spectrum(alpha: float = 2.5, tau: float = 7.0) -> Array:
    """The standard deviations λ_k of the modes k = 1..64."""
    k = np.arange(1, MODES + 1)
    spectrum: Array = np.sqrt(2) * tau ** (alpha - 0.5) * ((2 * np.pi * k) ** 2 + tau**2) ** (-alpha / 2)
    return spectrum


def initial_condition(noise: Array, n: int, alpha: float = 2.5, tau: float = 7.0) -> Array:
    """The linear map from white noise ``(..., 2, 64)`` to u₀ at the points j/n, ``(..., n)``."""
    angles = 2 * np.pi * np.outer(np.arange(1, MODES + 1), np.arange(n) / n)
    waves = np.concatenate([np.cos(angles), np.sin(angles)])
    weights = (noise * initial_spectrum(alpha, tau)).reshape(*noise.shape[:-2], 2 * MODES)
    field: Array = (weights[..., None] * waves).sum(-2)  # a matrix product would round differently with the batch size
    return field


def solve(u0: Array, frames: int, viscosity: float = 0.01) -> Array:
    """U at the times k/(frames − 1), ``(..., frames, n)``, from ``u0`` at the points j/n, ``(..., n)``."""
    n, dt = u0.shape[-1], 1 / (frames - 1)
    u = np.empty((u0[..., 0].size, frames, n))
    u[:, 0] = guess = u0.reshape(-1, n)
    for k in range(1, frames):
        u[:, k] = _step(u[:, k - 1], guess, dt, viscosity)
        guess = 2 * u[:, k] - u[:, k - 1]
    out: Array = u.reshape(*u0.shape[:-1], frames, n)
    return out


def _neighbours(u: Array) -> tuple[Array, Array]:
    around = np.concatenate([u[:, -1:], u, u[:, :1]], 1)
    return around[:, :-2], around[:, 2:]


def _rate(u: Array, viscosity: float) -> Array:
    """F, which is −u_t."""
    (left, right), n = _neighbours(u), u.shape[1]
    rate: Array = n / 6 * (right - left) * (left + u + right) - viscosity * n**2 * (left - 2 * u + right)
    return rate


def _step(u: Array, guess: Array, dt: float, viscosity: float) -> Array:
    """The next frame; every sample stops by itself once Newton's quadratic convergence has reached round-off."""
    n = u.shape[1]
    known = u / dt - 0.5 * _rate(u, viscosity)
    out = guess.copy()
    active = np.flatnonzero(~np.isnan(u).any(1))
    for _ in range(_NEWTON):
        if not len(active):
            break
        v = out[active]
        left, right = _neighbours(v)
        defect = v / dt + 0.5 * _rate(v, viscosity) - known[active]
        centre = 1 / dt + n / 12 * (right - left) + viscosity * n**2
        before = -n / 12 * (v + 2 * left) - 0.5 * viscosity * n**2
        after = n / 12 * (v + 2 * right) - 0.5 * viscosity * n**2
        change = _solve_cyclic(before, centre, after, defect)
        out[active] = v - change
        active = active[np.abs(change).max(1) > 1e-9 * np.abs(v).max(1)]
    out[active] = np.nan
    return out


def _solve_cyclic(before: Array, centre: Array, after: Array, right: Array) -> Array:
    """X with before·x_{i−1} + centre·x_i + after·x_{i+1} = right, indices modulo n, row by row of ``(batch, n)``."""
    shift = -centre[:, 0]
    first, last = before[:, 0] / shift, after[:, -1].copy()
    band = np.stack([np.roll(after, 1), centre, np.roll(before, -1)])
    band[0, :, 0] = band[2, :, -1] = 0.0  # nothing passes from one sample to the next
    band[1, :, 0] -= shift
    band[1, :, -1] -= first * last
    sides = np.zeros((*right.shape, 2))
    sides[..., 0] = right
    sides[:, 0, 1], sides[:, -1, 1] = shift, last
    both = solve_banded((1, 1), band.reshape(3, -1), sides.reshape(-1, 2), overwrite_ab=True, overwrite_b=True)
    y, q = np.moveaxis(both.reshape(sides.shape), -1, 0)
    factor = (y[:, 0] + first * y[:, -1]) / (1 + q[:, 0] + first * q[:, -1])
    x: Array = y - factor[:, None] * q
    return x
