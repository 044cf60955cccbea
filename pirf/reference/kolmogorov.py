r"""Kolmogorov flow :math:`\omega_t + u\cdot\nabla\omega = \Delta\omega/Re - 0.1\,\omega - 4\cos 4y` on the torus [0, 2π)².

y is the last axis, :math:`u = (\psi_y, -\psi_x)` with :math:`-\Delta\psi = \omega`.  In space a Fourier method: with P the
projection on the modes with 3|k| < n in either axis, :math:`G(\omega) = -\nabla\cdot P(u\,P\omega) + (\Delta/Re - 0.1)\,\omega
- 4\cos 4y`, where u is the velocity of Pω.  Products of two such fields are then free of aliases in every mode that is kept.
In time the linear part is integrated exactly and the rest by the classical Runge–Kutta method (IF-RK4).

Fields are ``(..., nx, ny)`` with even nx and ny.  Truth is statistically steady: a random vorticity is left to itself for
``SPIN_UP`` time units, then ``PER_TRAJECTORY`` triplets of frames are taken from the trajectory, one time unit apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = [
    "DRAG",
    "INTERVAL",
    "PER_TRAJECTORY",
    "SPIN_UP",
    "advance",
    "followed",
    "frames",
    "laminar",
    "random_vorticity",
    "substeps",
    "tendency",
    "trajectories",
]

Array = NDArray[np.float64]
Modes = NDArray[np.complex128]

DRAG = 0.1
INTERVAL = 1 / 32  # between frames
SPIN_UP = 20  # time units
PER_TRAJECTORY = 16  # triplets, one time unit apart
_COURANT = 2.5  # wave numbers per step that a Runge–Kutta step of fourth order still damps: 2.8
_TOGETHER = 2**13  # points that are advanced at once: more would leave the cache


def substeps(n: int) -> int:
    """Runge–Kutta steps from one frame to the next on n points per axis: 64, 96, 160, 320 per time unit at 32, 64, 128, 256."""
    return 2 if n <= 32 else 3 if n <= 64 else 5 if n <= 128 else -(-10 * n // 256)


class _Flow:
    r"""The symbols of the equation on the half-plane of modes that a real transform keeps.

    With ω the curl of a velocity without divergence, :math:`\nabla\cdot(u\omega) = (\partial_x^2 - \partial_y^2)(u_1u_2) +
    \partial_x\partial_y(u_2^2 - u_1^2)`: two products of two fields, four transforms in place of five.  Only the columns of
    modes that P keeps are ever transformed.
    """

    def __init__(self, shape: tuple[int, int], reynolds: float) -> None:
        self.shape = shape
        nx, ny = shape
        self.columns = kept = -(-ny // 3)
        kx, ky = fft.fftfreq(nx, 1 / nx)[:, None], fft.rfftfreq(ny, 1 / ny)
        squares = kx**2 + ky**2
        self.linear = -squares / reynolds - DRAG
        keep, squares, ky = 3 * np.abs(kx) < nx, squares[:, :kept], ky[:kept]
        over = keep / np.where(squares == 0, np.inf, squares)
        self.velocity = 1j * ky * over, -1j * kx * over
        self.product, self.difference = keep * (kx**2 - ky**2), keep * kx * ky
        self.force = -2.0 * nx * ny  # −4cos4y is half of this over nx·ny in each of the modes (0, ±4)

    def points(self, modes: Modes) -> Array:
        """The field with these modes, ``columns`` of them; one field at a time stays in the cache."""
        out: Array = fft.irfft(fft.ifft(modes, axis=-2, workers=1, overwrite_x=True), n=self.shape[1], workers=1)
        return out

    def modes(self, field: Array) -> Modes:
        """The kept columns of the modes of a field."""
        out: Modes = fft.fft(fft.rfft(field, workers=1)[..., : self.columns], axis=-2, workers=1)
        return out

    def nonlinear(self, modes: Modes) -> Modes:
        """Everything but the linear part; ``modes`` is ``(batch, nx, columns)``."""
        u, v = (self.points(symbol * modes) for symbol in self.velocity)
        out = self.modes(u * v)
        out *= self.product
        crossed = self.modes((v - u) * (v + u))
        crossed *= self.difference
        out += crossed
        out[:, 0, 4] += self.force
        return out

    def steps(self, modes: Modes, h: float, count: int) -> Modes:
        """``count`` steps of IF-RK4; the modes beyond ``columns`` feel the linear part alone."""
        linear = self.linear[:, : self.columns]
        half = np.exp(0.5 * h * linear)
        w = modes[..., : self.columns]
        for _ in range(count):
            first = self.nonlinear(w)
            middle = half * w
            second = self.nonlinear(middle + 0.5 * h * half * first)
            third = self.nonlinear(middle + 0.5 * h * second)
            full = half * middle
            fourth = self.nonlinear(full + h * half * third)
            second += third
            first *= half
            second += 0.5 * first
            second *= h / 3 * half
            fourth *= h / 6
            fourth += second
            w = full + fourth
        out: Modes = modes * np.exp(count * h * self.linear)
        out[..., : self.columns] = w
        return out


def tendency(vorticity: Array, reynolds: float) -> Array:
    """G(ω), the right side of ω_t = G(ω)."""
    flow = _Flow(vorticity.shape[-2:], reynolds)
    modes = fft.rfft2(vorticity.reshape(-1, *flow.shape), workers=1)
    slope = flow.linear * modes
    slope[..., : flow.columns] += flow.nonlinear(modes[..., : flow.columns])
    out: Array = fft.irfft2(slope, s=flow.shape, workers=1)
    return out.reshape(vorticity.shape)


def frames(vorticity: Array, reynolds: float, interval: float, count: int, substeps: int) -> Array:
    """ω and what becomes of it: ``(..., 1 + count, nx, ny)``, ``interval`` apart, ``substeps`` Runge–Kutta steps each."""
    flow = _Flow(vorticity.shape[-2:], reynolds)
    modes = fft.rfft2(vorticity.reshape(-1, *flow.shape), workers=1)
    out = np.empty((len(modes), 1 + count, *flow.shape))
    out[:, 0] = vorticity.reshape(-1, *flow.shape)
    for frame in range(1, 1 + count):
        modes = flow.steps(modes, interval / substeps, substeps)
        out[:, frame] = fft.irfft2(modes, s=flow.shape, workers=1)
    return out.reshape(*vorticity.shape[:-2], *out.shape[1:])


def followed(vorticity: Array, reynolds: float, interval: float, count: int, substeps: int) -> Array:
    """:func:`frames` of any fields ``(batch, nx, ny)``: a wild one takes 2, 4, 8, ... times the sub-steps, until it is stable.

    Data are tame and take ``substeps``.  What is too wild for 64 times as many ends in NaN.
    """
    flow = _Flow(vorticity.shape[-2:], reynolds)
    modes = flow.modes(vorticity)
    u, v = (flow.points(symbol * modes) for symbol in flow.velocity)
    courant = (abs(u) + abs(v)).max((-2, -1)) * max(flow.shape) / 3 * interval / substeps
    finer = 2 ** np.clip(np.ceil(np.log2(np.maximum(courant / _COURANT, 1e-300))), 0, 6).astype(int)
    out = np.empty((len(vorticity), 1 + count, *flow.shape))
    with np.errstate(over="ignore", invalid="ignore"):
        for factor in np.unique(finer):
            chosen = finer == factor
            out[chosen] = frames(vorticity[chosen], reynolds, interval, count, substeps * int(factor))
    return out


def advance(vorticity: Array, reynolds: float, time: float, steps: int) -> Array:
    """ω after ``time``."""
    return frames(vorticity, reynolds, time, 1, steps)[..., 1, :, :]


def random_vorticity(noise: Array, power: float = 2.5, wavenumber: float = 7.0) -> Array:
    """White noise ``(..., nx, ny)`` → vorticity, mean 0, variance 1, amplitudes ∝ (k² + wavenumber²)^(−power/2), dealiased."""
    flow = _Flow(noise.shape[-2:], 1.0)
    nx, ny = flow.shape
    kx, ky = fft.fftfreq(nx, 1 / nx)[:, None], fft.fftfreq(ny, 1 / ny)
    keep = (3 * np.abs(kx) < nx) & (3 * np.abs(ky) < ny) & (kx**2 + ky**2 > 0)
    spectrum = keep * (kx**2 + ky**2 + wavenumber**2) ** (-0.5 * power)
    spectrum *= np.sqrt(nx * ny / (spectrum**2).sum())
    out: Array = fft.irfft2(spectrum[:, : ny // 2 + 1] * fft.rfft2(noise, workers=1), s=flow.shape, workers=1)
    return out


def trajectories(
    noise: Array,
    reynolds: float,
    substeps: int,
    *,
    spin_up: int = SPIN_UP,
    triplets: int = PER_TRAJECTORY,
) -> Array:
    """White noise ``(count, nx, ny)`` → ``(count·triplets, 3, nx, ny)``: triplets of frames in order of time."""
    per_unit = round(1 / INTERVAL) * substeps
    out = np.empty((len(noise), triplets, 3, *noise.shape[-2:]))
    chunk = max(1, _TOGETHER // noise[0].size) if len(noise) else 1
    for first in range(0, len(noise), chunk):
        flow = random_vorticity(noise[first : first + chunk])
        flow = advance(flow, reynolds, spin_up, spin_up * per_unit)
        for triplet in range(triplets):
            out[first : first + chunk, triplet] = frames(flow, reynolds, INTERVAL, 2, substeps)
            if triplet + 1 < triplets:
                flow = advance(flow, reynolds, 1.0, per_unit)
    return out.reshape(-1, *out.shape[2:])


def laminar(shape: tuple[int, int], reynolds: float) -> Array:
    """The steady solution −4/(16/Re + 0.1)·cos 4y, far above the amplitude of the flow that it is unstable to."""
    y = 2 * np.pi * np.arange(shape[1]) / shape[1]
    return np.broadcast_to(-4 / (16 / reynolds + DRAG) * np.cos(4 * y), shape).copy()
