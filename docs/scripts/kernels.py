"""How far Score as Action moves the mean of N(0, 1) for the reward x, by number of steps and kernel; p·exp(r) moves it by 1."""

import math

import torch
from torch import Tensor, nn

import pirf
from pirf import Field
from pirf.denoisers import Denoiser
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, State


class Shifted(Denoiser):
    """The exact denoiser of N(0, 1) plus a constant of its own at every level."""

    def __init__(self, levels: tuple[float, ...]) -> None:
        super().__init__((1, 1))
        self.known = torch.tensor(levels, dtype=torch.float64)
        self.shift = nn.Parameter(torch.zeros(len(levels), dtype=torch.float64))

    def forward(self, x: Field, sigma: Tensor, condition: object = None) -> Field:
        return x / (1 + sigma**2) + self.shift[(self.known - sigma).abs().argmin()]


class Slope(Reward):
    def __call__(self, x: Field, condition: object = None) -> Tensor:
        return x.flatten(1).sum(1)


def value(x: Field, level: float) -> Tensor:
    """E[x_N | x]."""
    return (x / (1 + level**2)).flatten(1).sum(1)


def shift(steps: int, spread: float, eta: float = 1.0) -> float:
    """The mean of the optimum less that of the base; the divergence is quadratic in the shifts: one Newton step finds it."""
    sampler = pirf.Ancestral(steps=steps, eta=eta, spread=spread)
    chain = Chain(sampler, Shifted(sampler.levels[:-1]), Noise(0))
    strategy = pirf.ContinuousTime(kl=1.0, form="gradient", value=pirf.Known(value))
    state = strategy.init(chain, Slope(), Noise(1))
    before = chain.run(chain.initial()).x
    loss = strategy.loss(chain, Slope(), Noise(2)[range(2)], state).value
    (gradient,) = torch.autograd.grad(loss, list(chain.denoiser.parameters()))
    nowhere, unit = State(torch.zeros(1, 1, 1, dtype=torch.float64)), []
    for k in range(steps):
        departure, arrival = chain.levels[k], chain.levels[k + 1]
        law = sampler.transition(lambda x, at: torch.ones_like(x), nowhere, departure, arrival)
        unit.append(float(law.mean) ** 2 / law.variance if law.variance else math.inf)
    with torch.no_grad():
        next(chain.denoiser.parameters()).sub_(gradient / torch.tensor(unit, dtype=torch.float64))
        return float((chain.run(chain.initial()).x - before).squeeze())


if __name__ == "__main__":
    print("| N | " + " | ".join(f"{n}" for n in (5, 20, 80)) + " |")
    print("|---|---:|---:|---:|")
    rows = {
        "exact kernels, `Ancestral(spread=1)`": {"spread": 1.0},
        "plug-in, `Ancestral(eta=1)`": {"spread": 0.0},
        "plug-in, `Ancestral(eta=0.5)`": {"spread": 0.0, "eta": 0.5},
        "policy over scores, `Ancestral(eta=0, spread=0.1)`": {"spread": 0.1, "eta": 0.0},
    }
    for name, options in rows.items():
        print(f"| {name} | " + " | ".join(f"{shift(n, **options):.3f}" for n in (5, 20, 80)) + " |")
