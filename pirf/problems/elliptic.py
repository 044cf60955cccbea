r"""What Poisson and Helmholtz share: :math:`\Delta u + su = a`, u = 0 on the boundary, a ~ GRF-N; channels (a, u).

The law is linear, so the exact denoiser is known; the reward is asked for again in the norm of the solution, in units of
the standard deviation of u.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.problems.base import FIT_SEED, Problem
from pirf.problems.integrals import integral, outflow
from pirf.reference import random_fields
from pirf.rewards import Helmholtz, Poisson, ResidualReward
from pirf.tensors import Field

__all__ = ["elliptic", "unit_square"]

Array = NDArray[np.float64]


def unit_square(name: str, n: int) -> Grid:
    """The n×n cells of the unit square, or a refusal in the name of the problem."""
    if n < 4:
        raise InputError(f"{name} needs a grid of at least 4×4 cells", got=n, why="its stencil has five points", hint="n=32")
    return Grid.square(n)


def elliptic(
    name: str,
    reward: Poisson | Helmholtz,
    *,
    shift: float,
    solver: Callable[[Array], Array],
    neumann_solver: Callable[[Array], Array],
    refine: Callable[[int], Problem],
    published: Mapping[str, ResidualReward],
    parameters: dict[str, float] | None = None,
) -> Problem:
    """The problem whose solver maps a to u with Δu + ``shift``·u = a; ``reward`` says the same in its own code."""
    grid, n = reward.grid, reward.grid.shape[0]

    def stack(a: Array, solve: Callable[[Array], Array] = solver) -> Array:
        return np.stack([a, solve(a)], 1)

    def solved_by(solve: Callable[[Array], Array]) -> Callable[[Field], Field]:
        return lambda x: torch.from_numpy(stack(x[:, 0].double().cpu().numpy(), solve))

    def manufactured(on: Grid) -> Field:
        x, y = on.meshgrid()
        u = torch.sin(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
        # Δ(f·e^x) with f = sin(πx) sin(2πy): e^x (f_xx + 2 f_x + f + f_yy).
        slope = torch.pi * torch.cos(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
        return torch.stack([(1 - 5 * torch.pi**2 + shift) * u + 2 * slope, u])[None]

    def rough(count: int) -> Field:
        return torch.from_numpy(stack(random_fields.neumann_field(n, range(count), seed=1, alpha=1.5, tau=9.0)))

    def gauss(box: tuple[slice, slice]) -> Callable[[Field], Tensor]:  # a sum of rows, which the residual implies
        def defect(x: Field) -> Tensor:
            a, u = x[:, :1], x[:, 1:]
            source = integral((shift * u - a)[:, :, box[0], box[1]], grid)
            return (source - outflow(torch.ones_like(a), u, grid, box, walls=True)) / math.sqrt(size)

        return defect

    size = float((random_fields.neumann_spectrum(n) ** 2).sum())
    spread = stack(random_fields.neumann_field(n, range(512), seed=FIT_SEED))[:, 1].std()
    return Problem(
        name=name,
        n=n,
        grid=grid,
        channels=("a", "u"),
        solved=(1,),
        reward=reward,
        solution_norm=attrs.evolve(reward, norm="solution", scale=float(spread)),
        scale=size,
        white=lambda indices, seed: random_fields.white((n, n), indices, seed),
        law=lambda noise: stack(random_fields.colour(noise)),
        solve=solved_by(solver),
        refine=refine,
        manufactured=manufactured,
        impostors={"solution of the Neumann problem": solved_by(neumann_solver)},
        off_law={"another random field, solved": rough},
        balances={
            "flux through the boundary": gauss((slice(0, n), slice(0, n))),
            "flux out of one half": gauss((slice(0, n // 2), slice(0, n))),
        },
        quantities={
            "energy of a": lambda x: integral(x[:, :1].square(), grid) / size,
            "energy of u": lambda x: integral(x[:, 1:].square(), grid) / float(spread) ** 2,
        },
        gaussian=True,
        parameters=parameters or {},
        published=published,
    )
