r"""**Gray–Scott**: two species in two frames, 16 time units apart, of a pattern that grows; channels (u₀, v₀, u₁, v₁).

The equation and its discrete law are :mod:`pirf.rewards.gray_scott`'s chapter, its solver and its law
:mod:`pirf.reference.gray_scott`'s.  Consecutive samples share a trajectory: sample i is pair i mod m of trajectory ⌊i/m⌋, with
m = ``PER_TRAJECTORY`` of :mod:`pirf.reference.gray_scott`, each pair beginning where the one before it ends; the trajectory
depends on (seed, ⌊i/m⌋) alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.noise import Noise
from pirf.problems.base import Problem
from pirf.reference import gray_scott as solver
from pirf.reference import random_fields
from pirf.rewards import GrayScott
from pirf.tensors import Field

__all__ = ["gray_scott"]

Array = NDArray[np.float64]

_S = 2.4e-6  # about the mean square of (x₁ − x₀)/Δt, at every size


def gray_scott(n: int = 32) -> Problem:
    """u_t = D_u Δu − uv² + F(1 − u), v_t = D_v Δv + uv² − (F + k)v on n×n cells.  See :mod:`pirf.rewards.gray_scott`."""
    return _gray_scott(int(n))


@lru_cache(maxsize=16)
def _gray_scott(n: int) -> Problem:
    if n < 16:
        raise InputError("gray_scott needs 16×16 cells or more", got=n, why="a spot and its halo are as wide", hint="n=32")
    grid = Grid.square(n, n * solver.SPACING)
    reward = GrayScott(grid, solver.FEED, solver.KILL, solver.DIFFUSION, solver.INTERVAL, solver.SUBSTEPS)

    def followed(first: Array, advance: Callable[[Array], Array] = solver.advance) -> Field:
        return torch.from_numpy(np.concatenate([first, advance(first)], 1))

    def again(x: Field, advance: Callable[[Array], Array] = solver.advance) -> Field:
        return followed(x[:, :2].double().cpu().numpy(), advance)

    def manufactured_in_time(interval: float) -> Field:
        line = np.cos(np.pi * (np.arange(n) + 0.5) / n)
        wave = (line[:, None] * line)[None]
        first = np.stack([0.5 + 0.4 * wave, 0.5 + 0.3 * wave], 1)
        return torch.from_numpy(np.concatenate([first, solver.advance(first, interval, 16 * solver.SUBSTEPS)], 1))

    def frozen(x: Field) -> Field:
        return torch.cat([x[:, :2]] * 2, 1)

    def swapped(x: Field) -> Field:
        return x[:, [0, 1, 3, 2]]

    def empty(count: int) -> Field:
        return torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64).reshape(1, 4, 1, 1).expand(count, 4, n, n).clone()

    def homogeneous(count: int) -> Field:
        u, v = (Noise(1).fold(name)[range(count)].uniform(torch.float64).numpy() for name in "uv")
        return followed(np.stack([u, 0.5 * v], 1)[..., None, None] * np.ones((n, n)))

    def halved(count: int) -> Field:
        return followed(0.5 * problem.sample(count, seed=1)[:, :2].numpy())

    problem = Problem(
        name="gray_scott",
        n=n,
        grid=grid,
        channels=("u0", "v0", "u1", "v1"),
        solved=(2, 3),
        reward=reward,
        scale=_S,
        white=lambda draws, seed: random_fields.white((n, n), draws, seed),
        law=solver.trajectories,
        per_draw=solver.PER_TRAJECTORY,
        fitted_on=256,
        solve=again,
        refine=gray_scott,
        manufactured_in_time=manufactured_in_time,
        impostors={
            "frozen": frozen,
            "diffusion alone": lambda x: again(x, partial(solver.advance, reaction=0.0, feed=0.0, kill=0.0)),
            "species swapped": swapped,
            "fed at 1.1 of the rate": lambda x: again(x, partial(solver.advance, feed=1.1 * solver.FEED)),
        },
        off_law={
            "empty state, at rest": empty,
            "homogeneous states, evolved": homogeneous,
            "first frame halved, evolved": halved,
        },
        quantities={name: _mean_of(channel) for channel, name in ((0, "mean of u"), (1, "mean of v"))},
    )
    return problem


def _mean_of(channel: int) -> Callable[[Field], Tensor]:
    return lambda x: x[:, channel].flatten(1).mean(1)
