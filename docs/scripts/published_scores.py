"""Mean squares of the published residuals on data of their own published recipes, and on states that are no solutions."""

import math

import numpy as np
import torch

import pirf
from pirf.reference import darcy, helmholtz, kolmogorov, poisson, published, random_fields
from pirf.rewards import legacy


def stacked(a, u):
    return torch.from_numpy(np.stack([a, u], 1))


def score(reward, x):
    with torch.no_grad():
        return f"{float(reward.residuals(x).square().mean()):.2g}"


def put(name, data, reward, truth, others):
    print(
        f"| {name} | {data} | {score(reward, truth)} | "
        + "; ".join(f"{k}: {score(reward, x)}" for k, x in others.items())
        + " |"
    )


print("| residual | data of its recipe | their score | the score of others |\n|---|---|---|---|")
n = 128
nodes, wider = pirf.Grid.square(n, layout="nodes"), n / (n - 1)  # the reference solvers have h = 1/n, the stencil h = 1/(n − 1)
along = nodes.meshgrid()[0].numpy()
a = random_fields.neumann_field(n, range(48), seed=0)
framed = np.pad(a[:, 1:-1, 1:-1], ((0, 0), (1, 1), (1, 1)))
u, closed, wave = poisson.solve_nodal(a), wider**2 * poisson.solve_neumann(a), along
no_u = {"u = 0": stacked(a, 0 * a)}
put("PIRF, Poisson", "nodes", legacy.ReleasedPoisson(nodes), stacked(a, u), no_u | {"Neumann solution": stacked(a, closed)})
put("DiffusionPDE, Poisson", "nodes", legacy.DiffusionPDEPoisson(nodes), stacked(a, u), no_u | {"u + x": stacked(a, u + wave)})
u, closed = helmholtz.solve_nodal(framed), helmholtz.solve_neumann(framed, extent=(wider, wider))
wave = np.cos(2 * (n - 1) * math.asin(0.5 / (n - 1)) * along)  # solves the discrete Δv + v = 0
no_u = {"u = 0": stacked(framed, 0 * a)}
truth, free = stacked(framed, u), {"u + a free wave": stacked(framed, u + wave)}
put("PIRF, Helmholtz", "nodes", legacy.ReleasedHelmholtz(nodes), truth, no_u | {"Neumann solution": stacked(framed, closed)})
put("DiffusionPDE, Helmholtz", "nodes", legacy.DiffusionPDEHelmholtz(nodes), truth, no_u | free)


def pressures(x, times=1.0, plus=0.0):
    return x * torch.tensor([1.0, times]).reshape(1, 2, 1, 1) + torch.tensor([0.0, plus]).reshape(1, 2, 1, 1)


grid, x = pirf.Grid.square(n), torch.from_numpy(published.splined(darcy.two_phase(a[:6])))
states = {"p = 0": pressures(x, 0.0), "p + 1": pressures(x, plus=1.0), "400 p": pressures(x, 400.0)}
for kind, name in ((legacy.ReleasedDarcy, "PIRF, Darcy"), (legacy.DiffusionPDEDarcy, "DiffusionPDE, Darcy")):
    put(name, "splined", kind(grid), x, states)

n = 64
k = darcy.lognormal(random_fields.white((64,), range(4), 0), n, length=0.1 * (n - 1) / n)
x = torch.from_numpy(published.least_squares(k, darcy.corner_wells(n)))
states = {"p = 0": pressures(x, 0.0), "p + 1": pressures(x, plus=1.0)}
for kind, name in ((legacy.ReleasedDarcyLognormal, "PIRF"), (legacy.PIDMDarcy, "PIDM")):
    put(f"{name}, Darcy, log-normal", "least squares", kind(pirf.Grid.square(n)), x, states)

problem = pirf.problems.burgers(128)
x = problem.sample(32)
states = {"u = 0": 0 * x, "u = 0.27": 0 * x + 0.27, "first frame for ever": x[:, :, :1].expand_as(x)}
for method, name in (("pirf", "PIRF"), ("diffusionpde", "DiffusionPDE")):
    put(f"{name}, Burgers", "this library's", problem.published[method], x, states)

n, steps = 64, kolmogorov.substeps(64)
reward = legacy.ReleasedKolmogorov(pirf.Grid.square(n, 2 * math.pi, "periodic"), 200.0)
noise = random_fields.white((n, n), range(2), 0)
blob = torch.from_numpy(kolmogorov.random_vorticity(noise, power=12.0, wavenumber=1.0))[:, None].expand(2, 3, n, n)
line = blob - torch.tensor([-1.0, 0.0, 1.0]).reshape(1, 3, 1, 1) / 32 * reward.residual(blob)
x = torch.from_numpy(kolmogorov.trajectories(noise[:1], 200.0, steps))
put("PIRF, Kolmogorov, 64², Re 200", "this library's", reward, x, {"ω = 0": 0 * x, "a smooth blob on a line in time": line})
