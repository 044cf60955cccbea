r"""**Wave**: u_tt = u_xx on (t, x), u = 0 at both ends; channels (u, v) with v = u_t, the first frame of both is given.

The equation and its discrete law are :mod:`pirf.rewards.wave`'s chapter, its solver :mod:`pirf.reference.wave`'s.  With speed 1
on a string of length 1 over one unit of time, every wave is reflected exactly once.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Dirichlet, laplacian
from pirf.problems.base import Problem
from pirf.reference import random_fields
from pirf.reference import wave as solver
from pirf.rewards import Wave
from pirf.tensors import Field

__all__ = ["wave"]

Array = NDArray[np.float64]
SPEED = 1.0
_FREQUENCIES = math.pi * SPEED * np.arange(1, solver.MODES + 1)
# The law's mean squares of u, of u_t, which is its mean energy as well, and of u_tt: the same at all times.
DISPLACEMENT, ENERGY, ACCELERATION = (
    0.5 * float((solver.initial_spectrum() ** 2 * _FREQUENCIES**power).sum()) for power in (0, 2, 4)
)


def wave(n: int = 32) -> Problem:
    """u_tt = u_xx on n frames of n cells, fixed ends, (u₀, v₀) random sine series.  See :mod:`pirf.rewards.wave`."""
    return _wave(int(n))


@lru_cache(maxsize=16)
def _wave(n: int) -> Problem:
    if n < 4:
        raise InputError("wave needs four frames and cells or more", got=n, why="shorter waves have no room", hint="n=32")
    grid = Grid((Axis(n, 1.0, "nodes"), Axis(n, 1.0, "cells")))

    def law(noise: Array, alpha: float = 3.0) -> Array:
        return solver.solve(solver.initial_condition(noise, n, SPEED, alpha), n, SPEED)

    def evolved(x: Field, speed: float = SPEED, duration: float = 1.0) -> Field:
        return torch.from_numpy(solver.solve(_first(x), n, speed, duration))

    def white(indices: range, seed: int) -> Array:
        return random_fields.white((2, solver.MODES), indices, seed)

    def energies(x: Field) -> Tensor:
        """½ mean(v² + c²|Du|²) of every frame, ``(batch, frames)``; the sum by parts is exact on cells with odd ghosts."""
        u, v = x.unbind(1)
        string = Grid(grid.axes[1:])  # the frames are the channels of a field in space
        return 0.5 * (v.square() - SPEED**2 * u * laplacian(u, string, Dirichlet(0.0))).mean(2)

    def drift(x: Field) -> Tensor:
        energy = energies(x)
        return (energy - energy[:, :1]).abs().amax(1) / ENERGY

    def smoother(count: int) -> Field:
        return torch.from_numpy(law(white(range(count), 1), alpha=6.0))

    def fundamental(count: int) -> Field:
        out = torch.zeros(count, 2, n, n, dtype=torch.float64)
        size = 0.5 * Noise(1).fold("standing")[range(count)].normal((1,), torch.float64)
        out[:, 0, 0] = size * torch.sin(math.pi * grid.axes[1].points())
        return evolved(out)

    return Problem(
        name="wave",
        n=n,
        grid=grid,
        channels=("u", "v"),
        solved=(0, 1),
        reward=Wave(grid, SPEED),
        solution_norm=Wave(grid, SPEED, norm="solution", scale=(math.sqrt(DISPLACEMENT), math.sqrt(ENERGY))),
        scale=ACCELERATION,
        white=white,
        law=law,
        solve=evolved,
        refine=wave,
        manufactured=_travelling_waves,
        impostors={
            "first frame for ever": lambda x: x[:, :, :1].expand_as(x),
            "solution at half the speed": lambda x: evolved(x, 0.5 * SPEED),
            "solution backwards in time": lambda x: evolved(x, duration=-1.0),
            "solution between free ends": lambda x: torch.from_numpy(solver.solve_free(_first(x), n, SPEED)),
            "solution that dies away": lambda x: x * torch.exp(-0.1 * grid.meshgrid()[0]).to(x),
            "right displacement at rest": lambda x: torch.stack([x[:, 0], 0 * x[:, 1]], 1),
        },
        off_law={"one standing wave": fundamental, "a smoother first frame, evolved": smoother},
        balances={"energy": drift},
        quantities={"energy": lambda x: energies(x).mean(1)},
        evolution=True,
        gaussian=True,
    )


def _first(x: Field) -> Array:
    """(u₀, v₀), ``(batch, 2, n)``."""
    frame: Array = x[:, :, 0].double().cpu().numpy()
    return frame


def _travelling_waves(on: Grid) -> Field:
    """D'Alembert: u = F(t + x) − F(t − x) solves the equation, and vanishes at both ends if F has the period 2."""
    t, x = on.meshgrid()

    def f(s: Tensor) -> Tensor:
        return 0.3 * torch.exp(torch.sin(math.pi * s))

    def slope(s: Tensor) -> Tensor:
        return math.pi * torch.cos(math.pi * s) * f(s)

    ahead, back = SPEED * t + x, SPEED * t - x
    return torch.stack([f(ahead) - f(back), SPEED * (slope(ahead) - slope(back))])[None]
