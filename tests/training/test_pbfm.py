import importlib
import math
import re
from functools import partial

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, assert_moment
from toys import Constant, Function, Linear, Quadratic, Tiny, normal, tiny_unet

from pirf.data import Fields
from pirf.denoisers import Coloured
from pirf.denoisers.coloured import Matern
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.rewards import PDEReward
from pirf.samplers import Chain, Euler, Heun, State
from pirf.scaling import Scaling
from pirf.schedules import EDM, Levels
from pirf.training import Budget
from pirf.training import Constant as Steady
from pirf.training.matching import Matching, Noised
from pirf.training.pbfm import UniformTimes, conflict_free, pbfm

matching = importlib.import_module("pirf.training.matching")
module = importlib.import_module("pirf.training.pbfm")
SAMPLER = Heun(steps=4, schedule=EDM(0.05, 10.0))
SCALING = Scaling((0.3, -0.2), (1.5, 0.7))


@attrs.frozen
class Gap(PDEReward):
    """R = factor · (x − target), or of x²."""

    target: float = 0.4
    factor: float = 1.0
    squared: bool = False

    def residual(self, x):
        return self.factor * ((x**2 if self.squared else x) - self.target)


@attrs.frozen
class Broken(PDEReward):
    def residual(self, x):
        return x / 0 * 0


@attrs.frozen
class Steep(PDEReward):
    """0, with an infinite slope."""

    def residual(self, x):
        return (0 * x).sqrt()


def fields(count=12, scaling=SCALING):
    return Fields(normal(count, 2, 8, 8), scaling)


def call(denoiser, reward=Gap(), source=None, **options):
    settings = {"sampler": SAMPLER, "unroll": 3, "steps": 5, "batch": 3, "lr": 0.01, "progress": False}
    return pbfm(denoiser, reward, source=source or fields(), **(settings | options))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def descended(parameters, lr):
    return torch.optim.SGD(parameters, lr)


# Two gradients merged.


def unit(v):
    return v / v.norm()


def pair(size, seed, scales):
    return [s * normal(size, seed=seed + i) for i, s in enumerate(scales)]


scale = st.floats(-6, 6).map(lambda e: 10**e)


@given(st.integers(2, 30), st.integers(0, 10**6), scale, scale)
def test_the_merged_gradient_is_the_conflict_free_one(size, seed, first, second):
    """U[U(a ⟂ b) + U(b ⟂ a)], as long as the projections of a and b on it together, and at equal angles with both."""
    a, b = pair(size, seed, (first, second))
    merged = conflict_free([a], [b])
    (g,) = merged.gradients
    direction = unit(unit(a - (a @ b) / (b @ b) * b) + unit(b - (a @ b) / (a @ a) * a))
    assert_close(g, (a @ direction + b @ direction) * direction)
    assert_close(unit(a) @ unit(g), unit(b) @ unit(g), unit=1.0)
    assert a @ g > 0
    assert b @ g > 0
    assert_close(merged.cosine, unit(a) @ unit(b), unit=1.0)


@given(st.floats(0, math.pi), scale, scale)
def test_in_the_plane_it_halves_the_angle(angle, first, second):
    """For gradients at an angle φ: direction φ/2, length (‖a‖ + ‖b‖) cos(φ/2), down to nothing where they are opposed."""
    a = first * torch.tensor([1.0, 0.0], dtype=torch.float64)
    b = second * torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)
    (g,) = conflict_free([a], [b]).gradients
    half = torch.tensor([math.cos(angle / 2), math.sin(angle / 2)], dtype=torch.float64)
    assert_close(g, (first + second) * math.cos(angle / 2) * half, unit=first + second)


@given(st.integers(1, 9), st.integers(0, 10**6), scale, scale)
def test_gradients_that_agree_are_added(size, seed, first, second):
    v = normal(size, seed=seed)
    merged = conflict_free([first * v], [second * v])
    assert_close(merged.gradients[0], (first + second) * v)
    assert_close(merged.cosine, 1.0)


def test_what_is_zero_leaves_the_other():
    v, zero = normal(4), torch.zeros(4, dtype=torch.float64)
    for first, second in ((v, zero), (zero, v)):
        merged = conflict_free([first], [second])
        assert torch.equal(merged.gradients[0], v)
        assert merged.cosine == 0
    assert torch.equal(conflict_free([zero], [zero]).gradients[0], zero)


