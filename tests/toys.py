"""Networks so small that their mathematics is known, and rewards that are quadratics."""

import attrs
import torch
from torch import nn

from pirf.denoisers import Denoiser, GaussianDenoiser, Preconditioned, UNet
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, State
from pirf.schedules import Logarithmic


class Affine(Preconditioned):
    """F ≡ θ, so that D = c_skip x + c_out θ and every sensitivity is a sum of arctangents."""

    def __init__(self, shape=(1, 1), theta=0.0):
        super().__init__(shape)
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    @property
    def stages(self):
        return ("all",)

    def stage_parameters(self, name):
        return [self.theta]

    def encode(self, x, c_noise, condition, last):
        return (torch.ones_like(x),)

    def decode(self, features, last):
        return self.theta * features[0]


class Constant(Denoiser):
    """D ≡ θ: every sampler ends in θ whatever the noise was."""

    def __init__(self, shape=(1, 1), theta=0.0, scaling=None):
        super().__init__(shape, scaling)
        self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        return self.theta.expand(x.shape)


class Linear(Denoiser):
    """D = w x, without stages; w depends on no level."""

    def __init__(self, shape=(1, 1), weight=0.5):
        super().__init__(shape)
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        return self.weight * x


class Function(Denoiser):
    """Any formula (x, σ, condition) → estimate, without weights, in float64."""

    def __init__(self, formula, shape=(1, 4)):
        super().__init__(shape)
        self.formula = formula
        self.register_buffer("unit", torch.ones((), dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        return self.formula(x, sigma, condition)


class Tiny(Preconditioned):
    """Three convolutional stages, smooth in input and weights."""

    def __init__(self, shape=(2, 8, 8), width=3, scaling=None, seed=0):
        super().__init__(shape, scaling)
        fields = self.shape[0]
        self.one, self.two, self.three = (
            nn.utils.skip_init(nn.Conv2d, a, b, 3, padding=1, dtype=torch.float64)
            for a, b in ((fields, width), (width, width), (width, fields))
        )
        self.level = nn.utils.skip_init(nn.Linear, 1, width, dtype=torch.float64)
        scramble(self, 0.2, seed)

    @property
    def stages(self):
        return ("one", "two", "three")

    def stage_parameters(self, name):
        parameters = list(getattr(self, name).parameters())
        return [*parameters, *self.level.parameters()] if name == "one" else parameters

    def encode(self, x, c_noise, condition, last):
        h = self.one(x) + self.level(c_noise[:, None])[:, :, None, None]
        for name in self.stages[1 : 3 - last]:
            h = getattr(self, name)(torch.tanh(h))
        return (h,) if last < 3 else (x, c_noise)

    def decode(self, features, last):
        if last == 3:
            x, c_noise = features
            h = self.one(x) + self.level(c_noise[:, None])[:, :, None, None]
        else:
            (h,) = features
        for name in self.stages[max(3 - last, 1) :]:
            h = getattr(self, name)(torch.tanh(h))
        return h


@torch.no_grad()
def scramble(module, size, seed=0):
    """Keyed normal weights of standard deviation ``size``; biases as well, so that no gradient vanishes by symmetry."""
    for index, parameter in enumerate(module.parameters()):
        parameter.copy_(size * Noise(seed).fold("weights", index).normal(parameter.shape, parameter.dtype)[0])
    return module


@torch.no_grad()
def perturb(module, size=0.1, seed=99):
    """Move every weight."""
    for index, parameter in enumerate(module.parameters()):
        parameter.add_(size * Noise(seed).fold("perturb", index).normal(parameter.shape, parameter.dtype)[0])
    return module


def tiny_unet(shape=(2, 8, 8), dtype=torch.float64, dropout=0.0, **options):
    """The real U-Net with four channels, its weights keyed."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        settings = {"channels": 4, "multipliers": (1, 2), "attention": (4,), "dropout": dropout, "norm": True, **options}
        return scramble(UNet(shape, **settings).to(dtype), 0.15).eval()


def normal(*shape, seed=0, dtype=torch.float64):
    """Keyed normal numbers."""
    return Noise(seed).fold("test").normal(shape, dtype)[0]


@attrs.frozen
class Quadratic(Reward):
    """−½ Σ (x − target)² per sample."""

    target: float = 0.0
    curvature: float = 1.0

    def __call__(self, x, condition=None):
        return -0.5 * self.curvature * ((x - self.target) ** 2).flatten(1).sum(1)


def flow(x, mean, variances, start, stop):
    """The closed-form solution of the probability-flow ODE of N(mean, diag variances): m + (x − m)√((s²+σ'²)/(s²+σ²))."""
    flat = x.flatten(1) - mean
    return (mean + flat * torch.sqrt((variances + stop**2) / (variances + start**2))).reshape(x.shape)


def flow_errors(kind, counts=(16, 32, 64, 128)):
    """Distance of a sampler from the closed form between two finite levels, for several numbers of steps."""
    mean, variances = 0.3, torch.tensor([0.25, 1.0, 4.0], dtype=torch.float64)
    oracle, x = GaussianDenoiser((1, 3), mean, variances), normal(2, 1, 3)
    errors = []
    for count in counts:
        chain = Chain(kind(steps=count + 1, schedule=Logarithmic(0.1, 4.0)), oracle, Noise(0)[range(2)])
        reached = chain.run(State(x), 0, count).x
        errors.append(float((reached - flow(x, mean, variances, 4.0, 0.1)).norm()))
    return errors
