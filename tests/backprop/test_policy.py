"""Policy gradients on Gaussian data: formulas, variances, stationary points, and what the clip does."""

import math

import attrs
import pytest
import torch
from gaussian import ALPHA, B, M, S, Shifted, Slope, laws, optimum, setting
from tolerances import assert_close, assert_moment
from toys import Quadratic, Tiny

import pirf
from pirf.backprop import ContinuousTime, KLPolicyGradient, Known, LastSteps, PolicyGradient, Windows
from pirf.denoisers import Handover
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain, Heun

PLAIN = {"clip": math.inf, "standardised": False}


def said(strategy, sampler, batch, *, s=S, m=M, start=None, seed=5):
    """Gradient of every sample's loss by its own shift of the mean of every step, (N, batch), and the laws."""
    network = Shifted(sampler.levels[:-1], s, m, batch)
    if start is not None:
        with torch.no_grad():
            network.shift.copy_(start.reshape(-1, 1, 1, 1).expand_as(network.shift))
    chain = Chain(sampler, network, Noise(0))
    state = strategy.init(chain, Slope(), Noise(1))
    if start is not None and state.base is not None:
        with torch.no_grad():
            state.base.shift.zero_()
    value = strategy.loss(chain, Slope(), Noise(seed)[range(batch)], state).value
    (gradient,) = torch.autograd.grad(value, [network.shift])
    plain = Chain(sampler, Shifted(sampler.levels[:-1], s, m), Noise(0))
    steps = list(laws(plain, s))
    share = torch.tensor([share for _, _, share in steps], dtype=torch.float64)
    return gradient.reshape(len(share), batch) * batch / share[:, None], steps


def exact_value(s, m, b=B):
    return Known(lambda x, level: b * (m + s**2 / (s**2 + level**2) * (x - m)).flatten(1).sum(1))


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("strategy", [
    PolicyGradient(**PLAIN), KLPolicyGradient(kl=2.0, **PLAIN), ContinuousTime(value=exact_value(S, M), **PLAIN),
])  # fmt: skip
def test_every_step_is_told_b_w(strategy, steps):
    """∂E r/∂μ_k = b w_{k+1} whatever N is; at the base the divergence adds nothing."""
    told, known = said(strategy, Ancestral(steps=steps, spread=S), 4000)
    for sample, (_, w, _) in zip(told, known, strict=True):
        assert_moment(-sample, B * w)


def test_the_variances_of_ddpo_and_of_score_as_action():
    """c² + b²s² against 2c², c = b√v_k w_{k+1}, over v: their ratio at N = 10 is 1253 at the first step, 2.50 at the fifth."""
    sampler, ratios = Ancestral(steps=10, spread=1.0), []
    score, _ = said(PolicyGradient(**PLAIN), sampler, 8000, s=1.0, m=0.0)
    action, known = said(ContinuousTime(value=exact_value(1.0, 0.0), **PLAIN), sampler, 8000, s=1.0, m=0.0)
    for k, (v, w, _) in enumerate(known):
        c = B * math.sqrt(v) * w
        whole, own = (c**2 + B**2) / v, 2 * c**2 / v
        assert_moment((score[k] - score[k].mean()) ** 2 / whole, 1.0)
        assert_moment((action[k] - action[k].mean()) ** 2 / own, 1.0)
        ratios.append(whole / own)
    assert round(ratios[0]) == 1253
    assert round(ratios[4], 2) == 2.50


@pytest.mark.parametrize(
    "strategy", [KLPolicyGradient(kl=ALPHA, **PLAIN), ContinuousTime(kl=ALPHA, value=exact_value(S, M), **PLAIN)]
)
@pytest.mark.parametrize("steps", [5, 20])
def test_the_divergence_holds_the_mean_at_v_b_w(strategy, steps):
    """At δ_k = v_k b w_{k+1}/β no step is told anything, and the whole shift is b v(σ_0²)/β for any N."""
    chain, network = setting(steps)
    told, _ = said(strategy, chain.sampler, 4000, start=optimum(chain))
    for sample in told:
        assert_moment(sample, 0.0)
    plain = chain.run(chain.initial()).x.detach()
    with torch.no_grad():
        network.shift.copy_(optimum(chain))
    top = chain.levels[0] ** 2
    assert_close(chain.run(chain.initial()).x.detach() - plain, torch.full_like(plain, S**2 * B / ALPHA * top / (S**2 + top)))


