"""S of Gray–Scott, and how far its discrete law is from the exact one.  ``python gray_scott_figures.py 64`` for other sizes."""

import sys

import torch

import pirf
from pirf.reference import gray_scott as solver

print(
    "| n | S, mean square of (x₁ − x₀)/Δt | youngest pairs | oldest pairs | error of 16 sub-steps in one Δt, over the change |"
)
print("|---" * 5 + "|")
for n in [int(size) for size in sys.argv[1:] if size.isdigit()] or [16, 32]:
    problem = pirf.problems.gray_scott(n)
    x = problem.sample(16 * 16)
    first, second = x[:, :2], x[:, 2:]
    change = ((second - first) / solver.INTERVAL).square().flatten(1).mean(1)
    exact = torch.from_numpy(solver.advance(first[::9].numpy(), steps=128))
    error = float((second[::9] - exact).norm() / (exact - first[::9]).norm())
    youngest, oldest = change[:: solver.PER_TRAJECTORY], change[solver.PER_TRAJECTORY - 1 :: solver.PER_TRAJECTORY]
    print(f"| {n} | {float(change.mean()):.2e} | {float(youngest.mean()):.1e} | {float(oldest.mean()):.1e} | {error:.1e} |")
