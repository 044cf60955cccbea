import importlib
from functools import partial

import attrs
import pytest
import torch
from tolerances import assert_close
from torch import nn
from toys import Affine, Linear, Tiny, normal, scramble, tiny_unet

from pirf.data import Fields
from pirf.denoisers import LinearPath, Prediction
from pirf.denoisers.prediction import Clean
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.problems import poisson
from pirf.scaling import Scaling
from pirf.training import Constant, pretrain

module = importlib.import_module("pirf.training.matching")


def fields(count=12):
    return Fields(normal(count, 2, 8, 8), Scaling.identity(2))


def call(denoiser, source=None, **options):
    settings = {"steps": 5, "batch": 3, "lr": 0.01, "progress": False}
    return pretrain(source or fields(), denoiser, **(settings | options))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


def test_the_loss_is_the_weighted_denoising_error():
    """First update: mean of (σ² + s²)/(σs)² ‖D − x0‖² at the keyed levels, so that F's target has unit weight."""
    network = Tiny()
    history = call(network, seed=4, rate=Constant()).history
    noise = Noise(4).fold("pretrain", 0)[range(3)]
    x0 = fields().sample(3, seed=4)
    sigma = torch.exp(-1.2 + 1.2 * noise.fold("level").normal((), torch.float64))
    column = sigma.reshape(-1, 1, 1, 1)
    z = noise.fold("state").normal((2, 8, 8), torch.float64)
    with torch.no_grad():
        error = network(x0 + column * z, sigma) - x0
    weight = (column**2 + 0.25) / (0.5 * column) ** 2
    assert_close(history[0]["loss"], (weight * error**2).mean())


def test_the_known_optimum_of_a_linear_denoiser():
    """D = w x at one level σ on N(0, ¼) data: w = ¼/(¼ + σ²), to the standard error of the last batches."""

    @attrs.frozen
    class Gaussian:
        shape: tuple = (1, 64)
        scaling: Scaling = Scaling.identity(1)

        def sample(self, count, seed=0, start=0):
            return 0.5 * Noise(seed).fold("data")[range(start, start + count)].normal((1, 64), torch.float64)

    model = pretrain(
        Gaussian(),
        Linear((1, 64), 0.9),
        steps=200,
        batch=64,
        lr=0.02,
        optimizer=torch.optim.Adam,
        p_mean=-0.5,
        p_std=0.0,
        progress=False,
    )
    sigma2 = torch.exp(torch.tensor(-1.0)).item()
    optimum = 0.25 / (0.25 + sigma2)
    # The batch optimum Σ x x0/Σ x² has standard deviation √((1 − w)² ¼ + w² σ²)/(√n √(¼ + σ²)) = √(w(1−w)/n); 10 batches count.
    error = (optimum * (1 - optimum) / (64 * 64 * 10)) ** 0.5
    assert abs(float(model.weight.detach()) - optimum) < 4.5 * error


def test_units_are_the_scalings():
    """Training on c·f with the fitted scaling is training on f."""
    raw = normal(12, 2, 8, 8)
    models = []
    for c in (1.0, 4.0):
        scaling = Scaling((0.0, 0.0), (c, c))
        models.append(call(Tiny(scaling=scaling), Fields(c * raw, scaling)))
    assert equal(*models)


def test_input_untouched_and_repeatable():
    network, before = Tiny(), Tiny()
    a, b, c = call(network), call(network), call(network, seed=1)
    assert equal(network, before)
    assert equal(a, b)
    assert not equal(a, c)
    assert not equal(a, network)
    assert not a.training


@pytest.mark.parametrize("network", [Tiny, lambda: tiny_unet(dropout=0.3)])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, network):
    """Dropout included: its numbers are keyed by the update."""
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    whole = call(network())

    @attrs.frozen(eq=False, repr=False)
    class Fragile:
        inner: Fields
        shape: tuple = (2, 8, 8)
        scaling: Scaling = Scaling.identity(2)

        def sample(self, count, seed=0, start=0):
            if start == 9:
                raise KeyboardInterrupt
            return self.inner.sample(count, seed, start)

        def __repr__(self):
            return repr(self.inner)

    with pytest.raises(KeyboardInterrupt):
        call(network(), Fragile(fields()), out=tmp_path)
    resumed = call(network(), out=tmp_path)
    assert equal(resumed, whole)
    assert len(resumed.history) == 5


class Averaging(nn.Module):
    """A network of somebody else that keeps running means of its batches, killed at its evaluation number so and so."""

    def __init__(self, deadly=None):
        super().__init__()
        with torch.random.fork_rng(devices=()):
            self.left, self.norm, self.right = nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3, padding=1)
        scramble(self.double(), 0.3)
        self.calls, self.deadly = 0, deadly

    def forward(self, x, time):
        self.calls += 1
        if self.calls == self.deadly:
            raise KeyboardInterrupt
        return self.right(torch.tanh(self.norm(self.left(x))))


def test_running_means_of_batches_are_resumed_too(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))

    def network(**options):
        return Prediction(Averaging(**options), (2, 8, 8), LinearPath(), Clean(), Scaling.identity(2))

    whole = call(network())
    with pytest.raises(KeyboardInterrupt):
        call(network(deadly=4), out=tmp_path)
    resumed, again = call(network(), out=tmp_path), call(network(), out=tmp_path)
    for model in (resumed, again):
        assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), whole.state_dict().values(), strict=True))
    assert int(whole.network.norm.num_batches_tracked) == 5


def test_dropout_acts_while_training_only():
    plain, dropped = call(tiny_unet(dropout=0.0)), call(tiny_unet(dropout=0.3))
    assert not equal(plain, dropped)
    x, sigma = normal(1, 2, 8, 8), torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(dropped(x, sigma), dropped(x, sigma))


def test_only_what_is_tunable_trains():
    model = call(Affine((2, 8, 8)))
    assert float(model.theta.detach()) != 0


@pytest.mark.parametrize(
    ("denoiser", "message"),
    [
        (lambda: Tiny((2, 4, 4)), r"a source of fields with shape \(2, 4, 4\) is needed: got shape \(2, 8, 8\)"),
        (lambda: poisson(8).oracle(), "a denoiser with weights is needed: got GaussianDenoiser"),
    ],
)
def test_what_cannot_be_trained_is_refused(denoiser, message):
    with pytest.raises(InputError, match=message):
        pretrain(poisson(8), denoiser(), steps=1, progress=False)


def test_the_default_network_is_made_for_the_source():
    model = pretrain(fields(), steps=1, batch=2, progress=False)
    assert model.shape == (2, 8, 8)
    assert model.scaling == fields().scaling
    assert equal(model, pretrain(fields(), steps=1, batch=2, progress=False))
