"""Score as Action: martingales, rates, robustness in the number of steps, and what it learns."""

import math

import attrs
import pytest
import torch
from gaussian import B, M, S, Shifted, Slope, laws, setting
from tolerances import assert_close, assert_moment
from torch import nn
from toys import Tiny

import pirf
from pirf.backprop import ContinuousTime, Fitted, Known
from pirf.backprop.experience import explore
from pirf.denoisers import Denoiser
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain, Euler, State
from pirf.schedules import EDM, Logarithmic

EXACT = Known(lambda x, level: B * (M + S**2 / (S**2 + level**2) * (x - M)).flatten(1).sum(1))
PLAIN = {"clip": math.inf, "standardised": False}


def test_the_exact_value_is_a_martingale():
    """E[V(x_{k+1}) − V(x_k) | x_k] = 0 for every step of the untuned chain: on average, and whatever x_k is."""
    sampler = Ancestral(steps=6, spread=S)
    chain = Chain(sampler, Shifted(sampler.levels[:-1]), Noise(0))
    found = explore(chain, Slope(), Noise(5)[range(4000)], 0)
    for x, gained in zip(found.states, EXACT.along(None, chain, found).diff(dim=0), strict=False):
        assert_moment(gained, 0.0)
        assert_moment(gained * (x.flatten() - M), 0.0)


@pytest.mark.parametrize("eta", [1.0, 0.5, 0.25])
def test_the_divergence_of_a_path_tends_to_its_rate(eta):
    """Σ KL_k → ((1 + η²)/2η)² ½ ‖Δs‖² Σ Δτ for scores that differ by a constant, at first order in the step."""

    def ratio(steps):
        sampler = Ancestral(steps=steps, eta=eta, schedule=Logarithmic(0.1, 5.0))
        networks = [Shifted(sampler.levels[:-1]) for _ in range(2)]
        with torch.no_grad():
            networks[1].shift.copy_(torch.tensor(sampler.levels[:-1], dtype=torch.float64) ** 2)  # Δs = 1
        state = State(torch.zeros(1, 1, 1, dtype=torch.float64))
        here, there = (Chain(sampler, network, Noise(0)) for network in networks)
        with torch.no_grad():
            paid = sum(float(there.transition(k, state).divergence(here.transition(k, state))) for k in range(steps - 1))
        span = sampler.levels[0] ** 2 - sampler.levels[-2] ** 2
        return paid / (((1 + eta**2) / (2 * eta)) ** 2 * span / 2)

    coarse, fine = ratio(100) - 1, ratio(200) - 1
    assert 1.9 < coarse / fine < 2.1
    assert abs(2 * fine - coarse) < 0.1 * abs(fine)  # extrapolated to no step at all


@pytest.mark.parametrize("spread", [1.0, 0.0])
@pytest.mark.parametrize("steps", [5, 20, 80])
def test_exact_kernels_reach_the_optimum_at_any_number_of_steps(spread, steps):
    """The optimum mean shift is s²b/β = 1 with exact kernels, and (b/β) Σ v_k w²_{k+1} with plug-in ones; m = 0, s = b = β = 1.

    The stationary shifts come from the strategy: the divergence's weight is 1 and a step is told b w_{k+1}, so that one
    Newton step from the base, v_k w_{k+1}, is the optimum.
    """
    value = Known(lambda x, level: (x / (1 + level**2)).flatten(1).sum(1))
    chain, network = setting(steps, spread=spread, s=1.0)
    strategy = ContinuousTime(kl=1.0, form="gradient", value=value)
    state = strategy.init(chain, Slope(), Noise(1))
    before = chain.run(chain.initial()).x.detach()
    known = list(laws(chain, 1.0))
    curvature = torch.tensor([share**2 / v if v else math.inf for v, _, share in known], dtype=torch.float64)
    for _ in range(2):
        loss = strategy.loss(chain, Slope(), Noise(5)[range(2)], state).value
        (gradient,) = torch.autograd.grad(loss, [network.shift])
        with torch.no_grad():
            network.shift -= gradient / curvature
    assert float(gradient.abs().max()) < 1e-9  # the second step found nothing to change
    moved = float((chain.run(chain.initial()).x - before).detach().squeeze())
    top = chain.levels[0] ** 2
    assert_close(moved, top / (1 + top) if spread else sum(v * w**2 for v, w, _ in known))
    assert (steps, spread) != (20, 0.0) or abs(moved - 0.60) < 0.005


