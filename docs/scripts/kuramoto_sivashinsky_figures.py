"""S of Kuramoto–Sivashinsky, and what truth scores under forms in time.  ``python …figures.py 32 64 128`` for other sizes."""

import sys

import attrs
import torch

import pirf
from pirf.metrics import mean_squares
from pirf.reference import kuramoto_sivashinsky as solver

print("| n | L | ⟨u²⟩ | S = ⟨u_t²⟩ | trapezium | map, on data of 64 sub-steps | map, on truth | growth of 1e-6 |")
print("|---" * 8 + "|")
for n in [int(size) for size in sys.argv[1:] if size.isdigit()] or [24, 32, 64]:
    problem = pirf.problems.kuramoto_sivashinsky(n)
    time, circle = problem.grid.axes
    x = problem.sample(128)
    slope = torch.from_numpy(solver.tendency(x.numpy(), circle.extent))
    scale = float(slope.square().mean())
    trapezium = (x[:, :, 1:] - x[:, :, :-1]) / time.spacing - 0.5 * (slope[:, :, 1:] + slope[:, :, :-1])
    finer = torch.from_numpy(solver.frames(x[:, 0, 0].numpy(), circle.extent, time.spacing, 4, 64))[:, None]
    short = attrs.evolve(problem.reward, grid=pirf.Grid((pirf.Axis(5, 4 * time.spacing, "nodes"), circle)))
    start = x[:, :, 0].clone()
    start[..., 0] += 1e-6
    parted = (problem.solve(start[:, :, None].expand_as(x)) - x)[:, 0, -1].norm(dim=-1).median() / 1e-6
    figures = (
        float(trapezium.square().mean()) / scale,
        float(mean_squares(short, finer).mean()) / scale,
        float(mean_squares(problem.reward, x).mean()) / scale,
        float(parted),
    )
    head = f"| {n} | {circle.extent:g} | {float(x.square().mean()):.2f} | {scale:.3f} | "
    print(head + " | ".join(f"{value:.1e}" for value in figures) + " |")
