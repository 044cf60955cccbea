"""The testbed of every strategy that reads transitions: Gaussian data, whose values and optimal policies are known.

Data N(m, s²), exact denoiser D = m + w(x − m) with w = s²/(s² + τ), τ = σ², posterior variance v(τ) = s²τ/(s² + τ).  With exact
kernels (``spread=s``) the reward −½λ(x − y)² has the value −½α ln(1 + λv/α) − ½λ(D − y)²/(1 + λv/α), and the Gaussian
policies that keep the base's variances are best with the means that p·exp(r/α) has, whatever N is.
"""

import math
from itertools import pairwise

import attrs
import torch
from tolerances import assert_moment
from torch import nn
from toys import Quadratic

from pirf.backprop import Known, Value
from pirf.denoisers import Denoiser
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain, State, StochasticSampler, Transition
from pirf.schedules import EDM

M, S, B, ALPHA = 0.3, 0.8, 1.3, 0.7


@attrs.frozen
class Slope(Reward):
    """Σ b x."""

    def __call__(self, x, condition=None):
        return B * x.flatten(1).sum(1)


class Shifted(Denoiser):
    """The exact denoiser of N(m, s²) plus a constant of its own at every level; with ``samples`` one for each of them."""

    def __init__(self, levels, s=S, m=M, samples=None):
        super().__init__((1, 1))
        self.known, self.s, self.m = levels, s, m
        shape = (len(levels),) if samples is None else (len(levels), samples, 1, 1)
        self.shift = nn.Parameter(torch.zeros(shape, dtype=torch.float64))

    def of(self, parameter, x, sigma):
        own = parameter[min(range(len(self.known)), key=lambda i: abs(self.known[i] - float(sigma)))]
        return own if own.ndim == 0 or len(own) == len(x) else own.mean()

    def forward(self, x, sigma, condition=None):
        return self.m + self.s**2 / (self.s**2 + sigma**2) * (x - self.m) + self.of(self.shift, x, sigma)


class Tilted(Shifted):
    """A slope beside every constant, in units of the standard deviation that x has under the base."""

    def __init__(self, levels, s=S, m=M, samples=None):
        Shifted.__init__(self, levels, s, m, samples)
        self.slope = nn.Parameter(torch.zeros_like(self.shift))

    def forward(self, x, sigma, condition=None):
        unit = (x - self.m) / (self.s**2 + sigma**2) ** 0.5
        return Shifted.forward(self, x, sigma) + self.of(self.slope, x, sigma) * unit


def setting(steps, spread=S, s=S, m=M, network=Shifted, samples=None, schedule=EDM()):
    sampler = Ancestral(steps=steps, spread=spread, schedule=schedule)
    denoiser = network(sampler.levels[:-1], s, m, samples)
    return Chain(sampler, denoiser, Noise(0)), denoiser


def laws(chain, s=S):
    """Per step: variance v_k, w_{k+1}, and how much of a constant in D reaches the mean, 1 − σ↓/σ."""
    nowhere = State(torch.zeros(1, 1, 1, dtype=torch.float64))
    for departure, arrival in pairwise(chain.levels):
        law = chain.sampler.transition(lambda x, _: torch.ones_like(x), nowhere, departure, arrival)
        yield law.variance, s**2 / (s**2 + arrival**2), float(law.mean)


def optimum(chain, s=S, b=B, alpha=ALPHA):
    """The shifts of :class:`Shifted` that sample p·exp(bx/α)."""
    return torch.tensor([v * b / alpha * w / share for v, w, share in laws(chain, s)], dtype=torch.float64)


def linear(s=S, m=M, b=B):
    """E[bx | x_k] = bD: the value of the base, and up to a constant per level that of every shifted policy."""
    return Known(lambda x, sigma: b * (m + s**2 / (s**2 + sigma**2) * (x - m)).flatten(1).sum(1))


@attrs.frozen
class Recorder(Value):
    """The linear value, which notes what it was to learn: (returns, experience)."""

    seen: list = attrs.field(factory=list)

    def along(self, learned, chain, experience):
        return linear().along(learned, chain, experience)

    def at(self, learned, chain, reward, x, k):
        return linear().at(learned, chain, reward, x, k)

    def learn(self, learned, chain, experience, returns, noise):
        self.seen.append((returns, experience))


