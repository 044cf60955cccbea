r"""**Darcy** and **Darcy, log-normal**: −∇·(a∇p) = f, a two-phase medium between walls of zero pressure or a closed box.

The equation and its discrete law are :mod:`pirf.rewards.darcy`'s chapter, its solver :mod:`pirf.reference.darcy`'s.  The
second problem follows *Physics-Informed Diffusion Models* (arXiv 2403.14404): wells in two corners, no flux, mean zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import Neumann
from pirf.problems.base import Problem
from pirf.reference import darcy as solver
from pirf.reference import random_fields
from pirf.rewards import CornerWells, Darcy, Source
from pirf.rewards.legacy_darcy import ReleasedDarcy, ReleasedDarcyLognormal
from pirf.tensors import Field

__all__ = ["darcy", "darcy_lognormal"]

Array = NDArray[np.float64]
PRESSURE = {"darcy": 0.004, "darcy_lognormal": 0.08}
"""The standard deviation of p, to one figure: the units of the solution norms."""


def darcy(n: int = 32) -> Problem:
    """−∇·(a∇p) = 1, p = 0 on the boundary, a = 12 or 3 by the sign of a GRF-N; channels (a, p)."""
    return _darcy(int(n))


def darcy_lognormal(n: int = 64) -> Problem:
    """−∇·(K∇p) = ±10 in two corners, no flux, mean(p) = 0, K = exp(G) with 64 modes; channels (K, p).  n: a multiple of 8."""
    return _darcy_lognormal(int(n))


@lru_cache(maxsize=16)
def _darcy(n: int) -> Problem:
    if n < 4:
        raise InputError("darcy needs a grid of at least 4×4 cells", got=n, why="walls and inside are told apart", hint="n=32")

    def blurred(count: int) -> Array:
        a = solver.two_phase(random_fields.neumann_field(n, range(count), seed=1))
        for axis in (1, 2):
            padded = np.concatenate([a.take([0], axis), a, a.take([-1], axis)], axis)
            a = (padded.take(range(n), axis) + a + padded.take(range(2, n + 2), axis)) / 3
        return a

    return _problem(
        "darcy",
        Darcy(Grid.square(n)),
        channels=("a", "p"),
        scale=1.0,
        solve=solver.solve,
        refine=darcy,
        white=lambda indices, seed: random_fields.white((n, n), indices, seed),
        permeability=lambda noise: solver.two_phase(random_fields.colour(noise)),
        others={
            "one permeability everywhere": lambda count: np.full((count, n, n), 12.0),
            "blurred permeability": blurred,
            "another random field": lambda count: solver.two_phase(
                random_fields.neumann_field(n, range(count), seed=1, alpha=1.5, tau=9.0)
            ),
        },
    )


@lru_cache(maxsize=16)
def _darcy_lognormal(n: int) -> Problem:
    if n < 8 or n % 8:
        raise InputError(
            "darcy_lognormal needs a multiple of 8", got=n, why="its wells are an eighth of an axis wide", hint="n=64"
        )
    source = solver.corner_wells(n)

    def white(indices: range, seed: int) -> Array:
        return random_fields.white((64,), indices, seed)

    return _problem(
        "darcy_lognormal",
        Darcy(Grid.square(n), boundary=Neumann(0.0), source=CornerWells(), least=1e-3),
        channels=("K", "p"),
        scale=float((source**2).mean()),
        solve=lambda a: solver.solve_neumann(a, source),
        refine=darcy_lognormal,
        white=white,
        permeability=lambda noise: solver.lognormal(noise, n),
        others={
            "one permeability everywhere": lambda count: np.ones((count, n, n)),
            "another correlation length": lambda count: solver.lognormal(white(range(count), 1), n, length=0.3),
        },
    )


def _problem(
    name: str,
    reward: Darcy,
    *,
    channels: tuple[str, ...],
    scale: float,
    solve: Callable[[Array], Array],
    refine: Callable[[int], Problem],
    white: Callable[[range, int], Array],
    permeability: Callable[[Array], Array],
    others: Mapping[str, Callable[[int], Array]],
) -> Problem:
    closed = isinstance(reward.boundary, Neumann)

    def stack(a: Array) -> Array:
        return np.stack([a, solve(a)], 1)

    def solved(x: Field) -> Field:
        a = x[:, 0].double().cpu()
        p = solve(reward.permeability(a[:, None])[:, 0].numpy())  # of a as the reward reads it: a model's a may be ≤ 0
        return torch.stack([a, torch.from_numpy(p)], 1)

    def of_the_mean(x: Field) -> Field:
        a = x[:, 0].double().cpu()
        even = a.mean((1, 2), keepdim=True).expand(a.shape)
        return torch.stack([a, torch.from_numpy(solve(even.numpy()))], 1)

    def doubled(count: int) -> Field:
        return torch.from_numpy(stack(permeability(white(range(count), 1)))) * torch.tensor([2.0, 0.5]).reshape(1, 2, 1, 1)

    def again(make: Callable[[int], Array]) -> Callable[[int], Field]:
        return lambda count: torch.from_numpy(stack(make(count)))

    wave = _Wave(walls=not closed)
    return Problem(
        name=name,
        n=reward.grid.shape[0],
        grid=reward.grid,
        channels=channels,
        solved=(1,),
        reward=reward,
        released=(ReleasedDarcyLognormal if closed else ReleasedDarcy)(reward.grid),
        solution_norm=attrs.evolve(reward, norm="solution", scale=PRESSURE[name]),
        scale=scale,
        white=white,
        law=lambda noise: stack(permeability(noise)),
        solve=solved,
        refine=refine,
        manufactured=wave.fields,
        manufactured_options={"source": wave},
        impostors={"solution for the mean permeability": of_the_mean},
        off_law={"twice the permeability, half the pressure": doubled}
        | {f"{text}, solved": again(make) for text, make in others.items()},
    )


@final
@attrs.frozen
class _Wave(Source):
    """Kirchhoff's transform of a wave s: p = log(1 + s) and a = 1 + s have the flux a∇p = ∇s, so that −∇·(a∇p) = −Δs."""

    walls: bool

    def wave(self, grid: Grid) -> Tensor:
        """Zero on the boundary, or without flux through it."""
        x, y = grid.meshgrid()
        curve = torch.sin if self.walls else torch.cos
        return 0.5 * curve(torch.pi * x) * curve(2 * torch.pi * y)

    def values(self, grid: Grid) -> Tensor:
        """−Δs."""
        return 5 * torch.pi**2 * self.wave(grid)

    def fields(self, grid: Grid) -> Field:
        """(a, p), p of mean zero where nothing else fixes it."""
        s = self.wave(grid)
        p = torch.log1p(s)
        return torch.stack([1 + s, p if self.walls else p - p.mean()])[None]