def test_the_gradient_of_the_divergence_is_exact():
    """Σ δ_k²/2v_k beside a surrogate that is the same with and without it."""
    chain, network = setting(6)
    with torch.no_grad():
        network.shift.copy_(0.3 * torch.arange(1.0, 7.0, dtype=torch.float64))
    gradients = []
    for strategy in (PolicyGradient(**PLAIN), KLPolicyGradient(kl=0.7, **PLAIN)):
        state = strategy.init(chain, Slope(), Noise(1))
        if state.base is not None:
            state.base.shift.data.zero_()
        value = strategy.loss(chain, Slope(), Noise(5)[range(8)], state).value
        gradients.append(torch.autograd.grad(value, [network.shift])[0])
    expected = [0.7 * share**2 * float(d) / v for (v, _, share), d in zip(laws(chain), network.shift.detach(), strict=True)]
    assert_close(gradients[1] - gradients[0], torch.tensor(expected, dtype=torch.float64), unit=float(gradients[0].abs().max()))


def test_the_mean_over_dimensions_is_the_sum_divided():
    chain = Chain(Ancestral(steps=3, spread=0.5), Tiny(), Noise(0))
    found = []
    for dimensions in ("sum", "mean"):
        strategy = PolicyGradient(dimensions=dimensions)
        value = strategy.loss(chain, Quadratic(), Noise(5)[range(4)], strategy.init(chain, Quadratic(), Noise(1))).value
        found.append(torch.cat([g.flatten() for g in torch.autograd.grad(value, list(chain.denoiser.parameters()))]))
    assert_close(found[1] * 2 * 8 * 8, found[0])


def test_a_group_begins_in_one_state_and_is_its_own_baseline():
    chain = Chain(Ancestral(steps=4, spread=0.5), Tiny(), Noise(0))
    strategy = PolicyGradient(standardised=False, group=4)
    state = strategy.init(chain, Quadratic(), Noise(1))
    strategy.loss(chain, Quadratic(), Noise(5)[range(8)], state)
    found, told = state.batch.experience, state.batch.advantages[0]
    for first in (0, 4):
        group = slice(first, first + 4)
        assert torch.equal(found.states[0][group], found.states[0][first].expand(4, -1, -1, -1))
        assert len({float(x.sum()) for x in found.states[1][group]}) == 4
        scores = found.scores[group]
        assert_close(told[group], (scores - scores.mean()) * 4 / 3, unit=1.0)  # minus the mean of the other three
    with pytest.raises(InputError, match=r"a batch of groups of 4 is needed: got 6 trajectories; .* Try batch=4"):
        strategy.loss(chain, Quadratic(), Noise(5)[range(6)], strategy.init(chain, Quadratic(), Noise(1)))


def test_a_group_takes_away_what_its_beginning_has_decided():
    """A step is told b times the slopes after it; what x_0 brings leaves the variance, seven siblings for a mean enter."""
    sampler = Ancestral(steps=5, eta=0.3, spread=S)
    grouped, known = said(PolicyGradient(**PLAIN, group=8), sampler, 8000)
    alone, _ = said(PolicyGradient(**PLAIN), sampler, 8000)
    after = [B]
    for departure, (_, _, share) in zip(reversed(sampler.levels[:-1]), reversed(known), strict=True):
        after.insert(0, after[0] * (1 - share * departure**2 / (S**2 + departure**2)))
    beginning = (after[0] * sampler.levels[0]) ** 2
    own = [v * slope**2 for (v, _, _), slope in zip(known, after[1:], strict=True)]
    for k, (v, _, _) in enumerate(known):
        assert_moment(-alone[k], after[k + 1])
        assert_moment(-grouped[k].reshape(-1, 8).mean(1), after[k + 1])
        other = sum(own) - own[k]
        assert_moment((alone[k] + after[k + 1]) ** 2, (2 * own[k] + other + beginning) / v)
        told = (2 * own[k] + other + (own[k] + other) / 7) / v
        assert_moment(((grouped[k] + after[k + 1]) ** 2).reshape(-1, 8).mean(1), told)


def test_the_first_epoch_has_ratio_one_and_clips_nothing():
    chain = Chain(Ancestral(steps=4, spread=0.5), Tiny(), Noise(0))
    strategy = PolicyGradient(clip=1e-3, epochs=3)
    state = strategy.init(chain, Quadratic(), Noise(1))
    optimizer = torch.optim.SGD(chain.denoiser.parameters(), lr=1e-4)
    first = strategy.loss(chain, Quadratic(), Noise(5)[range(8)], state)
    assert float(first.value.detach()) == -4 * float(state.batch.advantages[0].mean())
    assert first.notes["clipped"] == 0
    assert (first.evaluations, first.notes["rewards"]) == (4 + 4, 1)
    drawn = state.batch
    first.value.backward()
    optimizer.step()
    second = strategy.loss(chain, Quadratic(), Noise(6)[range(8)], state)
    assert state.batch is drawn
    assert second.notes["clipped"] > 0.5
    assert (second.evaluations, second.notes["rewards"]) == (4, 0)
    strategy.loss(chain, Quadratic(), Noise(6)[range(8)], state)
    strategy.loss(chain, Quadratic(), Noise(6)[range(8)], state)
    assert state.batch is not drawn