def line(function):
    """(c, d) of x ↦ c + d x."""
    with torch.no_grad():
        at, there = (float(function(torch.full((1, 1, 1), v, dtype=torch.float64)).squeeze()) for v in (0.0, 1.0))
    return at, there - at


def product(f, g, mean, variance):
    """E[f(x) g(x)] of two lines."""
    return (f[0] + f[1] * mean) * (g[0] + g[1] * mean) + f[1] * g[1] * variance


@attrs.frozen
class Step:
    """What is linear about one step: in x_k, of the given mean and variance."""

    mean: float
    variance: float
    drawn: float
    """v_k."""
    share: float
    basis: tuple
    """What the constant and the slope of D multiply."""
    arrival: tuple
    """E[x_{k+1} | x_k]."""
    moved: tuple
    """δ = its difference from the base."""

    def expect(self, f, g=(1.0, 0.0)):
        return product(f, g, self.mean, self.variance)


@attrs.frozen
class Bowl:
    """N(m, s²) and −½λ(x − y)² at temperature α; weights are those of :class:`Tilted`."""

    m: float = 0.0
    s: float = 1.0
    curvature: float = 1.0
    target: float = 2.0
    alpha: float = 1.0

    def setting(self, steps, samples=None, schedule=EDM()):
        return setting(steps, self.s, self.s, self.m, Tilted, samples, schedule)

    def reward(self):
        return Quadratic(self.target, self.curvature)

    def shape(self, sigma):
        """V = c − ½κ(x − y')² at this level: (c, κ, y')."""
        w, v = self.s**2 / (self.s**2 + sigma**2), self.s**2 * sigma**2 / (self.s**2 + sigma**2)
        softened = 1 + self.curvature * v / self.alpha
        center = self.m + (self.target - self.m) / w
        return -0.5 * self.alpha * math.log(softened), self.curvature * w**2 / softened, center

    def value(self):
        def function(x, sigma):
            constant, kappa, center = self.shape(sigma)
            return constant - 0.5 * kappa * ((x - center) ** 2).flatten(1).sum(1)

        return Known(function)

    def steps(self, chain):
        """Every step under the chain's weights: the moments of x_k are a linear recursion."""
        _, base = self.setting(chain.steps)
        base.known, mean, variance = chain.levels[:-1], 0.0, chain.levels[0] ** 2
        for k, (drawn, _, share) in enumerate(laws(chain, self.s)):
            ours, theirs = (
                line(lambda x, k=k, c=c: c.transition(k, State(x)).mean) for c in (chain, attrs.evolve(chain, denoiser=base))
            )
            unit = (self.s**2 + chain.levels[k] ** 2) ** 0.5
            basis = ((1.0, 0.0), (-self.m / unit, 1 / unit))
            moved = (ours[0] - theirs[0], ours[1] - theirs[1])
            yield Step(mean, variance, drawn, share, basis, ours, moved)
            mean, variance = ours[0] + ours[1] * mean, ours[1] ** 2 * variance + drawn

    def end(self, chain):
        """Mean and variance of x_N."""
        *_, last = self.steps(chain)
        return last.expect(last.arrival), last.arrival[1] ** 2 * last.variance + last.drawn

    def objective(self, chain):
        """E r − α Σ KL."""
        mean, variance = self.end(chain)
        cost = sum(step.expect(step.moved, step.moved) / (2 * step.drawn) for step in self.steps(chain))
        return -0.5 * self.curvature * ((mean - self.target) ** 2 + variance) - self.alpha * cost

    def optimum(self, chain):
        """(shift, slope) of every level: δ = v κ' (y' − μ)/(α + v κ'), the mean of p*(x_{k+1} | x_k) less the base's."""
        out = []
        for step, level in zip(self.steps(chain), chain.levels[1:], strict=True):
            _, kappa, center = self.shape(level)
            pull = step.drawn * kappa / (self.alpha + step.drawn * kappa) / step.share
            base = [a - d for a, d in zip(step.arrival, step.moved, strict=True)]
            slope = -pull * base[1] / step.basis[1][1]
            out.append((pull * (center - base[0]) - slope * step.basis[1][0], slope))
        return torch.tensor(out, dtype=torch.float64)

    def gradient(self, chain):
        """−∂/∂(shift, slope) of E V_{k+1}(x_{k+1}) − α KL_k at x_k's law, every step for itself: zero at the optimum."""
        out = []
        for step, level in zip(self.steps(chain), chain.levels[1:], strict=True):
            _, kappa, center = self.shape(level)
            force = [
                -kappa * (a - center * (i == 0)) - self.alpha * d / step.drawn
                for i, (a, d) in enumerate(zip(step.arrival, step.moved, strict=True))
            ]
            out.append([-step.share * step.expect(f, force) for f in step.basis])
        return torch.tensor(out, dtype=torch.float64)

    def hessian(self, chain):
        """Of the same, 2×2 for every step."""
        out = []
        for step, level in zip(self.steps(chain), chain.levels[1:], strict=True):
            stiffness = step.share**2 * (self.shape(level)[1] + self.alpha / step.drawn)
            out.append([[stiffness * step.expect(f, g) for g in step.basis] for f in step.basis])
        return torch.tensor(out, dtype=torch.float64)


