"""The testbed: data N(m, s²), exact or plug-in kernels, a linear reward bx, a constant shift of D at every level."""

import attrs
import torch
from torch import nn

from pirf.denoisers import Denoiser
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain, State

M, S, B, ALPHA = 0.3, 0.8, 1.3, 0.7


@attrs.frozen
class Slope(Reward):
    """Σ b x."""

    def __call__(self, x, condition=None):
        return B * x.flatten(1).sum(1)


class Shifted(Denoiser):
    """The exact denoiser of N(m, s²) plus a constant of its own at every level."""

    def __init__(self, levels, s=S, m=M):
        super().__init__((1, 1))
        self.known, self.s, self.m = levels, s, m
        self.shift = nn.Parameter(torch.zeros(len(levels), dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        k = min(range(len(self.known)), key=lambda i: abs(self.known[i] - float(sigma)))
        return self.m + self.s**2 / (self.s**2 + sigma**2) * (x - self.m) + self.shift[k]


def setting(steps, spread=S, s=S):
    sampler = Ancestral(steps=steps, spread=spread)
    network = Shifted(sampler.levels[:-1], s)
    return Chain(sampler, network, Noise(0)), network


def laws(chain, s=S):
    """Per step: variance v_k, w_{k+1}, and how much of a constant in D reaches the mean, 1 − σ↓/σ."""
    state = State(torch.zeros(1, 1, 1, dtype=torch.float64))
    for k in range(chain.steps):
        departure, arrival = chain.levels[k] ** 2, chain.levels[k + 1] ** 2
        yield chain.transition(k, state).variance, s**2 / (s**2 + arrival), 1 - arrival / departure


def optimum(chain, s=S, b=B, alpha=ALPHA):
    return torch.tensor([v * b / alpha * w / share for v, w, share in laws(chain, s)], dtype=torch.float64)
