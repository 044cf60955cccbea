import importlib
from functools import partial

import attrs
import pytest
import torch
from tolerances import assert_close
from torch import nn
from toys import Quadratic, normal, perturb, tiny_unet

from pirf.backprop import KLPolicyGradient, LastSteps, PolicyGradient, StochasticControl
from pirf.data import Conditional, Fields
from pirf.denoisers import Denoiser, Handover, ScalarInput, UNet, conditioned, inputs_for
from pirf.errors import InputError
from pirf.grids import Grid
from pirf.inference import sample
from pirf.noise import Noise
from pirf.operators import Dirichlet, laplacian
from pirf.problems import poisson
from pirf.regularizers import Distillation
from pirf.rewards import ConditionalPDEReward, Given, Reward
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.scaling import Scaling
from pirf.schedules import EDM
from pirf.training import Constant, Muon, finetune, pretrain
from pirf.training.conditions import Telling
from pirf.training.prefixes import Prefixes

module = importlib.import_module("pirf.training.finetune")
SAMPLER = Heun(steps=4, schedule=EDM(0.5, 10.0))


def label(noise):
    return {"c": 1 + noise.uniform(torch.float64)}


class Proportional(Denoiser):
    """D ≡ θ c: every chain ends in θ c."""

    def __init__(self, shape=(1, 4)):
        super().__init__(shape)
        self.theta = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        told = x.new_zeros(len(x)) if condition is None else condition["c"]
        return (self.theta * told).reshape(-1, *[1] * (x.ndim - 1)).expand(x.shape)


@attrs.frozen
class Multiple(Reward):
    """−½ Σ (x − y c)²: what is best depends on the condition."""

    y: float = 2.0

    def __call__(self, x, condition=None):
        target = self.y * condition["c"].reshape(-1, *[1] * (x.ndim - 1))
        return -0.5 * ((x - target) ** 2).flatten(1).sum(1)


def network(seed=5):
    model = conditioned(tiny_unet((1, 8, 8)), {"c": ScalarInput(1.5, 0.3)})
    perturb(model.told, 0.5, seed)
    return model


def call(denoiser, reward=Multiple(), **options):
    settings = {"sampler": SAMPLER, "steps": 5, "batch": 2, "pool": 6, "lr": 0.02, "progress": False, "condition": label}
    return finetune(denoiser, reward, **(settings | options))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


# Who is told what.


def test_a_sample_is_told_the_same_wherever_it_travels():
    asked = []

    def function(noise):
        asked.extend(noise.samples)
        return label(noise)

    telling, address = Telling(function, most=100), Noise(3).fold("condition")
    whole = label(address[range(20)])["c"]
    for samples in (range(4, 9), [17, 2, 5], range(20), [0]):
        assert torch.equal(telling(address[samples])["c"], whole[list(samples)])
    assert sorted(asked) == list(range(20))
    assert torch.equal(telling(Noise(4).fold("condition")[[2]])["c"], label(Noise(4).fold("condition")[[2]])["c"])


def test_it_forgets_what_was_asked_for_first():
    telling, address = Telling(label, most=4), Noise(0).fold("condition")
    telling(address[range(4)])
    assert torch.equal(telling(address[range(2, 12)])["c"], label(address[range(2, 12)])["c"])
    assert sorted(i for _, i in telling._known) == [8, 9, 10, 11]


def test_a_source_is_asked_by_index():
    source = Fields(normal(7, 1, 2, 2), conditions={"c": torch.arange(7.0), "a": normal(7, 1, 2, 2)})
    told = Telling(source)(Noise(3)[[9, 4, 5]])
    for name, value in source.condition(10, seed=3).items():
        assert torch.equal(told[name], value[[9, 4, 5]])


def test_a_chain_tells_its_samples_apart_under_any_stream():
    chain = Chain(SAMPLER, Proportional(), Noise(3), label)
    for noise in (Noise(3)[[5, 1]], Noise(3).fold("update", 7)[[5, 1]]):
        assert torch.equal(chain.keyed(noise).condition["c"], label(Noise(3).fold("condition")[[5, 1]])["c"])
    ended = Chain(SAMPLER, perturb(Proportional()), Noise(3)[range(6)], label)
    x = ended.run(ended.initial()).x
    assert_close(x, (ended.denoiser.theta * ended.condition["c"])[:, None, None].expand(6, 1, 4).detach())


