r"""**Elasticity**: −∇·(E C(ε̄ + ε(u))) = 0 on a torus, the periodic cell of a random medium under a given mean strain.

The equation and its discrete law are :mod:`pirf.rewards.elasticity`'s chapter, its solver and the law of the modulus
:mod:`pirf.reference.elasticity`'s.  The mean stress of the solution is what homogenisation asks for: the medium's effective
stiffness, which lies between the harmonic mean of E (Reuss) and its mean (Voigt).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import elements
from pirf.problems.base import FIT_SEED, Problem
from pirf.reference import elasticity as solver
from pirf.reference import random_fields
from pirf.rewards import Elasticity
from pirf.tensors import Field

__all__ = ["elasticity"]

Array = NDArray[np.float64]
RATIO = 0.3
STIFFNESS = solver.plane_strain(RATIO)


def elasticity(n: int = 32, strain: Sequence[float] = (1.0, 0.0, 1.0)) -> Problem:
    """−∇·(E C(ε̄ + ε(u))) = 0, periodic, log E Gaussian, ``strain`` ε̄ as (ε_xx, ε_yy, 2ε_xy); channels (E, u_x, u_y)."""
    return _elasticity(int(n), elements.mean_strain(strain))


@lru_cache(maxsize=16)
def _elasticity(n: int, strain: elements.Strain) -> Problem:
    if n < 4:
        raise InputError("elasticity needs a grid of at least 4×4 elements", got=n, why="its elements wrap around", hint="n=32")
    reward = Elasticity(Grid.square(n, 1.0, "periodic"), strain, RATIO)
    load = STIFFNESS @ strain

    def solution(e: Array, under: elements.Strain = strain, stiffness: Array = STIFFNESS) -> Array:
        return np.concatenate([e[:, None], solver.solve(e, np.array(under), stiffness)], 1)

    def solved(x: Field, under: elements.Strain = strain, stiffness: Array = STIFFNESS) -> Field:
        e = x[:, :1].double().cpu()
        read = reward.modulus(e)[:, 0].numpy()  # as the reward reads it: a model's E may be ≤ 0
        return torch.cat([e, torch.from_numpy(solution(read, under, stiffness))[:, 1:]], 1)

    def modulus(count: int, alpha: float = 3.0, tau: float = 7.0) -> Array:
        return solver.modulus(_white(range(count), 1), n, alpha, tau)

    def even(count: int) -> Field:
        return torch.ones(count, 3, n, n, dtype=torch.float64) * torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)

    def doubled(count: int) -> Field:
        return torch.from_numpy(solution(modulus(count))) * torch.tensor([2.0, 1.0, 1.0]).reshape(3, 1, 1)

    def smooth(count: int) -> Field:
        noise = _white(range(count), 1)
        noise[:, 5:] = noise[:, :, 5:] = 0.0  # only waves with up to two periods, of the same amplitudes
        return torch.from_numpy(solution(solver.modulus(noise, n)))

    def hill_mandel(x: Field) -> Tensor:
        """⟨σ:ε⟩ = ⟨σ⟩:ε̄, in units of the energy without fluctuation."""
        e, deformed = reward.modulus(x[:, 0]), elements.deformation(x[:, 1:], reward.grid)
        stress = e[:, None] * elements.unit_stress(deformed, reward.grid, RATIO, strain)
        return (deformed * stress).sum(1).mean((1, 2)).abs() / (e.mean((1, 2)) * float(load @ strain))

    def sections(x: Field) -> Tensor:
        """Every section across an axis transmits the same force; in units of the stress without fluctuation."""
        xx, yy, xy = reward.stress(x).unbind(1)
        across = torch.cat([torch.stack([xx, xy], 1).mean(3), torch.stack([xy, yy], 1).mean(2)], 1)
        uneven = (across - across.mean(2, keepdim=True)).square().mean((1, 2)).sqrt()
        return uneven / (reward.modulus(x[:, 0]).mean((1, 2)) * float(np.linalg.norm(load)))

    def effective(x: Field) -> Tensor:
        """The even modulus that stores as much energy under this load."""
        return (reward.stress(x).mean((2, 3)) * torch.tensor(strain).to(x)).sum(1) / float(load @ strain)

    e_xx, e_yy, e_xy = strain
    return Problem(
        name="elasticity",
        n=n,
        grid=reward.grid,
        channels=("E", "u_x", "u_y"),
        solved=(1, 2),
        reward=reward,
        solution_norm=attrs.evolve(reward, norm="solution", scale=_displacement(strain)),
        scale=_mean_square_of_the_load(load),
        white=_white,
        law=lambda noise: solution(solver.modulus(noise, n)),
        solve=solved,
        refine=lambda finer: elasticity(finer, strain),
        manufactured=lambda grid: _laminate(grid, strain),
        fitted_on=128,
        impostors={
            "solution under another load": lambda x: solved(x, (e_yy, e_xy, -e_xx)),
            "solution in plane stress": lambda x: solved(x, strain, solver.plane_stress(RATIO)),
            "components exchanged": lambda x: x[:, [0, 2, 1]],
        },
        off_law={
            "one modulus everywhere, no displacement": even,
            "twice the modulus, the same displacement": doubled,
            "modulus without its shorter waves, solved": smooth,
            "another random field, solved": lambda count: torch.from_numpy(solution(modulus(count, 1.5, 20.0))),
        },
        balances={"Hill–Mandel": hill_mandel, "force through sections": sections},
        quantities={"effective modulus": effective, "mean modulus": lambda x: x[:, 0].mean((1, 2))},
        parameters={"strain": strain},
    )


def _white(indices: range, seed: int) -> Array:
    return random_fields.white((solver.WAVES, solver.WAVES), indices, seed)


def _mean_square_of_the_load(load: Array) -> float:
    """Of ∇·(E Cε̄) per component: ½|Cε̄|² E[e^{2G}] E[(∂_x G)²], for G and its slope are independent at a point."""
    k = 2 * np.pi * ((np.arange(solver.WAVES) + 1) // 2)
    slope = float((solver.spectrum() ** 2 * k**2).sum())
    xx, yy, xy = load
    return 0.5 * float(xx**2 + yy**2 + 2 * xy**2) * float(np.exp(2 * solver.DEVIATION**2)) * slope


@lru_cache(maxsize=16)
def _displacement(strain: elements.Strain) -> float:
    """The standard deviation of u, the unit of the solution norm; samples are the same functions on every grid."""
    return float(solver.solve(solver.modulus(_white(range(64), FIT_SEED), 16), np.array(strain)).std())


def _laminate(grid: Grid, strain: elements.Strain) -> Field:
    r"""Oblique layers, 1/E = 1 + ½cos θ with θ = d·x, transmit the same traction :math:`N^TC\bar\varepsilon` everywhere.

    For u = w sin θ the strain is Nw cos θ, N the matrix that makes a strain of a displacement along d, so that
    :math:`N^TCN w = \tfrac12 N^TC\bar\varepsilon`.  d has one period along the first axis and two along the second.
    """
    d = [2 * np.pi * periods / axis.extent for periods, axis in zip((1, 2), grid.axes, strict=True)]
    along = np.array([[d[0], 0.0], [0.0, d[1]], [d[1], d[0]]])
    w = 0.5 * np.linalg.solve(along.T @ STIFFNESS @ along, along.T @ STIFFNESS @ strain)
    x, y = grid.meshgrid()
    hx, hy = grid.spacing
    e = 1 / (1 + 0.5 * torch.cos(d[0] * (x + hx / 2) + d[1] * (y + hy / 2)))  # at the centres of the elements
    wave = torch.sin(d[0] * x + d[1] * y)
    return torch.stack([e, float(w[0]) * wave, float(w[1]) * wave])[None]
