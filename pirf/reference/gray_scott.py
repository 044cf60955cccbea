r"""Gray–Scott, :math:`u_t = D_u \Delta u - uv^2 + F(1 - u)`, :math:`v_t = D_v \Delta v + uv^2 - (F + k)v`, between walls.

v eats u and is taken out, u is fed.  Fields are ``(..., 2, nx, ny)``, the species (u, v) on square cells of side ``SPACING``;
no flux through the walls.  The equation has two parts that can each be followed by itself, and a step of length h is
half a step of the first, a whole one of the second, half a one of the first (Strang):

*Diffusion, feed and removal* are linear in (1 − u, v), and the discrete cosine transform diagonalises the five-point Laplacian:
every mode decays by its own exponential, exactly.

*The reaction* u′ = −uv², v′ = uv² leaves w = u + v alone in every cell and is solved by
:math:`u(h) = u(0) \exp(-\int_0^h v^2)`.  The integral is Simpson's rule on v,
:math:`v_{1/2} = w - u e^{-h(v^2 + \tilde v^2)/4}` with :math:`\tilde v = w - u e^{-hv^2/2}`, and
:math:`v_1 = w - u e^{-hv_{1/2}^2}`.

Both parts keep u, v ≥ 0 and neither can blow up, whatever the state and however long the step.

*Pattern.*  D_u = 2e−5, D_v = 1e−5 and the spacing 2.5/256 are those of Pearson (1993), in whose map F = 0.04, k = 0.06 lies
among the stripes that grow from seeds and fill the square, ever more slowly.  A seed is (u, v) = (½, ¼) in the empty state
(1, 0), wherever a smooth random field is large; truth is what seeds have become between ``SPIN_UP`` and 320 time units later.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

__all__ = [
    "DIFFUSION",
    "FEED",
    "INTERVAL",
    "KILL",
    "PER_TRAJECTORY",
    "SPACING",
    "SPIN_UP",
    "SUBSTEPS",
    "advance",
    "seeds",
    "trajectories",
]

Array = NDArray[np.float64]

SPACING = 2.5 / 256
DIFFUSION = (2e-5, 1e-5)
FEED, KILL = 0.04, 0.06
INTERVAL, SUBSTEPS = 16.0, 16  # between the two frames of a pair
SPIN_UP = 64.0  # the first pair's age
PER_TRAJECTORY = 16  # pairs: each begins where the one before it ends
_TOGETHER = 2**13  # points that are advanced at once: more would leave the cache


@lru_cache(maxsize=16)
def _decay(
    shape: tuple[int, int], h: float, spacing: float, feed: float, kill: float, diffusion: tuple[float, float]
) -> tuple[Array, Array]:
    """What the modes of (1 − u, v) are multiplied by in a step and in half a step, ``(2, nx, ny)``."""
    x, y = (-4 / spacing**2 * np.sin(np.pi * np.arange(n) / (2 * n)) ** 2 for n in shape)
    laplacian = x[:, None] + y
    rates = np.stack([diffusion[0] * laplacian - feed, diffusion[1] * laplacian - feed - kill])
    return np.exp(h * rates), np.exp(0.5 * h * rates)


def _linear(state: Array, decay: Array) -> Array:
    """On (1 − u, v)."""
    modes = fft.dctn(state, axes=(-2, -1), norm="ortho", workers=1)
    out: Array = fft.idctn(decay * modes, axes=(-2, -1), norm="ortho", workers=1, overwrite_x=True)
    return out


def _react(state: Array, h: float) -> Array:
    """On (1 − u, v)."""
    u, v = 1 - state[..., 0, :, :], state[..., 1, :, :]
    total, rate = u + v, v * v
    early = total - u * np.exp(-0.5 * h * rate)
    middle = (total - u * np.exp(-0.25 * h * (rate + early**2))) ** 2
    late = (total - u * np.exp(-h * middle)) ** 2
    after = u * np.exp(-h / 6 * (rate + 4 * middle + late))
    return np.stack([1 - after, total - after], -3)


def advance(
    state: Array,
    time: float = INTERVAL,
    steps: int = SUBSTEPS,
    *,
    spacing: float = SPACING,
    feed: float = FEED,
    kill: float = KILL,
    diffusion: tuple[float, float] = DIFFUSION,
    reaction: float = 1.0,
) -> Array:
    """(u, v) after ``time``; ``reaction`` multiplies uv²: with another value than 1 it is another equation."""
    h = time / steps
    whole, half = _decay(state.shape[-2:], h, spacing, feed, kill, diffusion)
    flat = state.reshape(-1, *state.shape[-3:])
    out = np.empty(flat.shape)
    chunk = max(1, _TOGETHER // flat[0].size) if len(flat) else 1
    for first in range(0, len(flat), chunk):
        part = flat[first : first + chunk].copy()
        part[:, 0] = 1 - part[:, 0]
        part = _linear(part, half)
        for step in range(1, 1 + steps):
            part = _linear(_react(part, reaction * h), whole if step < steps else half)
        part[:, 0] = 1 - part[:, 0]
        out[first : first + chunk] = part
    return out.reshape(state.shape)


def seeds(noise: Array, radius: float = 2.0, level: float = 0.3) -> Array:
    """White noise ``(..., nx, ny)`` → (u, v): seeds where it is large, smoothed over ``radius`` cells."""
    shape = noise.shape[-2:]
    x, y = (np.exp(-0.5 * (np.pi * radius * np.arange(n) / n) ** 2) for n in shape)
    smooth = x[:, None] * y
    field = fft.idctn(smooth * fft.dctn(noise, axes=(-2, -1), norm="ortho", workers=1), axes=(-2, -1), norm="ortho", workers=1)
    field -= field.mean((-2, -1), keepdims=True)
    field /= field.std((-2, -1), keepdims=True)
    seed = 1 / (1 + np.exp(8 * (level - field)))
    out: Array = np.stack([1 - 0.5 * seed, 0.25 * seed], -3)
    return out


def trajectories(noise: Array) -> Array:
    """White noise ``(count, nx, ny)`` → ``(count·PER_TRAJECTORY, 4, nx, ny)``: pairs (u₀, v₀, u₁, v₁) in order of age."""
    out = np.empty((len(noise), PER_TRAJECTORY, 4, *noise.shape[-2:]))
    state = advance(seeds(noise), SPIN_UP, round(SPIN_UP / INTERVAL * SUBSTEPS))
    for pair in range(PER_TRAJECTORY):
        out[:, pair, :2] = state
        out[:, pair, 2:] = state = advance(state)
    return out.reshape(-1, *out.shape[2:])
