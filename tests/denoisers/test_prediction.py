"""What a perfect network of any kind would answer on any path is, once wrapped, the oracle it was derived from."""

import inspect
import math
from types import SimpleNamespace

import pytest
import torch
from tolerances import assert_close
from torch import nn
from toys import Quadratic, normal

import pirf
from pirf.denoisers import GaussianDenoiser
from pirf.denoisers.paths import CosinePath, DiscreteVP, LinearPath, VarianceExploding, VariancePreserving
from pirf.denoisers.prediction import Clean, Epsilon, Prediction, V, Velocity
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Heun, Multistep
from pirf.scaling import Scaling
from pirf.schedules import EDM
from pirf.testing import check_denoiser

SHAPE = (2, 3, 3)
STEPS = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0)
LOGS = 0.5 * torch.log((1 - STEPS) / STEPS)


def tabulated(t):
    """ln σ between DDPM's steps."""
    before = t.detach().floor().clamp(0, 998).long()
    return torch.exp(LOGS[before] + (t - before) * (LOGS[before + 1] - LOGS[before]))


# Every path once more, by its two formulas in t: the networks of these tests know no other.
PATHS = {
    "flow": (LinearPath(), lambda t: 1 - t, lambda t: t),
    "flow reversed": (LinearPath(reversed=True), lambda t: t, lambda t: 1 - t),
    "cosine": (CosinePath(), lambda t: torch.cos(t * math.pi / 2), lambda t: torch.sin(t * math.pi / 2)),
    "vp": (
        VariancePreserving(0.1, 20.0),
        lambda t: torch.exp(-(0.05 * t + 4.975 * t**2)),
        lambda t: torch.sqrt(1 - torch.exp(-2 * (0.05 * t + 4.975 * t**2))),
    ),
    "ddpm": (
        DiscreteVP(STEPS.tolist()),
        lambda t: 1 / torch.sqrt(1 + tabulated(t) ** 2),
        lambda t: tabulated(t) / torch.sqrt(1 + tabulated(t) ** 2),
    ),
    "ve": (VarianceExploding(), lambda t: torch.ones_like(t), lambda t: t),
}
TARGETS = [Clean(), Epsilon(), V(), Velocity()]


def oracle(dtype=torch.float64):
    return GaussianDenoiser(SHAPE, 0.3, torch.linspace(0.05, 2.0, 18), dtype=dtype)


class Perfect(nn.Module):
    """The conditional expectation of what it predicts, given x_t: a formula in t, with a weight that may spoil it."""

    def __init__(self, name, target, dtype=torch.float64, scale=1.0):
        super().__init__()
        _, self.alpha, self.beta = PATHS[name]
        self.target, self.inner, self.scale = target, oracle(dtype), scale
        self.offset = nn.Parameter(torch.zeros((), dtype=dtype))

    def forward(self, x_t, time):
        assert time.shape == (len(x_t),)
        with torch.enable_grad():
            t = (time.detach() / self.scale).requires_grad_()
            alpha, beta = self.alpha(t), self.beta(t)
            slopes = [torch.autograd.grad(v.sum(), t)[0] if v.requires_grad else torch.zeros_like(t) for v in (alpha, beta)]
        a, b, da, db = (v.detach().reshape(-1, 1, 1, 1) for v in (alpha, beta, *slopes))
        x0 = self.inner(x_t / a, (b / a).flatten())
        z = (x_t - a * x0) / b
        return self.offset + {Clean: x0, Epsilon: z, V: a * z - b * x0, Velocity: da * x0 + db * z}[type(self.target)]


def wrapped(name, target, dtype=torch.float64, scale=1.0):
    network = Perfect(name, target, dtype, scale)
    return Prediction(network, SHAPE, PATHS[name][0], target, time_scale=scale)


every = pytest.mark.parametrize("target", TARGETS, ids=repr)
anywhere = pytest.mark.parametrize("name", PATHS)


