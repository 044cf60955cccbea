r"""Kuramoto–Sivashinsky, :math:`u_t + u u_x + u_{xx} + u_{xxxx} = 0` on the circle [0, L): the least equation with chaos.

Long waves grow (u_xx has the sign of a heat equation run backwards), short ones are damped, advection carries energy from the
ones to the others.  In space a Fourier method: with P the projection on the modes m with 3|m| < n,
:math:`G(u) = -\tfrac12 \partial_x P (Pu)^2 - u_{xx} - u_{xxxx}`; products of two fields that P keeps are free of aliases in the
modes it keeps.  In time ETDRK4, ``SUBSTEPS`` steps per unit of time.

The circle of L = 22 is chaotic (Cvitanović, Davidchack and Siminos, 2010), and so are long ones; between them some come to
rest.  Truth lies on the attractor: white noise in the modes that P keeps is left to itself for ``SPIN_UP`` time units.  The
mean is 0: any other is the same solution seen from a moving frame.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from pirf.reference.exponential import Modes, etdrk4

__all__ = ["SPIN_UP", "SUBSTEPS", "attractor", "cells", "frames", "tendency"]

Array = NDArray[np.float64]

SUBSTEPS = 4  # per unit of time
SPIN_UP = 200  # time units
_TOGETHER = 2**13  # points that are advanced at once: more would leave the cache


class _Circle:
    """The symbols of the equation on the modes that a real transform keeps."""

    def __init__(self, n: int, length: float, viscosity: float = 1.0, advection: float = 1.0) -> None:
        m = np.arange(n // 2 + 1)
        k = 2 * np.pi * m / length
        self.n, self.keep = n, 1.0 * (3 * m < n)
        self.slope = -0.5j * advection * k * self.keep
        self.linear = k**2 - viscosity * k**4

    def nonlinear(self, modes: Modes) -> Modes:
        u = fft.irfft(self.keep * modes, self.n, workers=1)
        out: Modes = self.slope * fft.rfft(u * u, workers=1)
        return out

    def modes(self, u: Array) -> Modes:
        out: Modes = fft.rfft(u, workers=1)
        return out

    def points(self, modes: Modes) -> Array:
        out: Array = fft.irfft(modes, self.n, workers=1)
        return out


def tendency(u: Array, length: float) -> Array:
    """G(u), the right side of u_t = G(u), for fields ``(..., n)``."""
    circle = _Circle(u.shape[-1], length)
    modes = circle.modes(u)
    return circle.points(circle.nonlinear(modes) + circle.linear * modes)


def frames(
    u: Array,
    length: float,
    interval: float,
    count: int,
    substeps: int,
    *,
    viscosity: float = 1.0,
    advection: float = 1.0,
) -> Array:
    """U and what becomes of it: ``(..., 1 + count, n)`` from ``(..., n)``, ``interval`` apart, ``substeps`` steps each.

    ``viscosity`` multiplies u_xxxx and ``advection`` u u_x: with other values than 1 it is another equation.  Where a wild
    state outruns the steps, the frames are NaN from there on.
    """
    n = u.shape[-1]
    circle = _Circle(n, length, viscosity, advection)
    flat = u.reshape(-1, n)
    out = np.empty((len(flat), 1 + count, n))
    out[:, 0] = flat
    chunk = max(1, _TOGETHER // n)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, len(flat), chunk):
            modes = circle.modes(flat[first : first + chunk])
            for frame in range(1, 1 + count):
                modes = etdrk4(modes, interval / substeps, circle.linear, circle.nonlinear, substeps)
                out[first : first + chunk, frame] = circle.points(modes)
    out[~np.isfinite(out)] = np.nan
    return out.reshape(*u.shape[:-1], 1 + count, n)


def attractor(noise: Array, length: float, spin_up: float = SPIN_UP) -> Array:
    """White noise ``(..., n)`` → states of mean 0, ``spin_up`` time units later."""
    circle = _Circle(noise.shape[-1], length)
    modes = circle.keep * circle.modes(noise)
    modes[..., 0] = 0.0
    steps = round(spin_up * SUBSTEPS)
    return frames(circle.points(modes), length, spin_up, 1, steps)[..., 1, :] if steps else circle.points(modes)


def cells(n: int, length: float, count: int) -> Array:
    """``count`` equal cells, at rest where L/count is about 11: steady among states of that period, unstable among all."""
    allowed = np.arange(n // 2 + 1) % count == 0
    state: Array = np.sin(2 * np.pi * count * np.arange(n) / n)
    for _ in range(100):  # the projection keeps round-off from growing into other periods
        state = fft.irfft(allowed * fft.rfft(frames(state, length, 4.0, 1, 4 * SUBSTEPS)[1]), n)
    return state
