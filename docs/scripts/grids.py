"""A reward on an oblong grid, and one on nodes with both ends, certified with the reference solver of either."""

import math

import numpy as np
import torch

import pirf
from pirf.reference import darcy, poisson, random_fields

# oblong
grid = pirf.Grid((pirf.Axis(24), pirf.Axis(40)))  # 24 × 40 cells of the unit square
a = darcy.two_phase(random_fields.white(grid.shape, range(4), seed=0))
fields = torch.from_numpy(np.stack([a, darcy.solve(a)], 1))  # (4, 2, 24, 40)
print("Darcy on 24×40 cells, mean squares of truth: ", (-pirf.Darcy(grid)(fields)).tolist())


# nodes
def on(n: int, m: int) -> pirf.Grid:
    return pirf.Grid((pirf.Axis(n, 1.0, "nodes"), pirf.Axis(m, 1.0, "nodes")))


def solve(x: pirf.Field) -> pirf.Field:
    """The same fields with u replaced by the solution for their own a."""
    a = x[:, 0].double().numpy()
    return torch.from_numpy(np.stack([a, poisson.solve_nodal(a)], 1))


def exact(n: int) -> tuple[pirf.Poisson, pirf.Field]:
    x, y = on(n, n).meshgrid()
    u = torch.sin(math.pi * x) * torch.sin(2 * math.pi * y)
    return pirf.Poisson(on(n, n)), torch.stack([-5 * math.pi**2 * u, u])[None]


a = torch.from_numpy(random_fields.neumann_field(33, range(64)))[:, :25]  # your own fields: pirf.read("fields.h5", ("a", "u"))
fields = solve(torch.stack([a, torch.zeros_like(a)], 1))
print(pirf.verify(pirf.Poisson(on(25, 33)), truth=fields, solver=solve, exact=exact))