def test_the_condition_is_in_the_dtype_of_the_network():
    chain = Chain(
        SAMPLER,
        tiny_unet(dtype=torch.float32),
        condition={"c": torch.ones(1, dtype=torch.float64), "i": torch.ones(1, dtype=int)},
    )
    assert chain.condition["c"].dtype == torch.float32
    assert chain.condition["i"].dtype == torch.int64


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(InputError, match=r"a source with conditions, or a function .* got dict"):
        Telling({"c": torch.zeros(2)})


@pytest.mark.parametrize(
    "bad",
    [
        lambda noise: {"c": torch.zeros(7)},
        lambda noise: {"c": torch.zeros(())},
        lambda noise: {"c": 3.0},
        lambda noise: {},
    ],
)
def test_other_numbers_of_entries_are_refused(bad):
    with pytest.raises(InputError, match=r"conditions with one entry for each of 2 sample\(s\) are needed"):
        call(Proportional(), condition=bad)


# Fine-tuning.


@pytest.mark.parametrize("gradient", [LastSteps(1), LastSteps(3)])
def test_network_and_reward_are_told_the_same(gradient):
    """D ≡ θ c and −½Σ(x − 2c)²: the optimum is θ = 2 for all conditions together, and for no other pairing of them."""
    tuned = call(Proportional(), gradient=gradient, steps=200, lr=0.05)
    assert abs(float(tuned.theta.detach()) / 2 - 1) < 1e-3


def test_distillation_is_told_as_well():
    """½d(θ − 2)²c² + λ θ²c² for the d = 4 components of a sample: θ = 2d/(d + 2λ), whatever c is."""
    tuned = call(Proportional(), gradient=LastSteps(1), steps=200, lr=0.05, regularizer=Distillation(2.0))
    assert abs(float(tuned.theta.detach()) - 1.0) < 1e-3


@pytest.mark.parametrize("kind", [Heun, Multistep, Ancestral])
def test_stored_prefixes_are_those_of_their_conditions(kind):
    sampler = kind(steps=6)
    split = Handover.split(network(), sampler.before_last(2))
    chain = Chain(sampler, split, Noise(7), Telling(label))
    pool = Noise(7).fold("pool")
    stored = Prefixes.compute(chain, 4, pool[range(6)], batch=4, progress=False)
    perturb(split.tuned)
    for samples in ([4, 1], [0, 5, 3]):
        served = attrs.evolve(chain, prefixes=stored).keyed(Noise(7).fold("update", 3)[samples]).depart(4)[1]
        assert_close(served.x, torch.cat([chain.keyed(pool[[i]]).depart(4)[1].x for i in samples]).detach())
    other = attrs.evolve(chain, condition={"c": torch.full((1,), 9.0)}).keyed(pool[[0]]).depart(4)[1].x
    assert float((stored.state.x[[0]] - other).abs().max()) > 1e-3


def test_replayed_prefixes_are_those_of_their_conditions():
    """Of two updates on one prefix the first is the same as without replay."""
    scores = [call(network(), gradient=LastSteps(2), steps=2, replay=r).history[0]["loss"] for r in (1, 2)]
    assert_close(scores[1], scores[0])


class Interrupt(Reward):
    """The multiple, until its calls are used up."""

    left = 10**9

    def __call__(self, x, condition=None):
        Interrupt.left -= 1
        if Interrupt.left < 0:
            raise KeyboardInterrupt
        return Multiple()(x, condition)

    def __repr__(self):
        return "Interrupt()"


@pytest.mark.parametrize("handover", [False, True])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, handover):
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    model = Handover.split(network(), SAMPLER.before_last(2)) if handover else network()
    call_it = partial(call, model, Interrupt(), gradient=LastSteps(2))
    whole = call_it()
    monkeypatch.setattr(Interrupt, "left", 3)
    with pytest.raises(KeyboardInterrupt):
        call_it(out=tmp_path)
    monkeypatch.setattr(Interrupt, "left", 10**9)
    assert equal(call_it(out=tmp_path, condition=lambda noise: label(noise)), whole)  # another function that says the same
    with pytest.raises(InputError, match="holds a checkpoint of another run"):
        call_it(out=tmp_path, condition=lambda noise: {"c": 1 + noise.fold("other").uniform()})


