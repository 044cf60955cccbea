r"""**Poisson**: Δu = a, u = 0 on the boundary, a ~ GRF-N; channels (a, u).

The equation and its discrete law are :mod:`pirf.rewards.poisson`'s chapter, its solver :mod:`pirf.reference.poisson`'s.
"""

from __future__ import annotations

from functools import lru_cache

from pirf.problems.base import Problem
from pirf.problems.elliptic import elliptic, unit_square
from pirf.reference import poisson as solver
from pirf.rewards import Poisson
from pirf.rewards.legacy import DiffusionPDEPoisson, ReleasedPoisson

__all__ = ["poisson"]


def poisson(n: int = 32) -> Problem:
    """Δu = a, u = 0 on the boundary, a ~ GRF-N; channels (a, u).  See :mod:`pirf.rewards.poisson`."""
    return _poisson(int(n))


@lru_cache(maxsize=16)
def _poisson(n: int) -> Problem:
    grid = unit_square("poisson", n)
    return elliptic(
        "poisson",
        Poisson(grid),
        shift=0.0,
        solver=solver.solve,
        neumann_solver=solver.solve_neumann,
        refine=poisson,
        published={"pirf": ReleasedPoisson(grid), "diffusionpde": DiffusionPDEPoisson(grid)},
    )
