r"""**Helmholtz**: Δu + k²u = a, u = 0 on the boundary, a ~ GRF-N; channels (a, u).

The equation and its discrete law are :mod:`pirf.rewards.helmholtz`'s chapter, its solver :mod:`pirf.reference.helmholtz`'s.
"""

from __future__ import annotations

from functools import lru_cache

from pirf.problems.base import Problem
from pirf.problems.elliptic import elliptic, unit_square
from pirf.reference import helmholtz as solver
from pirf.rewards import Helmholtz
from pirf.rewards.legacy import DiffusionPDEHelmholtz, ReleasedHelmholtz

__all__ = ["helmholtz"]


def helmholtz(n: int = 32, k: float = 1.0) -> Problem:
    """Δu + k²u = a, u = 0 on the boundary, a ~ GRF-N; channels (a, u).  See :mod:`pirf.rewards.helmholtz`.

    A k whose square is an eigenvalue of the discrete −Δ is refused; above the first, 2π², the operator is indefinite.
    """
    return _helmholtz(int(n), float(k))


@lru_cache(maxsize=16)
def _helmholtz(n: int, k: float) -> Problem:
    grid = unit_square("helmholtz", n)
    return elliptic(
        "helmholtz",
        Helmholtz(grid, k),
        shift=k**2,
        solver=lambda a: solver.solve(a, k),
        neumann_solver=lambda a: solver.solve_neumann(a, k),
        refine=lambda finer: helmholtz(finer, k),
        published={"pirf": ReleasedHelmholtz(grid, k), "diffusionpde": DiffusionPDEHelmholtz(grid)},
        parameters={"k": k},
    )
