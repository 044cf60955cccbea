"""Mean-square residuals of truth under every form, beside ⟨ω_t²⟩.  ``python kolmogorov_floors.py 16 32 64`` for other sizes."""

import sys

import torch

import pirf
from pirf.reference import kolmogorov as flow
from pirf.rewards.legacy_kolmogorov import ReleasedKolmogorov

print("| n | Re | ⟨ω_t²⟩ | released | dealiased central | Lobatto | flow map, 8 sub-steps | flow map, the solver's own |")
print("|---" * 8 + "|")
for n in [int(size) for size in sys.argv[1:] if size.isdigit()] or [16, 32]:
    problem = pirf.problems.kolmogorov(n)
    reward, x = problem.reward, problem.sample(128)

    def form(name, substeps, problem=problem):
        return pirf.Kolmogorov(problem.grid, problem.reward.reynolds, name, substeps)

    def mean_square(judge, fields):
        with torch.no_grad():
            return float(-judge(fields).mean())

    with torch.no_grad():
        slope = reward.tendency(x[:, 1:2])
    central = (x[:, 2:] - x[:, :1]) / (2 * reward.interval) - slope
    # The first frames again, followed exactly in time: otherwise the map of 8 sub-steps is judged by coarser ones.
    exact = torch.from_numpy(flow.frames(x[::4, 0].numpy(), reward.reynolds, reward.interval, 2, 64))
    figures = (
        float(slope.square().mean()),
        mean_square(ReleasedKolmogorov(problem.grid, reward.reynolds), x),
        float(central.square().mean()),
        mean_square(form("lobatto", 1), x),
        mean_square(form("map", 8), exact),
        mean_square(form("map", reward.substeps), x),
    )
    print(f"| {n} | {reward.reynolds:g} | " + " | ".join(f"{value:.2g}" for value in figures) + " |")
