r"""**Poisson**: Δu = a, u = 0 on the boundary, a ~ GRF-N; channels (a, u).

The equation and its discrete law are :mod:`pirf.rewards.poisson`'s chapter, its solver :mod:`pirf.reference.poisson`'s.
"""

from __future__ import annotations

from functools import lru_cache

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.problems.base import FIT_SEED, Problem
from pirf.reference import poisson as poisson_solver
from pirf.reference import random_fields
from pirf.rewards import Poisson
from pirf.tensors import Field

__all__ = ["poisson"]

Array = NDArray[np.float64]


def poisson(n: int = 32) -> Problem:
    """Δu = a, u = 0 on the boundary, a ~ GRF-N; channels (a, u).  See :mod:`pirf.rewards.poisson`."""
    return _poisson(int(n))


@lru_cache(maxsize=16)
def _poisson(n: int) -> Problem:
    if n < 4:
        raise InputError("poisson needs a grid of at least 4×4 cells", got=n, why="its stencil has five points", hint="n=32")
    grid = Grid.square(n)

    def stack(a: Array) -> Array:
        return np.stack([a, poisson_solver.solve(a)], 1)

    def solve(x: Field) -> Field:
        return torch.from_numpy(stack(x[:, 0].double().cpu().numpy()))

    def manufactured(on: Grid) -> Field:
        x, y = on.meshgrid()
        u = torch.sin(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
        # Δ(f·e^x) with f = sin(πx) sin(2πy): e^x (f_xx + 2 f_x + f + f_yy).
        slope = torch.pi * torch.cos(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
        return torch.stack([(1 - 5 * torch.pi**2) * u + 2 * slope, u])[None]

    def neumann(x: Field) -> Field:
        a = x[:, 0].double().cpu().numpy()
        return torch.from_numpy(np.stack([a, poisson_solver.solve_neumann(a)], 1))

    def rough(count: int) -> Field:
        return torch.from_numpy(stack(random_fields.neumann_field(n, range(count), seed=1, alpha=1.5, tau=9.0)))

    unit = Poisson(grid, norm="solution")
    spread = stack(random_fields.neumann_field(n, range(512), seed=FIT_SEED))[:, 1].std()
    return Problem(
        name="poisson",
        n=n,
        grid=grid,
        channels=("a", "u"),
        solved=(1,),
        reward=Poisson(grid),
        solution_norm=attrs.evolve(unit, scale=float(spread)),
        scale=float((random_fields.neumann_spectrum(n) ** 2).sum()),
        white=lambda indices, seed: random_fields.white((n, n), indices, seed),
        law=lambda noise: stack(random_fields.colour(noise)),
        solve=solve,
        refine=poisson,
        manufactured=manufactured,
        impostors={"solution of the Neumann problem": neumann},
        off_law={"another random field, solved": rough},
        gaussian=True,
    )
