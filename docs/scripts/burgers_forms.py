"""Both forms of the Burgers residual on an analytic solution (Cole and Hopf), for finer and finer grids."""

import math

import pirf

print("| rms residual | n = 32 | n = 64 | n = 128 | order |")
print("|---|---|---|---|---|")
for form in ("crank-nicolson", "map"):
    errors = []
    for n in (32, 64, 128):
        grid = pirf.problems.burgers(n).grid
        errors.append(float((-pirf.Burgers(grid, form=form)(pirf.problems.burgers(n).manufactured(grid))).sqrt()))
    order = math.log2(errors[-2] / errors[-1])
    print(f'| `form="{form}"` | ' + " | ".join(f"{e:.1e}" for e in errors) + f" | {order:.2f} |")