# Strategies that use trajectories more than once.


@pytest.mark.parametrize("strategy", [PolicyGradient(epochs=2), KLPolicyGradient(epochs=2), StochasticControl(epochs=2)])
def test_trajectories_keep_their_conditions(strategy):
    """While the weights are the same, the second epoch's gradient is the first's, whatever the next samples are told."""
    model = network()
    chain = Chain(Ancestral(steps=4), model, Noise(0), Telling(label))
    losses, state = [], strategy.init(chain, Multiple(), Noise(0).fold("init"))
    for i in range(2):
        noise = Noise(0).fold("update", i)[range(4 * i, 4 * i + 4)]
        losses.append(strategy.loss(chain.keyed(noise), Multiple(), noise, state))
    gradients = [torch.autograd.grad(loss.value, list(model.parameters())) for loss in losses]
    assert all(map(torch.equal, *gradients))
    assert torch.equal(losses[1].condition["c"], chain.keyed(Noise(0)[range(4)]).condition["c"])


def test_a_group_is_told_the_same():
    noise = Noise(0)[range(6)]
    chain = Chain(Ancestral(steps=4), network(), noise, label)
    strategy = PolicyGradient(group=3)
    loss = strategy.loss(chain, Multiple(), noise, strategy.init(chain, Multiple(), noise))
    assert torch.equal(loss.condition["c"], chain.condition["c"][[0, 0, 0, 3, 3, 3]])


def test_without_a_condition_nothing_is_told():
    chain = Chain(SAMPLER, tiny_unet())
    assert chain.condition is None
    assert LastSteps(1).loss(chain, Quadratic(), Noise(0)[range(2)]).condition is None


# Pre-training.


