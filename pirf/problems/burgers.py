r"""**Burgers**: u_t + u u_x = 0.01 u_xx, periodic in x; one channel with axes (t, x), the first frame is given.

The equation and its discrete law are :mod:`pirf.rewards.burgers`'s chapter, its solver :mod:`pirf.reference.burgers`'s.
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
from pirf.problems.base import Problem
from pirf.reference import burgers as solver
from pirf.reference import random_fields
from pirf.rewards import Burgers
from pirf.rewards.legacy import DiffusionPDEBurgers, ReleasedBurgers
from pirf.tensors import Field

__all__ = ["burgers"]

Array = NDArray[np.float64]
VISCOSITY = 0.01
SPREAD = 0.274
"""The standard deviation of u₀: the unit of u."""


def burgers(n: int = 32) -> Problem:
    """u_t + u u_x = 0.01 u_xx on n frames of n periodic points, u₀ a random series.  See :mod:`pirf.rewards.burgers`."""
    return _burgers(int(n))


@lru_cache(maxsize=16)
def _burgers(n: int) -> Problem:
    if n < 4:
        raise InputError("burgers needs four frames and points or more", got=n, why="its stencil wraps around", hint="n=32")
    grid = Grid((Axis(n, 1.0, "nodes"), Axis(n, 1.0, "periodic")))

    def evolve(u0: Array, viscosity: float = VISCOSITY) -> Array:
        return solver.solve(u0, n, viscosity)[:, None]

    def evolved(x: Field, viscosity: float) -> Field:
        return torch.from_numpy(evolve(x[:, 0, 0].double().cpu().numpy(), viscosity))

    def white(indices: range, seed: int) -> Array:
        return random_fields.white((2, solver.MODES), indices, seed)

    def frozen(x: Field) -> Field:
        return x[:, :, :1].expand_as(x)

    def on_the_last_frame(x: Field) -> Field:
        out = x.clone()
        out[:, :, -1] += 0.05 * x.std() * (1 - 2 * (torch.arange(n) % 2)).to(x)
        return out

    def drift(x: Field) -> Tensor:  # Σ_x of a row is the step of the mean over Δt, so the residual implies this
        mean = x.mean((1, 3))
        return (mean - mean[:, :1]).abs().amax(1) / SPREAD

    def energy(x: Field, frame: int) -> Tensor:
        return x[:, 0, frame].square().mean(1) / SPREAD**2

    def steepest(x: Field) -> Tensor:
        last = x[:, 0, -1]
        return (last.roll(-1, 1) - last).abs().amax(1) / grid.spacing[1]

    def constants(count: int) -> Field:  # as widely spread as the data
        level = 0.27 * Noise(1).fold("constants")[range(count)].normal((1, 1, 1), torch.float64)
        return level.expand(count, 1, n, n)

    def rough(count: int) -> Field:
        return torch.from_numpy(evolve(solver.initial_condition(white(range(count), 1), n, alpha=2.5, tau=20.0)))

    def faint(count: int) -> Field:
        return torch.from_numpy(evolve(0.5 * solver.initial_condition(white(range(count), 1), n)))

    return Problem(
        name="burgers",
        n=n,
        grid=grid,
        channels=("u",),
        solved=(0,),
        reward=Burgers(grid, VISCOSITY),
        published={"pirf": ReleasedBurgers(grid), "diffusionpde": DiffusionPDEBurgers(grid)},
        scale=0.10,
        white=white,
        law=lambda noise: evolve(solver.initial_condition(noise, n)),
        solve=lambda x: evolved(x, VISCOSITY),
        refine=burgers,
        manufactured=_travelling_wave,
        impostors={
            "first frame for ever": frozen,
            "solution with half the viscosity": lambda x: evolved(x, 0.5 * VISCOSITY),
            "5 % checkerboard on the last frame": on_the_last_frame,
        },
        off_law={"constants": constants, "another initial law, evolved": rough, "first frame halved, evolved": faint},
        balances={"mean of u": drift},
        quantities={
            "energy": lambda x: energy(x, 0),
            "energy lost": lambda x: energy(x, 0) - energy(x, -1),
            "steepest slope": steepest,
        },
        evolution=True,
    )


def _travelling_wave(on: Grid) -> Field:
    """Cole and Hopf: u = c − 2ν φ_x/φ with φ = 1 + a e^{−4π²νt} cos 2π(x − ct), which solves φ_t + cφ_x = νφ_xx."""
    t, x = on.meshgrid()
    speed = 0.5
    angle = 2 * math.pi * (x - speed * t)
    decay = 0.6 * torch.exp(-4 * math.pi**2 * VISCOSITY * t)
    u = speed + 4 * math.pi * VISCOSITY * decay * torch.sin(angle) / (1 + decay * torch.cos(angle))
    return u[None, None]
