"""How far SVDD shifts the mean of the linear testbed, N(0, 1) under the reward x at N = 20, where p·exp(r) shifts it by 1."""

import math

import numpy as np
import torch
from scipy.special import ndtr

import pirf
from pirf.samplers import State


def factors(sampler):
    """√v_k w_{k+1}: what one standard normal number of step k moves the sample by."""
    chain = pirf.Chain(sampler, pirf.GaussianDenoiser((1, 1)))
    state = State(torch.zeros(1, 1, 1, dtype=torch.float64))
    return [math.sqrt(chain.transition(k, state).variance) / (1 + chain.levels[k + 1] ** 2) for k in range(chain.steps)]


def best(count):
    """The expected maximum of so many standard normal numbers."""
    x = np.linspace(-9, 9, 20001)
    return (x * count * np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * ndtr(x) ** (count - 1)).sum() * (x[1] - x[0])


def soft(slope, count):
    """The expected number that is kept with probability ∝ e^(slope·ξ), by 1/Σe = ∫e^(−tΣe)dt with t = e^y/count."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    y = np.linspace(-40, 12, 2001)
    t, power = np.exp(y)[:, None] / count, np.exp(slope * nodes)
    kernel = np.exp(-t * power) * weights / weights.sum()
    return count * ((kernel * power * nodes).sum(1) * kernel.sum(1) ** (count - 1) * t[:, 0]).sum() * (y[1] - y[0])


kernels = [factors(pirf.Ancestral(steps=20, spread=spread)) for spread in (1.0, 0.0)]
print("| candidates | best, exact kernels | best, plug-in | α = 1, exact kernels | α = 1, plug-in |\n|---|---|---|---|---|")
for count in (2, 4, 8, 16, 64, 256):
    row = [sum(of) * best(count) for of in kernels] + [sum(f * soft(f, count) for f in of) for of in kernels]
    print(f"| {count} | " + " | ".join(f"{shift:.3f}" for shift in row) + " |")