class Regression(Denoiser):
    """D = a x + b c + d."""

    def __init__(self):
        super().__init__((1, 64))
        self.weights = nn.Parameter(torch.tensor([0.9, 0.0, 0.5], dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        a, b, d = self.weights
        return a * x + b * condition["c"][:, None, None] + d


def test_what_is_learned_is_the_conditional_expectation():
    """x₀ | c ~ N(c, s²), one level σ: E[x₀ | x, c] = c + w (x − c), w = s²/(s² + σ²)."""
    s2, sigma2 = 0.25, torch.exp(torch.tensor(-1.0)).item()

    @attrs.frozen
    class Pairs:
        shape: tuple = (1, 64)
        scaling: Scaling = Scaling.identity(1)

        def condition(self, count, seed=0, start=0):
            return {"c": Noise(seed).fold("c")[range(start, start + count)].normal((), torch.float64)}

        def sample(self, count, seed=0, start=0):
            c = self.condition(count, seed, start)["c"][:, None, None]
            return c + s2**0.5 * Noise(seed).fold("x")[range(start, start + count)].normal((1, 64), torch.float64)

    options = {"optimizer": torch.optim.Adam, "p_mean": -0.5, "p_std": 0.0, "progress": False}
    model = pretrain(Pairs(), Regression(), steps=200, batch=64, lr=0.02, **options)
    w = s2 / (s2 + sigma2)
    # As for the unconditional optimum: a regression on so many numbers of residual variance w σ², and regressors of about 1.
    error = (w * sigma2 / (64 * 64 * 10 * min(s2 + sigma2, 1.0))) ** 0.5
    for found, expected in zip(model.weights.tolist(), (w, 1 - w, 0.0), strict=True):
        assert abs(found - expected) < 4.5 * error


def test_the_default_network_is_told_what_its_source_knows():
    source = Fields(normal(12, 1, 8, 8), Scaling.identity(1), {"c": 2 + normal(12)})
    model = pretrain(source, steps=2, batch=3, progress=False)
    assert isinstance(model, UNet)
    assert set(model.told.inputs) == {"c"}
    assert abs(model.told.inputs["c"].shift - 2) < 4.5 * 12**-0.5
    assert equal(model, pretrain(source, steps=2, batch=3, progress=False))


def test_dropped_conditions_are_keyed_by_the_update():
    source = Fields(normal(12, 1, 8, 8), Scaling.identity(1), {"c": normal(12)})
    options = {"steps": 3, "batch": 4, "lr": 0.01, "rate": Constant(), "progress": False}
    first, again, never = (
        pretrain(source, conditioned(tiny_unet((1, 8, 8)), {"c": ScalarInput()}, d), **options) for d in (0.5, 0.5, 0)
    )
    assert equal(first, again)
    assert not equal(first, never)


# A reward that reads what the network is told.


@attrs.frozen
class Screened(ConditionalPDEReward):
    """Δu − κ²u = a with κ of each sample."""

    grid: Grid

    def residual(self, x, condition):
        kappa = condition["kappa"].reshape(-1, 1, 1, 1)
        return laplacian(x[:, 1:], self.grid, Dirichlet(0.0)) - kappa**2 * x[:, 1:] - x[:, :1]


def screening(noise):
    return {"kappa": 10 * noise.uniform()}


def test_it_learns_the_equation_that_it_is_told():
    """A tail that solves for u, on the reward alone: the residual is that of the told κ, not of another sample's."""
    problem, sampler = poisson(4), Euler(steps=4)
    reward, told = Screened(problem.grid), {"kappa": ScalarInput(5.0, 10 / 12**0.5)}
    solver = UNet(problem.shape, problem.scaling, channels=8, attention=(), conditions=told).double()
    tail = Handover(problem.oracle(), solver, sampler.before_last(1), channels=(1,), reads=(0,), floor=2.0)
    options = {"sampler": sampler, "optimizer": Muon, "lr": 0.03, "steps": 80, "batch": 16, "pool": 64, "progress": False}
    tuned = finetune(tail, Given(reward, (0,)), condition=screening, **options)
    condition = screening(Noise(9)[range(64)])
    x = sample(tuned, sampler, 64, seed=5, condition=condition)
    right = -reward(x, condition).mean()
    wrong = -reward(x, {"kappa": condition["kappa"].roll(1)}).mean()
    assert float(right) < float(wrong) / 3
    with pytest.raises(InputError, match="Screened needs a condition"):
        finetune(tail, reward, **options)


def test_channels_that_are_told_determine_what_is_drawn():
    """Trained on pairs (u, a), a model told a draws the u that belongs to it and to no other sample's a."""
    problem, sampler = poisson(4), Euler(steps=4)
    source = Conditional(problem, {"a": problem.given})
    network = UNet(source.shape, source.scaling, channels=8, attention=(), conditions=inputs_for(source.condition(64)))
    model = pretrain(source, network, steps=150, batch=16, lr=0.02, progress=False)
    told, truth = source.condition(64, seed=9), source.sample(64, seed=9).float()
    x = sample(model, sampler, 64, condition=told)
    right, wrong = ((x - u).square().mean() for u in (truth, truth.roll(1, 0)))
    assert float(right) < float(wrong) / 4


@pytest.mark.parametrize("condition", [None, label])
def test_mapped_files_hold_what_memory_does(tmp_path, condition):
    """Also where nothing is told, and what is told beside the embedding has no columns."""
    split = Handover.split(network(), SAMPLER.before_last(2), channels=(0,), stages=1)
    chain = Chain(SAMPLER, split, Noise(7), condition)
    stored = [Prefixes.compute(chain, 2, Noise(7)[range(5)], batch=3, folder=f, progress=False) for f in (None, tmp_path)]
    assert len(stored[0].state.known) == len(stored[1].state.known) > 3
    assert all(map(torch.equal, stored[0].state.known, stored[1].state.known))
    perturb(split.tuned.out)
    served, plain = attrs.evolve(chain, prefixes=stored[1]).keyed(Noise(7)[[3, 1]]), chain.keyed(Noise(7)[[3, 1]])
    assert_close(served.run(served.depart(2)[1], 2).x, plain.run(plain.initial()).x.detach())