def test_a_clipped_action_has_no_gradient():
    """Where every ratio has left 1 ± ε in the direction of its advantage, nothing is left to gain."""
    chain, network = setting(4)
    strategy = PolicyGradient(clip=1e-6, epochs=2, standardised=False)
    state = strategy.init(chain, Slope(), Noise(1))
    loss = strategy.loss(chain, Slope(), Noise(5)[range(1000)], state)
    gradient = torch.autograd.grad(loss.value, [network.shift])[0]
    state.batch.old = {k: old - torch.sign(state.batch.advantages[0]) for k, old in state.batch.old.items()}
    after = strategy.loss(chain, Slope(), Noise(5)[range(1000)], state)
    assert after.notes["clipped"] == 1
    assert float(torch.autograd.grad(after.value, [network.shift])[0].abs().max()) == 0 < float(gradient.abs().max())


@pytest.mark.parametrize("inner", [PolicyGradient(), KLPolicyGradient(kl=0.3)])
def test_the_windows_of_a_policy_add_up_to_it(inner):
    chain = Chain(Ancestral(steps=5, spread=0.5), Tiny(), Noise(0))

    def gradient(strategy):
        state = strategy.init(chain, Quadratic(), Noise(1))
        value = strategy.loss(chain, Quadratic(), Noise(5)[range(4)], state).value
        return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(chain.denoiser.parameters()))])

    windows = [gradient(Windows(3, updates=1, inner=inner).at(update)) for update in range(3)]
    assert_close(sum(windows), gradient(inner))
    assert all(bool(window.any()) for window in windows)


def test_below_a_handover_only_the_tail_is_a_policy():
    sampler = Ancestral(steps=6, spread=0.5)
    handover = Handover.split(Tiny(), sampler.before_last(2))
    handover.base.requires_grad_(False)
    strategy = PolicyGradient()
    chain = Chain(sampler, handover, Noise(0))
    state = strategy.init(chain, Quadratic(), Noise(1))
    strategy.loss(chain, Quadratic(), Noise(5)[range(4)], state).value.backward()
    assert state.batch.experience.steps == (4, 5)
    assert all(p.grad is not None for p in handover.tuned.parameters())


@attrs.frozen
class Same(Reward):
    def __call__(self, x, condition=None):
        return torch.full_like(x.flatten(1)[:, 0], 3.5)


@attrs.frozen
class Broken(Reward):
    def __call__(self, x, condition=None):
        return torch.full_like(x.flatten(1)[:, 0], math.nan)


@pytest.mark.parametrize(("options", "message"), [
    ({"sampler": Heun(steps=4)}, r"PolicyGradient needs transition probabilities: got Heun\(steps=4"),
    ({"reward": Same()}, r"rewards: all 4 values of a batch are 3.5 and prefer no trajectory"),
    ({"reward": Broken()}, r"Broken\(\) gave nan: the fields are finite, their score is not; weights untouched"),
    ({"denoiser": Handover.split(Tiny(), Ancestral(steps=4).before_last(1))}, "a step with a variance is needed: got Ances"),
])  # fmt: skip
def test_one_clear_line_and_the_model_is_untouched(options, message):
    call = {"denoiser": Tiny(), "reward": Quadratic(), "sampler": Ancestral(steps=4), **options}
    before = [p.detach().clone() for p in call["denoiser"].parameters()]
    with pytest.raises((InputError, NumericalError), match=message) as refused:
        pirf.finetune(**call, gradient=PolicyGradient(), steps=2, batch=4, progress=False)
    assert "\n" not in str(refused.value)
    assert all(torch.equal(a, b) for a, b in zip(before, call["denoiser"].parameters(), strict=True))


def test_the_state_is_needed():
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    with pytest.raises(InputError, match="PolicyGradient needs its state: got state=None"):
        PolicyGradient().loss(chain, Quadratic(), Noise(0))
    assert LastSteps(1).init(chain, Quadratic(), Noise(0)) is None
