"""What a card cannot hold is brought along, and is what was saved or is refused."""

import inspect
import json

import pytest
import torch
from torch import nn
from toys import normal, perturb, scramble

import pirf
from pirf.denoisers import Coloured, Prediction, Target
from pirf.denoisers.architecture import Supplied, build, describe
from pirf.denoisers.residual_gradient import NAME, ResidualGradient
from pirf.errors import InputError
from pirf.rewards import Poisson

SHAPE = (2, 6, 6)
SCALING = pirf.Scaling((0.1, 0.0), (2.0, 0.5))
PATHS = [
    pirf.LinearPath(reversed=True), pirf.CosinePath(), pirf.VariancePreserving(0.2, 15.0), pirf.VarianceExploding(),
    pirf.DiscreteVP.from_betas(torch.linspace(1e-4, 0.02, 20)),
]  # fmt: skip
TARGETS = [pirf.Clean(), pirf.Epsilon(), pirf.V(), pirf.Velocity()]


class Net(nn.Module):
    """A foreign network with a buffer, tied weights and an integer beside them."""

    def __init__(self, width=3, dtype=torch.float64):
        super().__init__()
        with torch.random.fork_rng(devices=()):
            self.first = nn.Conv2d(2, width, 3, padding=1, dtype=dtype)
            self.last = nn.Conv2d(width, 2, 1, dtype=dtype)
        self.again = self.first
        self.register_buffer("shift", torch.tensor(0.3, dtype=dtype))
        self.register_buffer("count", torch.tensor(2**40 + 1))

    def forward(self, x, t, label=0.0):
        return self.last(torch.tanh(self.first(x) + self.again(x))) + self.shift * t.reshape(-1, 1, 1, 1) + label


def net(seed=1, **options):
    return scramble(Net(**options), 0.4, seed)


def named(network, x, t, condition):
    return network(x, t, condition["label"].reshape(-1, 1, 1, 1))


def flow(path=pirf.LinearPath(), target=pirf.Velocity(), **options):
    return Prediction(net(), SHAPE, path, target, SCALING, **options)


def level(path):
    return torch.tensor(max(0.2, 1.5 * path.span[0]), dtype=torch.float64)


