"""The wave residual's forms on an analytic solution, and how far data are from the exact mirror image at time 1."""

import math

import pirf

sizes = (32, 64, 128)
print("| | n = 32 | n = 64 | n = 128 | order |")
print("|---|---|---|---|---|")
lines = {
    "rms residual, `semi-discrete`": lambda p: float((-p.reward(p.manufactured(p.grid))).sqrt()),
    "rms residual, `spectral`": lambda p: float((-pirf.Wave(p.grid, form="spectral")(p.manufactured(p.grid))).sqrt()),
    "analytic solution, error of the solver": lambda p: float((-p.solution_norm(p.manufactured(p.grid))).sqrt()),
}
for name, measure in lines.items():
    errors = [measure(pirf.problems.wave(n)) for n in sizes]
    order = f"{math.log2(errors[-2] / errors[-1]):.2f}" if errors[-1] > 1e-9 else "—"
    print(f"| {name} | " + " | ".join(f"{e:.1e}" for e in errors) + f" | {order} |")
mirrored = []
for n in sizes:
    u = pirf.problems.wave(n).sample(128, seed=1)[:, 0]
    mirrored.append(float((u[:, -1] + u[:, 0].flip(-1)).norm() / u[:, 0].norm()))
print("| data, relative distance of u(1, x) from −u(0, 1 − x) | " + " | ".join(f"{e:.1e}" for e in mirrored) + " | — |")