@torch.no_grad()
def write(network, weights):
    """(N, 2) constants and slopes into a :class:`Tilted` network."""
    for parameter, column in zip((network.shift, network.slope), weights.T, strict=True):
        parameter.copy_(column.reshape(-1, *[1] * (parameter.ndim - 1)).expand_as(parameter))


def per_sample(strategy, chain, reward, noise, state):
    """The loss, and what each sample says of its gradient, (N, weights per level, batch): all have weights of their own."""
    loss = strategy.loss(chain, reward, noise, state)
    found = torch.autograd.grad(loss.value, list(chain.denoiser.parameters()))
    return loss, len(noise) * torch.stack([g.flatten(1) for g in found], 1)


def assert_settles(strategy, scale=1.0, updates=30, batch=200):
    """From the base, Newton steps with the closed-form Hessian end around the optimum, and so does what they sample.

    Every update forgets the weights before it, so that the later ones are independent draws.
    """
    bowl = Bowl()
    chain, network = bowl.setting(6)
    best, state, weights, ends = bowl.optimum(chain), strategy.init(chain, bowl.reward(), Noise(1)), [], []
    for i in range(updates):
        loss = strategy.loss(chain, bowl.reward(), Noise(5).fold(i)[range(batch)], state)
        gradient = torch.stack(torch.autograd.grad(loss.value, [network.shift, network.slope]), 1)
        now = torch.stack([network.shift, network.slope], 1).detach()
        write(network, now - torch.linalg.solve(bowl.hessian(chain), scale * gradient))
        weights.append(torch.stack([network.shift, network.slope], 1).detach().clone())
        ends.append(bowl.end(chain))
    write(network, best)
    for draws, expected in zip(torch.stack(weights[8:]).flatten(1).T, best.flatten(), strict=True):
        assert_moment(draws, float(expected))
    for draws, expected in zip(torch.tensor(ends[8:], dtype=torch.float64).T, bowl.end(chain), strict=True):
        assert_moment(draws, expected)


@attrs.frozen
class Single(StochasticSampler):
    """One step with mean D and variance ½, its draws centred over the batch: expectations of lines are exact."""

    steps: int = 1

    @property
    def memoryless(self):
        return True

    def variance(self, departure, arrival):
        return 0.5

    def transition(self, denoise, state, departure, arrival):
        estimate = denoise(state.x, departure)
        return Transition(estimate, 0.5, estimate)

    def step(self, denoise, state, departure, arrival, noise):
        law = self.transition(denoise, state, departure, arrival)
        draw = noise.normal(law.mean.shape[1:], law.mean.dtype)
        return State(law.mean + math.sqrt(0.5) * (draw - draw.mean(0)), (), law.estimate)