def test_parameters_are_one_vector_and_may_be_without_a_gradient():
    a, b, c, d = (normal(n, seed=n) for n in (3, 4, 5, 4))
    merged = conflict_free([a, b, None, None], [None, d, c, None])
    assert merged.gradients[3] is None
    whole = conflict_free([torch.cat([a, b, 0 * c])], [torch.cat([0 * a, d, c])])
    assert_close(torch.cat(merged.gradients[:3]), whole.gradients[0])
    assert_close(merged.cosine, whole.cosine, unit=1.0)


# Flow matching and its unrolled estimate.


def test_levels_are_uniform_in_the_time_of_the_straight_path():
    low, high = SAMPLER.levels[-2], SAMPLER.levels[0]
    sigma = UniformTimes(low, high)(Noise(0)[range(4000)], torch.zeros((), dtype=torch.float64))
    t = sigma / (1 + sigma)
    first, last = low / (1 + low), high / (1 + high)
    assert bool(((t > first - 1e-12) & (t < last + 1e-12)).all())
    share = (t - first) / (last - first)
    assert_moment(share, 1 / 2)
    assert_moment(share**2, 1 / 3)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_unrolling_is_eulers_method(steps):
    """With one level for all it is the chain of an Euler sampler on t/(1 − t), t equidistant."""
    denoiser = Function(lambda x, sigma, condition: torch.tanh(x) / (1 + sigma.reshape(-1, 1, 1)), (1, 4))
    sigma = 2.0
    times = [sigma / (1 + sigma) * (1 - k / steps) for k in range(steps + 1)]
    levels = tuple(t / (1 - t) for t in times)
    x = normal(3, 1, 4)
    expected = Chain(Euler(steps, Levels(levels)), denoiser, Noise(0)[range(3)]).run(State(x)).x
    seen = Noised(x, x, torch.full((3,), sigma, dtype=torch.float64), Noise(0)[range(3)])
    settings = Matching(Budget(steps=1))
    assert_close(module._unrolled(settings, denoiser, seen, settings.estimate(denoiser, seen), steps), expected)


def test_every_sample_is_unrolled_from_its_own_level():
    """D = w x: each step multiplies by w + (1 − w)σ'/σ, the last one by w."""
    w, denoiser = 0.6, Linear((1, 4), 0.6)
    sigma, x = torch.tensor([0.1, 1.0, 30.0], dtype=torch.float64), normal(3, 1, 4)
    seen, settings = Noised(x, x, sigma, Noise(0)[range(3)]), Matching(Budget(steps=1))
    t = sigma / (1 + sigma)
    factor, now = torch.ones_like(sigma), sigma
    for k in range(1, 4):
        after = t * (1 - k / 4) / (1 - t * (1 - k / 4))
        factor, now = factor * (w + (1 - w) * after / now), after
    found = module._unrolled(settings, denoiser, seen, settings.estimate(denoiser, seen), 4)
    assert_close(found, w * factor.reshape(-1, 1, 1) * x)


def first_update(network, unroll, power, reward):
    """The two losses of the first update in the coordinates of flow matching: velocities, and Euler steps in t."""
    x0 = SCALING.normalise(fields().sample(3, seed=0))
    noise = Noise(0).fold("pretrain", 0)[range(3)]
    first, last = (level / (1 + level) for level in (SAMPLER.levels[-2], SAMPLER.levels[0]))
    t = (first + (last - first) * noise.fold("level").uniform(torch.float64)).reshape(-1, 1, 1, 1)
    z = noise.fold("state").normal((2, 8, 8), torch.float64)

    def velocity(y, t):
        x, sigma = y / (1 - t), t / (1 - t)
        clean = network(x, sigma.flatten())
        return (x - clean) / sigma - clean

    y = (1 - t) * x0 + t * z
    flow = ((velocity(y, t) - (z - x0)) ** 2).mean()
    for k in range(unroll):
        y = y - t / unroll * velocity(y, t * (1 - k / unroll))
    rows = reward.residual(SCALING.physical(y)).flatten(1)
    return flow, ((1 - t).flatten() ** power * (rows**2).mean(1)).mean(), -(rows**2).mean()


