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
from pirf.problems.integrals import integral, interface_length, outflow
from pirf.reference import darcy as solver
from pirf.reference import random_fields
from pirf.rewards import CornerWells, Darcy, ResidualReward, Source
from pirf.rewards.legacy import DiffusionPDEDarcy, PIDMDarcy, ReleasedDarcy, ReleasedDarcyLognormal
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

    grid = Grid.square(n)
    reward = Darcy(grid)

    def outflow_of_the_source(x: Field) -> Tensor:
        return outflow(reward.permeability(x[:, :1]), x[:, 1:], grid, walls=True) - 1.0

    def high(x: Field) -> Tensor:
        return (x[:, :1] >= 7.5).double()

    def off_both_phases(x: Field) -> Tensor:
        return integral(torch.minimum((x[:, :1] - 3).abs(), (x[:, :1] - 12).abs()), grid) / 4.5

    def blurred(count: int) -> Array:
        a = solver.two_phase(random_fields.neumann_field(n, range(count), seed=1))
        for axis in (1, 2):
            padded = np.concatenate([a.take([0], axis), a, a.take([-1], axis)], axis)
            a = (padded.take(range(n), axis) + a + padded.take(range(2, n + 2), axis)) / 3
        return a

    return _problem(
        "darcy",
        reward,
        channels=("a", "p"),
        published={"pirf": ReleasedDarcy(grid), "diffusionpde": DiffusionPDEDarcy(grid)},
        balances={"outflow = source": outflow_of_the_source},
        quantities={
            "volume fraction": lambda x: integral(high(x), grid),
            "distance to 3 or 12": off_both_phases,
            "interface length": lambda x: interface_length(high(x), grid),
        },
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
    grid = Grid.square(n)
    reward = Darcy(grid, boundary=Neumann(0.0), source=CornerWells(), least=1e-3)
    well, half = (slice(0, n // 8),) * 2, (slice(0, n // 2),)
    rate = 10.0 / 64  # of a well, all of which crosses any line between the two

    def out_of(box: tuple[slice, ...]) -> Callable[[Field], Tensor]:
        return lambda x: outflow(reward.permeability(x[:, :1]), x[:, 1:], grid, box, walls=False) / rate - 1.0

    def log_variance(x: Field) -> Tensor:
        return reward.permeability(x[:, :1]).double().log().flatten(1).var(1)

    def drop(x: Field) -> Tensor:
        return (x[:, 1][:, *well].mean((1, 2)) - x[:, 1].flip(1, 2)[:, *well].mean((1, 2))) / 0.4

    def white(indices: range, seed: int) -> Array:
        return random_fields.white((64,), indices, seed)

    return _problem(
        "darcy_lognormal",
        reward,
        channels=("K", "p"),
        published={"pirf": ReleasedDarcyLognormal(grid), "pidm": PIDMDarcy(grid)},
        balances={
            "flux out of the well": out_of(well),
            "flux across the middle": out_of(half),
            "mean pressure": lambda x: integral(x[:, 1:], grid) / PRESSURE["darcy_lognormal"],
        },
        quantities={"variance of log K": log_variance, "pressure drop": drop},
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
    published: Mapping[str, ResidualReward],
    balances: Mapping[str, Callable[[Field], Tensor]],
    quantities: Mapping[str, Callable[[Field], Tensor]],
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
        published=published,
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
        balances=balances,
        quantities=quantities,
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