@pytest.mark.parametrize("path", PATHS, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("target", TARGETS, ids=repr)
def test_a_foreign_network_comes_back_bit_equal(path, target, tmp_path):
    model = flow(path, target, time_scale=1000.0)
    model.card = {"note": "mine"}
    fresh = net(seed=2)
    before = [p.clone() for p in fresh.parameters()]
    back = pirf.load(pirf.save(model, tmp_path / "model"), network=fresh)
    assert isinstance(back, Prediction)
    assert repr(back).splitlines()[0] == repr(model).splitlines()[0]
    assert (back.path, back.target, back.time_scale, back.scaling, back.shape) == (path, target, 1000.0, SCALING, SHAPE)
    assert back.card == model.card
    assert int(back.network.count) == 2**40 + 1
    assert back.network.first is back.network.again
    x = normal(2, *SHAPE)
    with torch.no_grad():
        assert torch.equal(back(x, level(path)), model(x, level(path)))
    assert all(torch.equal(a, b) for a, b in zip(before, fresh.parameters(), strict=True))  # the one given is left alone
    assert not back.network.training


def test_single_precision_networks_take_the_precision_that_was_saved(tmp_path):
    model, x = flow(), normal(2, *SHAPE)
    back = pirf.load(pirf.save(model, tmp_path / "model"), network=net(dtype=torch.float32))
    with torch.no_grad():
        assert torch.equal(back(x, level(model.path)), model(x, level(model.path)))


def test_a_fine_tuned_handover_of_predictions_comes_back(tmp_path):
    sampler = pirf.Heun(4)
    split = pirf.Handover.split(flow(), sampler.before_last(2))
    tuned = pirf.finetune(split, Poisson(pirf.Grid.square(6)), sampler=sampler, lr=1e-2, steps=2, batch=2, progress=False)
    folder = pirf.save(Coloured(tuned, pirf.Matern(0.2)), tmp_path / "model")
    back = pirf.load(folder, network=net(seed=5))
    assert not torch.equal(tuned.tuned.network.last.weight, tuned.base.network.last.weight)
    assert torch.equal(back.inner.tuned.network.last.weight, tuned.tuned.network.last.weight)
    assert torch.equal(back.inner.base.network.last.weight, tuned.base.network.last.weight)
    assert back.inner.levels == tuned.levels
    assert torch.equal(*(pirf.sample(m, sampler, 2) for m in (tuned, back.inner)))


def test_how_it_is_called_is_brought_along_as_well(tmp_path):
    model = flow(call=named)
    folder = pirf.save(model, tmp_path / "model")
    assert json.loads((folder / "card.json").read_text())["architecture"]["call"] == "named"
    with pytest.raises(InputError, match=r"call= is needed, which was named when the model was saved"):
        pirf.load(folder, network=net())
    back, told = pirf.load(folder, network=net(), call=named), {"label": normal(2)}
    with torch.no_grad():
        assert torch.equal(*(m(normal(2, *SHAPE), level(m.path), told) for m in (model, back)))


WRONG = {
    "no network": ({}, r"network= is needed, which was Net when the model was saved: got none"),
    "a class": ({"network": Net}, "a network is needed: got the class Net"),
    "a call too much": ({"network": Net(), "call": named}, "a model that takes call= is needed"),
    "a reward too much": ({"network": Net(), "reward": Poisson(pirf.Grid.square(6))}, "a model that takes reward= is needed"),
    "another width": (
        {"network": Net(4)},
        r"got Net, which differs in network.again.bias, .* and 1 more; each of them has its name and its shape",
    ),
    "other names": ({"network": nn.Identity()}, "got Identity, which differs in network.again.bias"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_is_refused_in_one_line(name, tmp_path):
    supplied, message = WRONG[name]
    folder = pirf.save(flow(), tmp_path / "model")
    with pytest.raises(InputError, match=message) as refusal:
        inspect.unwrap(pirf.load)(folder, **supplied)  # as callers without a type checker do
    assert "\n" not in str(refusal.value)


def test_what_a_model_of_the_package_has_no_use_for_is_refused(tmp_path):
    folder = pirf.save(pirf.UNet((2, 8, 8), channels=4), tmp_path / "model")
    for name, value in {"network": Net(), "call": named, "reward": Poisson(pirf.Grid.square(8))}.items():
        with pytest.raises(InputError, match=f"a model that takes {name}= is needed: got one that was saved without"):
            pirf.load(folder, **{name: value})


class Remembering(Net):
    def get_extra_state(self):
        return {"secret": 1}

    def set_extra_state(self, state):
        pass


def test_what_no_folder_can_hold_is_refused_before_anything_is_written(tmp_path):
    class Mine(Target):
        def clean(self, prediction, x_t, point):
            return prediction

    models = {
        "a Prediction with LinearPath and Mine": Prediction(net(), SHAPE, pirf.LinearPath(), Mine()),
        r"network\._extra_state, a dict": Prediction(Remembering(), SHAPE, pirf.LinearPath(), pirf.Clean()),
        "a model that is told the gradient of <function": ResidualGradient(network_told(), lambda x, condition: x.sum()),
        "GaussianDenoiser": pirf.GaussianDenoiser(SHAPE),
    }
    for message, model in models.items():
        with pytest.raises(InputError, match=message):
            pirf.save(model, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def network_told():
    model = pirf.UNet((2, 8, 8), channels=4, conditions={NAME: pirf.FieldInput(2)}).double().eval()
    return perturb(model, 0.02)


def test_a_network_that_is_told_a_residual_comes_back_with_its_reward(tmp_path):
    reward = Poisson(pirf.Grid.square(8))
    model = ResidualGradient(pirf.ClassifierFree(network_told(), 0.5), reward)
    folder = pirf.save(model, tmp_path / "model")
    back, x, sigma = pirf.load(folder, reward=Poisson(pirf.Grid.square(8))), normal(2, 2, 8, 8), torch.tensor(0.4).double()
    assert (back.score, back.inner.weight) == (reward, 0.5)
    with torch.no_grad():
        assert torch.equal(back(x, sigma), model(x, sigma))
    with pytest.raises(InputError, match=r"reward= is needed, which was Poisson\(grid=Grid\.square\(8\)"):
        pirf.load(folder)
    for other in (
        Poisson(pirf.Grid.square(8), scale=2.0),
        Poisson(pirf.Grid.square(16)),
        pirf.rewards.Helmholtz(pirf.Grid.square(8)),
    ):
        with pytest.raises(
            InputError, match=r"reward=Poisson\(.* is needed: got .*; the network has been trained on"
        ) as refusal:
            pirf.load(folder, reward=other)
        assert "\n" not in str(refusal.value)


def test_architectures_are_built_again_from_what_json_keeps():
    for model in (flow(), Coloured(pirf.UNet((2, 8, 8), channels=4), pirf.Matern(0.2)), pirf.NoiseMap(flow(), 4)):
        described = json.loads(json.dumps(describe(model)))
        supplied = Supplied(Net() if "Prediction" in json.dumps(described) else None)
        supplied.check(described)
        assert json.loads(json.dumps(describe(build(described, supplied)))) == described


@pytest.mark.parametrize("damage", ["path", "target", "shape", "time_scale", "kind"])
def test_damaged_cards_are_refused_in_one_line(damage, tmp_path):
    folder = pirf.save(flow(), tmp_path / "model")
    card = json.loads((folder / "card.json").read_text())
    for value in (None, "else", {"kind": "else"}, -1):
        card["architecture"][damage] = value
        (folder / "card.json").write_text(json.dumps(card))
        with pytest.raises(InputError, match="got") as refusal:
            pirf.load(folder, network=Net())
        assert "\n" not in str(refusal.value)