@anywhere
@every
def test_it_is_the_oracle_at_every_level(name, target):
    denoiser, x = wrapped(name, target), normal(12, *SHAPE)
    low, high = denoiser.path.span
    levels = torch.logspace(math.log10(max(low, 2e-3) * 1.0001), math.log10(min(high, 80.0)), 12, dtype=torch.float64)
    noisy = x + levels.reshape(-1, 1, 1, 1) * normal(12, *SHAPE, seed=1)
    expected = oracle()(noisy, levels)
    assert_close(denoiser(noisy, levels), expected)
    for i in (0, 5, 11):
        assert_close(denoiser(noisy[i : i + 1], levels[i]), expected[i : i + 1])


@anywhere
@every
def test_chains_end_where_those_of_the_oracle_do(name, target):
    denoiser = wrapped(name, target)
    low, high = denoiser.path.span
    levels = EDM(max(low, 2e-3), min(high, 80.0))
    for sampler in (Heun(6, levels), Multistep(6, levels), Ancestral(6, levels)):
        ends = []
        for model in (denoiser, oracle()):
            chain = Chain(sampler, model, Noise(1)[range(3)])
            with torch.no_grad():
                ends.append(chain.run(chain.initial()).x)
        assert_close(*ends)


@anywhere
@every
def test_it_keeps_the_contract(name, target):
    check_denoiser(wrapped(name, target))


@pytest.mark.parametrize("scale", [1000.0, 0.5])
def test_the_network_counts_time_in_its_own_units(scale):
    x, sigma = normal(2, *SHAPE), torch.tensor(0.7, dtype=torch.float64)
    assert_close(wrapped("flow", Velocity(), scale=scale)(x, sigma), oracle()(x, sigma))


@anywhere
@every
def test_single_precision_is_kept_from_nearly_clean_to_nearly_pure_noise(name, target):
    """The conversion loses nothing, whatever the network is: against the same weights' arithmetic in double precision."""

    class Smooth(nn.Module):
        def __init__(self, dtype):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor(0.9, dtype=dtype))

        def forward(self, x_t, t):
            return torch.tanh(self.weight * x_t)

    path = PATHS[name][0]
    single, double = (Prediction(Smooth(d), SHAPE, path, target) for d in (torch.float32, torch.float64))
    for level in (0.002, 0.02, 0.5, 5.0, 80.0):
        level = max(level, path.span[0])
        x = normal(2, *SHAPE) + level * normal(2, *SHAPE, seed=1)
        found = single(x.float(), torch.tensor(level))
        assert found.dtype == torch.float32
        exact = double(x.float().double(), torch.tensor(level).double())
        # Where the path tells the time by its own slopes, x_t itself is only as near as float32 tells the level.
        assert_close(found, exact.float(), unit=max(1.0, float(exact.detach().abs().max())))


def test_an_errors_size_is_that_of_what_is_predicted():
    """A constant error of the network moves the estimate by σ (noise), β/(α² + β²) = β (v) and t (velocity)."""
    sigma, x = torch.tensor(4.0, dtype=torch.float64), normal(1, *SHAPE)
    for name, target, slope in (
        ("cosine", Epsilon(), 4.0),
        ("cosine", V(), 4 / math.sqrt(17)),
        ("flow", Velocity(), 0.8),
        ("flow reversed", Velocity(), -0.8),
        ("ve", Velocity(), 4.0),
        ("flow", Clean(), -1.0),
    ):
        denoiser = wrapped(name, target)
        change = torch.autograd.grad(denoiser(x, sigma).sum(), denoiser.network.offset)[0]
        assert_close(change, -slope * 18)


def test_gradients_reach_the_state_and_the_weights_and_training_moves_them():
    denoiser, sigma = wrapped("cosine", V()), torch.tensor(0.8, dtype=torch.float64)
    x = normal(2, *SHAPE).requires_grad_()
    (found,) = torch.autograd.grad(denoiser(x, sigma).square().sum(), x)
    (expected,) = torch.autograd.grad(oracle()(x, sigma).square().sum(), x)
    assert_close(found, expected)
    assert denoiser.tunable() == [denoiser.network.offset]
    for options in ({"steps": 3}, {"gradient": pirf.LastSteps(2), "steps": 3}):
        tuned = pirf.finetune(denoiser, Quadratic(1.0), sampler=Heun(4), batch=2, progress=False, **options)
        assert float(tuned.network.offset.detach()) != 0
        assert float(denoiser.network.offset.detach()) == 0