@pytest.mark.parametrize(("unroll", "power"), [(1, 1.0), (3, 2.0)])
def test_one_update_descends_on_the_merged_gradient(unroll, power):
    network, reward = Tiny(scaling=SCALING), Gap(squared=True)
    parameters = list(network.parameters())
    flow, physics, score = first_update(network, unroll, power, reward)
    merged = conflict_free(torch.autograd.grad(flow, parameters, retain_graph=True), torch.autograd.grad(physics, parameters))
    options = {"steps": 1, "lr": 1e-3, "optimizer": descended, "rate": Steady(), "half_life": 1e-9}
    tuned = call(network, reward, unroll=unroll, power=power, **options)
    for p, g, q in zip(parameters, merged.gradients, tuned.parameters(), strict=True):
        # After one update the average is half the start and half the result.
        assert_close(q, p.detach() - 0.5 * 1e-3 * g, unit=1.0)
        assert_close((p.detach() - q) / (0.5 * 1e-3), g, unit=max(1.0, float(g.abs().max())) * 1e3)
    (record,) = tuned.history
    assert_close(record["data"], flow)
    assert_close(record["physics"], physics)
    assert_close(record["loss"], flow + physics)
    assert_close(record["score"], score)
    assert_close(record["cosine"], merged.cosine, unit=1.0)
    assert (record["evaluations"], record["vjps"]) == (unroll, unroll + 1)


def test_where_the_two_are_opposed_nothing_moves():
    """D ≡ θ between the data's mean and what the equation wants: no update helps both, and none is made."""
    source = Fields(normal(12, 2, 8, 8), Scaling.identity(2))
    options = {"source": source, "optimizer": descended, "batch": 12, "rate": Steady(), "lr": 1e-6}
    between = call(Constant((2, 8, 8), theta=1.0), Gap(3.0), **options)
    assert float(between.theta.detach()) == 1.0
    assert_close(torch.tensor([record["cosine"] for record in between.history], dtype=torch.float64), -1.0)
    outside = call(Constant((2, 8, 8), theta=-1.0), Gap(3.0), **options)
    assert float(outside.theta.detach()) > -1.0
    assert_close(torch.tensor([record["cosine"] for record in outside.history], dtype=torch.float64), 1.0)


# What a run is.


def test_input_untouched_and_repeatable():
    network, before = Tiny(scaling=SCALING), Tiny(scaling=SCALING)
    a, b, c = call(network), call(network), call(network, seed=1)
    assert equal(network, before)
    assert equal(a, b)
    assert not equal(a, c)
    assert not equal(a, call(network, unroll=2))
    assert not a.training


def test_noise_of_a_colour_goes_in_and_comes_back():
    tuned = call(Coloured(Tiny(scaling=SCALING), Matern(0.2)))
    assert isinstance(tuned, Coloured)
    assert tuned.colour == Matern(0.2)
    assert len(tuned.history) == 5
    assert not equal(tuned.inner, call(Tiny(scaling=SCALING)))


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    """Dropout included, of every step of the unrolled estimate."""
    monkeypatch.setattr(matching, "descend", partial(matching.descend, save_every=0.0))

    def network():
        found = tiny_unet(dropout=0.3)
        found.scaling = SCALING
        return found

    whole = call(network())

    @attrs.frozen(eq=False, repr=False)
    class Fragile:
        inner: Fields
        shape: tuple = (2, 8, 8)
        scaling: Scaling = SCALING

        def sample(self, count, seed=0, start=0):
            if start == 9:
                raise KeyboardInterrupt
            return self.inner.sample(count, seed, start)

        def __repr__(self):
            return repr(self.inner)

    with pytest.raises(KeyboardInterrupt):
        call(network(), source=Fragile(fields()), out=tmp_path)
    resumed = call(network(), out=tmp_path)
    assert equal(resumed, whole)
    assert len(resumed.history) == 5
    for other in ({"unroll": 2}, {"power": 2.0}, {"sampler": Heun(steps=4)}):
        with pytest.raises(InputError, match="holds a checkpoint of another run"):
            call(network(), out=tmp_path, **other)


# Refusals.


def test_a_residual_that_is_no_number_stops_before_the_update():
    with pytest.raises(NumericalError, match=r"PBFM, update 0: Broken\(\) gave a residual that is not finite"):
        call(Tiny(scaling=SCALING), Broken())


def test_a_gradient_that_is_no_number_is_named_as_such():
    with pytest.raises(NumericalError, match=r"PBFM: the gradient of one.weight is not finite at update 0; weights untouched"):
        call(Tiny(scaling=SCALING), Steep())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"unroll": 0}, "got unroll=0, power=1.0"),
        ({"power": -1.0}, "got unroll=3, power=-1.0"),
        ({"reward": Quadratic()}, "a reward with a residual is needed: got Quadratic("),
    ],
)
def test_what_cannot_be_trained_is_refused(options, told):
    with pytest.raises(InputError, match=re.escape(told)):
        call(Tiny(scaling=SCALING), **options)
