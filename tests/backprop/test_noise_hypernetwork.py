"""Gaussian data make the generator linear, G(z) = c + gz: every gradient and both optima are known for every z."""

import math
from itertools import pairwise

import attrs
import pytest
import torch
from tolerances import assert_close, assert_moment
from toys import Quadratic, Tiny, perturb

import pirf
from pirf.backprop import Full, LayerTruncated, NoiseHypernetwork
from pirf.denoisers import GaussianDenoiser, NoiseMap
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import BlackBox, Reward
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, State

M, S, B, ALPHA, CURVATURE, TARGET = 0.3, 0.8, 1.3, 0.7, 1.7, 2.0
EXACT = [Euler(steps=5), Heun(steps=5)]
SAMPLERS = [*EXACT, Multistep(steps=5)]  # the memory of a multistep carries no gradient


@attrs.frozen
class Slope(Reward):
    """Σ b x."""

    def __call__(self, x, condition=None):
        return B * x.flatten(1).sum(1)


def blind(x):
    return x.flatten(1).sum(1)


def setting(sampler):
    model = NoiseMap(GaussianDenoiser((1, 1), M, S**2), width=3)
    return Chain(sampler, model, Noise(0)), model


def heun(levels):
    """G: σ_0 times the product of the factors by which Heun's steps multiply x − m."""
    product = levels[0]
    for a, b in pairwise(levels):
        slope = a / (S**2 + a**2)  # (1 − w)/σ
        euler = 1 + (b - a) * slope
        product *= euler if b == 0 else 1 + (b - a) / 2 * (slope + b / (S**2 + b**2) * euler)
    return product


def generator(sampler):
    """(c, g): the sample that z = 0 begins, and what z = 1 adds to it."""
    chain, _ = setting(sampler)
    first, second = (chain.run(State(torch.full((1, 1, 1), z * chain.levels[0]).double())).x for z in (0.0, 1.0))
    return first.item(), (second - first).item()


def gradients(chain, model, strategy, reward, samples=4):
    loss = strategy.loss(chain, reward, Noise(5)[range(samples)])
    return loss, torch.autograd.grad(loss.value, model.tunable())


@torch.no_grad()
def place(model, scale, offset):
    """F(z) = scale·z + offset."""
    model.offset.linear.weight.fill_(scale)
    model.offset.last.bias.fill_(offset)


@pytest.mark.parametrize(("steps", "g"), [(20, 0.83028), (40, 0.80677), (80, 0.80158)])
def test_the_generator_has_the_data_s_deviation_up_to_the_sampler(steps, g):
    """Heun's product of factors, towards s/√(1 + s²/σ_0²) = .79996; what z = 0 begins is m(1 − g/σ_0)."""
    sampler = Heun(steps=steps)
    centre, found = generator(sampler)
    assert_close(found, heun(sampler.levels))
    assert_close(centre, M * (1 - found / 80))
    assert abs(found - g) < 1e-5
    assert abs(S / math.sqrt(1 + S**2 / 80**2) - 0.79996) < 1e-5


@pytest.mark.parametrize("sampler", EXACT, ids=repr)
def test_the_estimator_is_the_formula(sampler):
    """With f = az + c: ∂/∂c = f − gr'/α and ∂/∂a = z(f − gr'/α), r' = b or −λ(x − y), averaged over the samples."""
    chain, model = setting(sampler)
    z, (centre, g) = chain.keyed(Noise(5)[range(4)]).white(), generator(sampler)
    for a, c in ((0.0, 0.0), (-0.3, 0.6)):
        place(model, a, c)
        f = a * z + c
        x = centre + g * (z + f)
        for reward, slope in ((Slope(), B), (Quadratic(TARGET, CURVATURE), -CURVATURE * (x - TARGET))):
            loss, found = gradients(chain, model, NoiseHypernetwork(ALPHA), reward)
            by_name = dict(zip((name for name, _ in model.offset.named_parameters()), found, strict=True))
            pull = f - g * slope / ALPHA
            assert_close(by_name["last.bias"].squeeze(), pull.mean(), unit=1.0)
            assert_close(by_name["linear.weight"].squeeze(), (z * pull).mean(), unit=1.0)
            assert_close(loss.value, (0.5 * f.square().sum((1, 2)) - reward(x) / ALPHA).mean())
            assert abs(loss.score - float(reward(x).mean())) < 1e-10


@pytest.mark.parametrize("sampler", EXACT, ids=repr)
def test_a_linear_reward_shifts_the_noise_by_gb_over_alpha(sampler):
    """Stationary for every z, not only in the mean; the sample then moves by g²b/α, towards s²b/α."""
    chain, model = setting(sampler)
    _, g = generator(sampler)
    place(model, 0.0, g * B / ALPHA)
    _, found = gradients(chain, model, NoiseHypernetwork(ALPHA), Slope())
    assert max(float(p.abs().max()) for p in found) < 1e-12
    keyed, plain = chain.keyed(Noise(5)[range(3)]), GaussianDenoiser((1, 1), M, S**2)
    base = Chain(sampler, plain, keyed.noise)
    shift = keyed.run(keyed.initial()).x - base.run(base.initial()).x
    assert_close(shift, torch.full_like(shift, g**2 * B / ALPHA))


