"""How the residual solved for u1, and the one solved for u0, amplify errors."""

import torch

import pirf
from pirf.operators.transforms import neumann_spectrum

print("| worst amplification of an error | n = 16 | n = 32 | n = 64 |")
print("|---|---|---|---|")
damping = [
    torch.exp(0.01 * neumann_spectrum(pirf.problems.heat(n).grid, torch.zeros((), dtype=torch.float64))) for n in (16, 32, 64)
]
print(r"| in u0, by $u_1 - e^{\kappa T\Delta_h}u_0$ | " + " | ".join(f"{float(d.max()):.0f}" for d in damping) + " |")
print(r"| in u1, by $u_0 - e^{-\kappa T\Delta_h}u_1$ | " + " | ".join(f"{float(1 / d.min()):.0e}" for d in damping) + " |")
