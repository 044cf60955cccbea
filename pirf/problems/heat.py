r"""**Heat**: u_t = 0.01 Δu on the unit square, no flux through its walls; channels (u0, u1), the temperature at times 0 and 1.

The equation and its discrete law are :mod:`pirf.rewards.heat`'s chapter, its solver :mod:`pirf.reference.heat`'s.  u0 is given
and u1 solved for; both together are Gaussian, so that the exact denoiser is known.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.grids import Grid
from pirf.noise import Noise
from pirf.operators import idct
from pirf.problems.base import Problem
from pirf.problems.elliptic import unit_square
from pirf.reference import heat as solver
from pirf.reference import poisson, random_fields
from pirf.rewards import Heat
from pirf.tensors import Field

__all__ = ["heat"]

Array = NDArray[np.float64]
DIFFUSIVITY, DURATION = 0.01, 1.0


def heat(n: int = 32) -> Problem:
    """u_t = 0.01 Δu between walls without flux, u0 ~ GRF-N plus a random mean.  See :mod:`pirf.rewards.heat`."""
    return _heat(int(n))


@lru_cache(maxsize=16)
def _heat(n: int) -> Problem:
    grid = unit_square("heat", n)

    def pair(u0: Array) -> Array:
        return np.stack([u0, solver.solve(u0, DIFFUSIVITY, DURATION)], 1)

    def later(x: Field, u1: Array) -> Field:
        return torch.stack([x[:, 0].double().cpu(), torch.from_numpy(u1)], 1)

    def first(x: Field) -> Array:
        u0: Array = x[:, 0].double().cpu().numpy()
        return u0

    def rough(count: int) -> Field:
        noise = random_fields.white((n, n), range(count), seed=1)
        return torch.from_numpy(pair(solver.initial_condition(noise, alpha=1.5, tau=9.0)))

    def grainy(count: int) -> Field:  # the finer half of the modes at a tenth of the data's deviation, and none of it in u1
        x = torch.from_numpy(pair(solver.initial_condition(random_fields.white((n, n), range(count), seed=1))))
        modes = Noise(1).fold("grain")[range(count)].normal((1, n, n), torch.float64)
        modes[:, :, : n // 2, : n // 2] = 0
        grain = idct(modes)
        return torch.cat([x[:, :1] + 0.1 * x[:, :1].std() / grain.std() * grain, x[:, 1:]], 1)

    def even(count: int) -> Field:  # as widely spread as the data
        level = 0.4 * Noise(1).fold("even")[range(count)].normal((1, 1, 1), torch.float64)
        return level.expand(count, 2, n, n).clone()

    variances = random_fields.neumann_spectrum(n) ** 2
    variances[0, 0] = solver.LEVEL**2
    faded = variances * np.exp(2 * DIFFUSIVITY * DURATION * poisson.eigenvalues((n, n), kind="neumann"))
    deviation = math.sqrt(faded.sum())

    def leak(x: Field) -> Tensor:
        mean = x.mean((2, 3))
        return (mean[:, 1] - mean[:, 0]).abs() / deviation

    def overshoot(x: Field) -> Tensor:
        u0, u1 = x.flatten(2).unbind(1)
        beyond = torch.maximum(u1.amax(1) - u0.amax(1), u0.amin(1) - u1.amin(1))
        return beyond.clamp_min(0.0) / deviation

    return Problem(
        name="heat",
        n=n,
        grid=grid,
        channels=("u0", "u1"),
        solved=(1,),
        reward=Heat(grid, DIFFUSIVITY, DURATION),
        scale=deviation**2,
        white=lambda indices, seed: random_fields.white((n, n), indices, seed),
        law=lambda noise: pair(solver.initial_condition(noise)),
        solve=lambda x: torch.from_numpy(pair(first(x))),
        refine=heat,
        manufactured=_fading_cosines,
        impostors={
            "nothing has happened": lambda x: later(x, first(x)),
            "solution with half the diffusivity": lambda x: later(x, solver.solve(first(x), 0.5 * DIFFUSIVITY, DURATION)),
            "solution between cold walls": lambda x: later(x, solver.solve_cold(first(x), DIFFUSIVITY, DURATION)),
            "the mean everywhere": lambda x: torch.cat([x[:, :1], x[:, :1].mean((2, 3), keepdim=True).expand_as(x[:, :1])], 1),
        },
        off_law={
            "uniform temperatures": even,
            "another random field, evolved": rough,
            "grain on u0 that leaves no trace": grainy,
        },
        balances={"mean temperature": leak, "maximum principle": overshoot},
        gaussian=True,
    )


def _fading_cosines(on: Grid) -> Field:
    """A constant and cos πx cos 2πy e^{−5π²κt}, at times 0 and T."""
    x, y = on.meshgrid()
    u0 = torch.cos(math.pi * x) * torch.cos(2 * math.pi * y)
    return torch.stack([0.3 + u0, 0.3 + math.exp(-5 * math.pi**2 * DIFFUSIVITY * DURATION) * u0])[None]
