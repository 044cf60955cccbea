"""What is left of u0 in a slightly noisy u1: dividing by the damping, and the posterior mean under the law's own prior."""

import torch

import pirf
from pirf.operators import dct
from pirf.operators.transforms import neumann_spectrum

n, kappa = 32, 0.01
problem = pirf.problems.heat(n)
like = torch.zeros((), dtype=torch.float64)
u0, u1 = dct(problem.sample(256, seed=1)).unbind(1)
prior = dct(problem.sample(4096, seed=2))[:, 0].square().mean(0)  # the variance of every mode of u0
damping = torch.exp(kappa * neumann_spectrum(problem.grid, like))
unit = problem.sample(256, seed=1)[:, 1].std()
noise = pirf.Noise(0)[range(256)].normal((n, n), torch.float64)

print("| noise on u1, share of its deviation | division by the damping | posterior mean | modes with more signal than noise |")
print("|---|---|---|---|")
for share in (1e-7, 1e-3, 1e-2, 1e-1):
    sigma = share * unit
    seen = u1 + sigma * noise
    guesses = (seen / damping, seen * prior * damping / (prior * damping**2 + sigma**2))
    errors = [float((guess - u0).norm() / u0.norm()) for guess in guesses]
    kept = int((prior * damping**2 > sigma**2).sum())
    print(f"| {share:.0e} | {errors[0]:.1e} | {errors[1]:.2f} | {kept} of {n * n} |")