def test_a_policy_over_scores_explores_a_deterministic_sampler():
    """Ancestral(eta=0, spread=c) is Euler with D̃ ~ N(D, c²σ²/(c² + σ²)): its first moments, and Euler itself as c → 0."""
    euler = Chain(Euler(steps=6), Tiny(), Noise(0)[range(2)])
    end = euler.run(euler.initial()).x
    gaps = []
    for c in (1e-2, 1e-4):
        noisy = Chain(Ancestral(steps=6, eta=0.0, spread=c), euler.denoiser, Noise(0)[range(2)])
        gaps.append(float((noisy.run(noisy.initial()).x - end).abs().max().detach()))
    assert 80 < gaps[0] / gaps[1] < 120
    sampler = Ancestral(steps=6, eta=0.0, spread=0.3)
    for departure, arrival in zip(sampler.levels, sampler.levels[1:], strict=False):
        of_estimate = 0.3**2 * departure**2 / (0.3**2 + departure**2)
        assert_close(sampler.variance(departure, arrival), (1 - arrival / departure) ** 2 * of_estimate)


def test_advantages_are_cut_and_standardised_by_step():
    chain, _ = setting(6)
    strategy = ContinuousTime(value=EXACT, limit=1.5)
    state = strategy.init(chain, Slope(), Noise(1))
    strategy.loss(chain, Slope(), Noise(5)[range(500)], state)
    told = state.batch.advantages
    assert told.shape == (6, 500)
    assert float(told.abs().max()) == 1.5
    free = attrs.evolve(strategy, limit=100.0)
    state = free.init(chain, Slope(), Noise(1))
    free.loss(chain, Slope(), Noise(5)[range(500)], state)
    assert_close(state.batch.advantages.mean(1), 0.0, unit=1.0)
    assert_close(state.batch.advantages.std(1), 1.0)


class Bent(Denoiser):
    """The exact denoiser of N(0, 1) plus θ(σ) + φ(σ) x at every level: what the optimum of a quadratic reward needs."""

    def __init__(self, levels):
        super().__init__((1, 1))
        self.known = levels
        self.shift, self.slope = (nn.Parameter(torch.zeros(len(levels), dtype=torch.float64)) for _ in range(2))

    def forward(self, x, sigma, condition=None):
        k = min(range(len(self.known)), key=lambda i: abs(self.known[i] - float(sigma)))
        w, unit = 1 / (1 + sigma**2), sigma**2 / (1 + sigma**2)
        return w * x + unit * (self.shift[k] + self.slope[k] * x / (1 + sigma**2) ** 0.5)


@attrs.frozen
class Counted(Reward):
    """−½(x − 2)², by NumPy."""

    def __call__(self, x, condition=None):
        return torch.from_numpy(-0.5 * (x.detach().numpy().flatten() - 2) ** 2)


@pytest.fixture(scope="module")
def tuned():
    """Towards p·exp(r): from a reward without a gradient and a value that is fitted on the way."""
    sampler = Ancestral(steps=8, spread=1.0, schedule=EDM(0.1, 5.0))
    strategy = ContinuousTime(kl=1.0, value=Fitted(width=8, pretrain=4, batch=256, lr=1e-2, passes=1), **PLAIN)
    model = Bent(sampler.levels[:-1])
    return pirf.finetune(
        model, Counted(), sampler=sampler, gradient=strategy, steps=40, batch=128, lr=0.15, progress=False
    ), sampler


def test_a_black_box_leads_to_the_tilted_law(tuned):
    """Mean 1 and variance ½, less what twelve shifted means cannot do to a variance."""
    model, sampler = tuned
    chain = Chain(sampler, model, Noise(9)[range(4000)])
    with torch.no_grad():
        ends = chain.run(chain.initial()).x.flatten()
    assert abs(float(ends.mean()) - 1) < 0.1
    assert 0.45 < float(ends.var()) < 0.65