def test_a_quadratic_reward_divides_the_variance_by_the_square():
    """The optimum is linear, z + f = (z + λg(y − c)/α)/(1 + λg²/α): variance s²/(1 + λs²/α)², where p·e^(r/α) has the root."""
    sampler = Heun(steps=80)
    chain, model = setting(sampler)
    centre, g = generator(sampler)
    shrink = 1 / (1 + CURVATURE * g**2 / ALPHA)
    place(model, shrink - 1, shrink * CURVATURE * g * (TARGET - centre) / ALPHA)
    _, found = gradients(chain, model, NoiseHypernetwork(ALPHA), Quadratic(TARGET, CURVATURE))
    assert max(float(p.abs().max()) for p in found) < 1e-12
    keyed = chain.keyed(Noise(5)[range(2000)])
    with torch.no_grad():
        x = keyed.run(keyed.initial()).x
    ratio = CURVATURE * S**2 / ALPHA
    assert_moment(x, (M + ratio * TARGET) / (1 + ratio))
    assert_moment((x - x.mean()) ** 2, S**2 / (1 + ratio) ** 2)


@pytest.mark.parametrize("reward", [Slope(), Quadratic(TARGET, CURVATURE)])
def test_descent_finds_the_optimum(reward):
    """Of the linear part of f, on eight samples."""
    chain, model = setting(Heun(steps=4))
    centre, g = generator(chain.sampler)
    free = [model.offset.linear.weight, model.offset.last.bias]
    optimizer = torch.optim.LBFGS(free, max_iter=50, line_search_fn="strong_wolfe", tolerance_grad=1e-10)

    def closure():
        optimizer.zero_grad()
        value = NoiseHypernetwork(ALPHA).loss(chain, reward, Noise(5)[range(8)]).value
        value.backward()
        return value

    optimizer.step(closure)
    shrink = 1 / (1 + CURVATURE * g**2 / ALPHA)
    expected = (0.0, g * B / ALPHA) if reward == Slope() else (shrink - 1, shrink * CURVATURE * g * (TARGET - centre) / ALPHA)
    for found, value in zip(free, expected, strict=True):
        assert abs(found.item() - value) < 1e-6


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
@pytest.mark.parametrize("segments", [1, 2, 50])
def test_segments_change_nothing_but_the_memory(sampler, segments):
    model = perturb(NoiseMap(Tiny((2, 4, 4), width=2)))
    chain = Chain(sampler, model, Noise(0))
    plain, expected = gradients(chain, model, NoiseHypernetwork(), Quadratic(0.3), 2)
    loss, found = gradients(chain, model, NoiseHypernetwork(segments=segments), Quadratic(0.3), 2)
    assert torch.equal(loss.value, plain.value)
    assert all(map(torch.equal, found, expected))
    assert all(float(p.abs().max()) > 0 for p in found)
    full = Full().loss(chain, Quadratic(0.3), Noise(5)[range(2)])
    assert (loss.evaluations, loss.vjps, loss.score) == (full.evaluations, full.vjps, full.score)


def test_the_loss_of_a_batch_is_the_mean_of_its_parts():
    chain = Chain(SAMPLERS[1], perturb(NoiseMap(Tiny())), Noise(0))
    parts = ([0, 1, 2, 3], [0, 1], [2, 3])
    losses = [NoiseHypernetwork(0.5).loss(chain, Quadratic(), Noise(5)[part]).value for part in parts]
    assert_close(losses[0], (losses[1] + losses[2]) / 2)


def test_fine_tuning_moves_the_map_alone_and_towards_the_reward():
    base, sampler = NoiseMap(Tiny()), Heun(steps=3)
    reward = Quadratic(1.0)
    tuned = pirf.finetune(
        base, reward, sampler=sampler, gradient=NoiseHypernetwork(0.05), steps=25, lr=2e-2, batch=4, progress=False
    )
    assert all(torch.equal(a, b) for a, b in zip(base.base.parameters(), tuned.base.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(base.tunable(), tuned.tunable(), strict=True))
    scores = [float(reward(pirf.sample(model, sampler, 32, seed=9)).mean()) for model in (base, tuned)]
    assert scores[1] > scores[0] + 1
    assert {record["evaluations"] for record in tuned.history} == {5}


def test_what_it_needs_is_said():
    chain, model = setting(Ancestral(steps=3))
    with pytest.raises(InputError, match="NoiseHypernetwork needs a sampler that remembers its initial noise: got Ancestral"):
        NoiseHypernetwork().loss(chain, Slope(), Noise(0))
    with pytest.raises(InputError, match="NoiseHypernetwork trains a map of the initial noise: got Tiny"):
        pirf.finetune(Tiny(), Quadratic(), sampler=Heun(steps=2), gradient=NoiseHypernetwork(), steps=1, progress=False)
    with pytest.raises(InputError, match="layer truncation needs a denoiser with named stages: got NoiseMap"):
        LayerTruncated(NoiseHypernetwork()).trainable(model)
    with pytest.raises(InputError, match="NoiseHypernetwork needs a differentiable reward: got BlackBox"):
        NoiseHypernetwork().loss(setting(Heun(steps=3))[0], BlackBox(blind), Noise(0))
    with pytest.raises(InputError, match="replay needs a prefix that is made by trained weights: got replay=2 with NoiseHyper"):
        pirf.finetune(model, Slope(), sampler=Heun(steps=2), gradient=NoiseHypernetwork(), steps=1, replay=2, progress=False)
    with pytest.raises(ValueError, match="temperature"):
        NoiseHypernetwork(0.0)
    assert eval(repr(NoiseHypernetwork(0.5, 3))) == NoiseHypernetwork(0.5, 3)
