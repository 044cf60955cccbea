import importlib
import re
from functools import partial

import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Affine, Constant, Quadratic, Tiny, normal, tiny_unet

from pirf.data import Fields
from pirf.denoisers import Coloured
from pirf.denoisers.coloured import Matern
from pirf.errors import InputError, NumericalError
from pirf.guidance import DPS
from pirf.noise import Noise
from pirf.rewards import ConditionalPDEReward, PDEReward
from pirf.samplers import Heun
from pirf.scaling import Scaling
from pirf.schedules import EDM
from pirf.training import Constant as Steady
from pirf.training import pretrain
from pirf.training.pidm import pidm

module = importlib.import_module("pirf.training.matching")
LAST = 0.2
SAMPLER = Heun(steps=4, schedule=EDM(LAST, 10.0))
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


def fields(count=12, scaling=SCALING):
    return Fields(normal(count, 2, 8, 8), scaling)


def call(denoiser, reward=Gap(), source=None, **options):
    settings = {"sampler": SAMPLER, "weight": 1e-2, "steps": 5, "batch": 3, "lr": 0.01, "progress": False}
    return pidm(denoiser, reward, source=source or fields(), **(settings | options))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def descended(parameters, lr):
    return torch.optim.SGD(parameters, lr)


# Closed forms.


def first_batch(seed=0):
    """What the first update of seed 0 sees, by its address."""
    x0 = SCALING.normalise(fields().sample(3, seed=seed))
    noise = Noise(seed).fold("pretrain", 0)[range(3)]
    sigma = torch.exp(-1.2 + 1.2 * noise.fold("level").normal((), torch.float64)).reshape(-1, 1, 1, 1)
    return x0, sigma, x0 + sigma * noise.fold("state").normal((2, 8, 8), torch.float64)


def skip_and_out(sigma):
    return 0.25 / (sigma**2 + 0.25), 0.5 * sigma / (sigma**2 + 0.25).sqrt()


@pytest.mark.parametrize("estimate", ["mean", "sample"])
def test_the_gradient_of_both_terms_is_known(estimate):
    """F ≡ θ: ∂D/∂θ = c_out, and through the jump c_skip'(1 − σ'/σ) c_out + c_out'; one SGD step shows the whole gradient."""
    theta, c, reward = 0.7, 0.03, Gap(squared=True)
    x0, sigma, x = first_batch()
    skip, out = skip_and_out(sigma)
    found, slope = skip * x + out * theta, out
    weight = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    data, d_data = (weight * (found - x0) ** 2).mean(), (2 * weight * (found - x0) * out).mean()
    if estimate == "sample":
        assert bool((sigma < LAST).any())
        assert bool((sigma > LAST).any())
        low = sigma.clamp(max=LAST)
        skip_low, out_low = skip_and_out(low)
        found = skip_low * (found + low / sigma * (x - found)) + out_low * theta
        slope = skip_low * (1 - low / sigma) * out + out_low
    scale = torch.tensor(SCALING.scale, dtype=torch.float64).reshape(1, -1, 1, 1)
    rows = SCALING.physical(found) ** 2 - 0.4
    d_rows = 2 * SCALING.physical(found) * scale * slope
    physics = ((rows**2).flatten(1).sum(1) / (2 * sigma.flatten())).mean()
    d_physics = ((2 * rows * d_rows).flatten(1).sum(1) / (2 * sigma.flatten())).mean()
    tuned = call(
        scaled(Affine((2, 8, 8), theta)),
        reward,
        weight=c,
        estimate=estimate,
        steps=1,
        lr=1e-3,
        optimizer=descended,
        rate=Steady(),
        half_life=1e-9,
    )
    # After one update the average is half the start and half the result.
    assert_close((theta - tuned.theta.detach()) / (0.5 * 1e-3), d_data + c * d_physics)
    (record,) = tuned.history
    assert_close(record["data"], data)
    assert_close(record["physics"], physics)
    assert_close(record["loss"], data + c * physics)
    assert_close(record["score"], -(rows**2).mean())
    assert record["evaluations"] == record["vjps"] == (2 if estimate == "sample" else 1)


def scaled(denoiser, scaling=SCALING):
    denoiser.scaling = scaling
    return denoiser


@pytest.mark.parametrize("c", [0.0, 1e-3, 0.1])
def test_a_constant_estimate_ends_between_data_and_equation(c):
    """D ≡ θ at one level: the minimum of w(θ − x0)² + c m (θ − y)²/2σ is their weighted mean, m values per sample."""
    source, sigma, m = fields(scaling=Scaling.identity(2)), 0.5, 128
    w = (sigma**2 + 0.25) / (0.5 * sigma) ** 2
    pull = c * m / (2 * sigma)
    expected = (w * source.fields.mean() + pull * 3.0) / (w + pull)
    model = call(
        Constant((2, 8, 8)),
        Gap(3.0),
        source,
        weight=c,
        steps=45,
        batch=12,  # the whole set, in any order
        lr=0.5 / (w + pull),  # Newton's
        optimizer=descended,
        rate=Steady(),
        half_life=1e-9,
        p_mean=torch.log(torch.tensor(sigma, dtype=torch.float64)).item(),
        p_std=0.0,
    )
    assert_close(model.theta, expected, unit=1.0)