def test_its_name_says_what_it_is():
    flow, other = wrapped("flow", Velocity()), wrapped("flow reversed", Velocity())
    assert "path=LinearPath(reversed=False), target=Velocity(), time_scale=1" in repr(flow)
    assert repr(flow) != repr(other)  # the identity of a run that resumes


def test_networks_are_called_as_they_want():
    class Odd(nn.Module):
        def forward(self, hidden, *, timestep, label):
            return {"out": hidden * 0 + label.reshape(-1, 1, 1, 1) + timestep.reshape(-1, 1, 1, 1)}

    def call(network, x, t, condition):
        return network(x, timestep=t, label=condition["label"])["out"]

    denoiser = Prediction(Odd(), SHAPE, LinearPath(), Clean(), call=call)
    x, label = normal(2, *SHAPE), torch.tensor([1.0, 2.0], dtype=torch.float64)
    found = denoiser(x, torch.tensor(1.0, dtype=torch.float64), {"label": label})
    assert_close(found, 0.5 + label.reshape(-1, 1, 1, 1))


def test_an_answer_in_an_object_is_taken_out():
    class Wordy(nn.Module):
        def forward(self, x, t):
            return SimpleNamespace(sample=2 * x)

    x = normal(2, *SHAPE)
    assert_close(Prediction(Wordy(), SHAPE, VarianceExploding(), Clean())(x, torch.tensor(1.0).double()), 2 * x)


class Answer(nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x, t):
        return self.answer(x)


@pytest.mark.parametrize(
    ("answer", "got"),
    [(lambda x: x[:, :1], r"shape \(2, 1, 3, 3\)"), (lambda x: (x, x), "tuple"), (lambda x: None, "NoneType")],
)
def test_an_answer_that_is_no_prediction_is_named(answer, got):
    denoiser = Prediction(Answer(answer), SHAPE, LinearPath(), Velocity())
    with pytest.raises(InputError, match=rf"shape \(2, 2, 3, 3\) is needed from Answer: got {got}") as refusal:
        denoiser(normal(2, *SHAPE), torch.tensor(1.0))
    assert "\n" not in str(refusal.value)


def test_what_cannot_work_is_refused_in_one_line():
    network = Answer(lambda x: x)
    plain = Prediction(network, SHAPE, LinearPath(), Velocity())
    cases = {
        "positive time_scale": lambda: Prediction(network, SHAPE, LinearPath(), Velocity(), time_scale=0.0),
        r"2 channel\(s\)": lambda: Prediction(network, SHAPE, LinearPath(), Velocity(), Scaling.identity(3)),
        "a condition with label": lambda: plain(normal(2, *SHAPE), torch.tensor(1.0), {"label": torch.zeros(2)}),
    }
    for message, act in cases.items():
        with pytest.raises(InputError, match=message) as refusal:
            act()
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("parts", [(LinearPath, Velocity()), (LinearPath(), Velocity), (Velocity(), LinearPath())])
def test_classes_and_exchanged_parts_are_refused(parts):
    """As callers without a type checker give them."""
    with pytest.raises(InputError, match="a path and a target, instances of theirs, are needed"):
        inspect.unwrap(Prediction.__init__)(Prediction.__new__(Prediction), Answer(lambda x: x), SHAPE, *parts)


@pytest.mark.parametrize("name", ["vp", "ddpm"])
def test_levels_beyond_the_path_are_refused_and_those_of_the_hint_are_not(name):
    denoiser = wrapped(name, Epsilon())
    low, high = denoiser.path.span
    with pytest.raises(InputError, match=rf"noise levels from {low:.4g} to {high:.4g} are needed: got 500") as refusal:
        Chain(Heun(4, EDM(0.05, 500.0)), denoiser)
    hint = str(refusal.value).split("schedule=")[1].removesuffix(".")
    Chain(Heun(4, eval(hint)), denoiser)
    if low > 0.002:
        with pytest.raises(InputError, match=r"got 0\.002"):
            Chain(Heun(4), denoiser)
    else:
        Chain(Heun(4), denoiser)