@pytest.mark.parametrize("network", [lambda: Tiny(scaling=SCALING), lambda: scaled(tiny_unet(dropout=0.3))])
@pytest.mark.parametrize("estimate", ["mean", "sample"])
def test_without_a_weight_it_is_pretraining_bit_for_bit(network, estimate):
    plain = pretrain(fields(), network(), steps=5, batch=3, lr=0.01, progress=False)
    assert equal(call(network(), weight=0.0, estimate=estimate), plain)
    assert not equal(call(network(), weight=1e-2, estimate=estimate), plain)


def test_noise_of_a_colour_is_that_of_pretraining():
    def network():
        return Coloured(Tiny(scaling=SCALING), Matern(0.2))

    plain = pretrain(fields(), network(), steps=5, batch=3, lr=0.01, progress=False)
    ours = call(network(), weight=0.0)
    assert isinstance(ours, Coloured)
    assert ours.colour == plain.colour
    assert len(ours.history) == 5
    assert equal(ours, plain)


def test_the_residual_is_one_of_physical_fields():
    """Fields in other units, and a residual that takes them back: the same training."""
    models = [
        call(
            Tiny(scaling=Scaling((0.0, 0.0), (k, k))),
            Gap(0.4 * k, 1 / k),
            Fields(k * normal(12, 2, 8, 8), Scaling((0, 0), (k, k))),
        )
        for k in (1.0, 4.0)
    ]
    assert equal(*models)


# What a run is.


def test_input_untouched_and_repeatable():
    network, before = Tiny(scaling=SCALING), Tiny(scaling=SCALING)
    a, b, c = call(network), call(network), call(network, seed=1)
    assert equal(network, before)
    assert equal(a, b)
    assert not equal(a, c)
    assert not a.training


@pytest.mark.parametrize("estimate", ["mean", "sample"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, estimate):
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    whole = call(scaled(tiny_unet(dropout=0.3)), estimate=estimate)

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
        call(scaled(tiny_unet(dropout=0.3)), source=Fragile(fields()), out=tmp_path, estimate=estimate)
    resumed = call(scaled(tiny_unet(dropout=0.3)), out=tmp_path, estimate=estimate)
    assert equal(resumed, whole)
    assert len(resumed.history) == 5
    with pytest.raises(InputError, match="holds a checkpoint of another run"):
        call(scaled(tiny_unet(dropout=0.3)), out=tmp_path, estimate=estimate, weight=2e-2)


def test_what_is_told_reaches_network_and_equation():
    """R = x − c with the c of each sample, D ≡ c: the residual is zero."""

    @attrs.frozen(eq=False)
    class Told:
        shape: tuple = (2, 8, 8)
        scaling: Scaling = Scaling.identity(2)

        def sample(self, count, seed=0, start=0):
            return normal(count, 2, 8, 8, seed=start)

        def condition(self, count, seed=0, start=0):
            return {"c": torch.arange(start, start + count, dtype=torch.float64)}

    class Says(Constant):
        def forward(self, x, sigma, condition=None):
            return (1 + self.theta) * condition["c"].reshape(-1, 1, 1, 1).expand(x.shape)

    @attrs.frozen
    class Away(ConditionalPDEReward):
        def residual(self, x, condition):
            return x - condition["c"].reshape(-1, 1, 1, 1)

    for estimate in ("mean", "sample"):
        history = call(Says((2, 8, 8)), Away(), Told(), estimate=estimate, steps=1).history
        assert history[0]["physics"] == history[0]["score"] == 0


# Refusals.


def test_a_residual_that_is_no_number_stops_before_the_update():
    network = Tiny(scaling=SCALING)
    with pytest.raises(
        NumericalError, match="PIDM, update 0: Broken\\(\\) gave a residual that is not finite: the estimate is finite"
    ):
        call(network, Broken())
    with torch.no_grad():
        network.three.bias[1] = float("nan")
    with pytest.raises(NumericalError, match=re.escape("channel(s) [1] of the estimate are not finite; weights untouched")):
        call(network)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"weight": -1.0}, "got weight=-1.0, estimate='mean'"),
        ({"weight": float("inf")}, "got weight=inf"),
        ({"reward": Quadratic()}, "a reward with a residual is needed: got Quadratic("),
        ({"source": Fields(normal(4, 2, 4, 4), SCALING)}, "shape (2, 8, 8) is needed: got shape (2, 4, 4)"),
    ],
)
def test_what_cannot_be_trained_is_refused(options, told):
    with pytest.raises(InputError, match=re.escape(told)):
        call(Tiny(scaling=SCALING), **options)


def test_a_guided_model_is_refused():
    with pytest.raises(InputError, match="training takes a plain denoiser: got DPS"):
        call(DPS(Tiny(scaling=SCALING), Gap()))
