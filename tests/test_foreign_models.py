"""A flow-matching network in the adapter, and the same formula written by hand as a denoiser: what is done to both is equal."""

import inspect

import pytest
import torch
from tolerances import assert_close
from torch import nn
from toys import normal, scramble

import pirf
from pirf.denoisers import Denoiser, Prediction
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Chain

GRID = pirf.Grid.square(6)
SHAPE = (2, 6, 6)
SCALING = pirf.Scaling((0.1, 0.0), (2.0, 0.5))
FIELDS = pirf.Fields(2 * normal(32, *SHAPE), SCALING)
REWARD = pirf.rewards.Poisson(GRID)


class Flow(nn.Module):
    """u(x_t, t), of nobody's library; with dropout, as many have."""

    def __init__(self, dropout=0.0):
        super().__init__()
        with torch.random.fork_rng(devices=()):
            self.first, self.last = (nn.Conv2d(a, b, 3, padding=1).double() for a, b in ((3, 4), (4, 2)))
        self.dropout = nn.Dropout(dropout)
        scramble(self, 0.2)

    def forward(self, x, t):
        time = t.reshape(-1, 1, 1, 1).expand(len(x), 1, *x.shape[2:])
        return self.last(self.dropout(torch.tanh(self.first(torch.cat([x, time], 1)))))


class ByHand(Denoiser):
    """x_t = x/(1 + σ) at t = σ/(1 + σ) is (1 − t)x0 + tz, and u = z − x0: then x0 = x_t − tu."""

    def __init__(self, network):
        super().__init__(SHAPE, SCALING)
        self.network = network

    def forward(self, x, sigma, condition=None):
        time = (sigma / (1 + sigma)).expand(len(x))
        column = time.reshape(-1, 1, 1, 1)
        x_t = (1 - column) * x
        return x_t - column * self.network(x_t, time)


def both(dropout=0.0):
    flow = Prediction(Flow(dropout), SHAPE, pirf.LinearPath(), pirf.Velocity(), SCALING)
    return flow.eval(), ByHand(Flow(dropout)).eval()


def agree(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert_close(a, b)


STRATEGIES = [
    pirf.LastSteps(2), pirf.Full(), pirf.LowVariance(2), pirf.OneStep(2), pirf.RandomSteps(), pirf.Windows(2),
    pirf.PolicyGradient(), pirf.KLPolicyGradient(), pirf.AdjointMatching(),
]  # fmt: skip


@pytest.mark.parametrize("gradient", STRATEGIES, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("regularizer", [None, pirf.WeightAnchor(1e-3), pirf.Distillation(0.1)], ids=repr)
def test_fine_tuning_is_that_of_the_denoiser_it_stands_for(gradient, regularizer):
    sampler = pirf.Ancestral(4)
    tuned = [
        pirf.finetune(model, REWARD, sampler=sampler, gradient=gradient, regularizer=regularizer, steps=2, batch=3,
                      optimizer=torch.optim.SGD, lr=1e-5, progress=False)
        for model in both()
    ]  # fmt: skip
    agree(*tuned)
    assert not torch.equal(tuned[0].network.last.weight, Flow().last.weight)


@pytest.mark.parametrize("sampler", [pirf.Euler(5), pirf.Heun(5), pirf.Multistep(5)], ids=repr)
def test_sampling_is_too(sampler):
    assert_close(*(pirf.sample(model, sampler, 3) for model in both()))


def test_layer_truncation_is_refused_in_one_line():
    flow, _ = both()
    with pytest.raises(InputError, match="layer truncation needs a denoiser with named stages: got Prediction") as refusal:
        pirf.finetune(flow, REWARD, sampler=pirf.Heun(4), gradient=pirf.LayerTruncated(pirf.LastSteps(1)), steps=1)
    assert "\n" not in str(refusal.value)


def test_a_handover_leaves_the_prefix_to_the_base_and_tunes_the_tail():
    sampler, tuned = pirf.Heun(5), []
    for model in both():
        split = pirf.Handover.split(model, sampler.before_last(2), channels=(1,))
        tuned.append(pirf.finetune(split, REWARD, sampler=sampler, gradient=pirf.LastSteps(2), steps=3, batch=2, pool=4,
                                   optimizer=torch.optim.SGD, lr=1e-5, progress=False))  # fmt: skip
    agree(*tuned)
    flow, _ = both()
    agree(tuned[0].base, flow)
    assert not torch.equal(tuned[0].tuned.network.last.weight, flow.network.last.weight)
    with torch.no_grad():
        chains = [Chain(sampler, model, Noise(1)[range(2)]) for model in (tuned[0], flow)]
        prefixes = [chain.run(chain.initial(), 0, 3).x for chain in chains]
        assert torch.equal(*prefixes)
        ends = [chain.run(chain.initial()).x for chain in chains]
    assert not torch.equal(*ends)


@pytest.mark.parametrize("guidance", [pirf.PseudoinverseGuidance, pirf.DPS], ids=lambda g: g.__name__)
def test_measurements_are_met_alike(guidance):
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[1, ::2, ::2] = True
    seen = pirf.Observation(mask, 0.3 * normal(*SHAPE), 0.1)
    fields = [pirf.sample(guidance(model, seen), pirf.Heun(5), 3) for model in both()]
    assert_close(*fields)
    posteriors = [pirf.reconstruct(model, seen, sampler=pirf.Heun(5), samples=3).fields for model in both()]
    assert_close(*posteriors)
    flow, _ = both()
    misfit = [seen.residuals(x).square().mean() for x in (posteriors[0], pirf.sample(flow, pirf.Heun(5), 3))]
    assert float(misfit[0]) < 0.5 * float(misfit[1])


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_training_on_data_is_that_of_the_denoiser_it_stands_for(dropout):
    models = both(dropout)
    trained = [
        pirf.pretrain(FIELDS, model, steps=4, batch=4, optimizer=torch.optim.Adam, lr=1e-2, progress=False) for model in models
    ]
    agree(*trained)
    assert not trained[0].training
    assert isinstance(trained[0], Prediction)
    assert trained[0].path == pirf.LinearPath()
    assert not torch.equal(trained[0].network.last.weight, models[0].network.last.weight)


def test_a_constant_velocity_is_learned_to_the_closed_form():
    """All data is one field f, whose velocity is (x_t − f)/t; the network learns f."""

    class Linear(nn.Module):
        def __init__(self):
            super().__init__()
            self.target = nn.Parameter(torch.zeros(SHAPE, dtype=torch.float64))

        def forward(self, x, t):
            return (x - self.target) / t.reshape(-1, 1, 1, 1)

    field = normal(1, *SHAPE, seed=4)
    model = Prediction(Linear(), SHAPE, pirf.LinearPath(), pirf.Velocity())
    source = pirf.Fields(field, pirf.Scaling.identity(2))
    trained = pirf.pretrain(source, model, steps=200, batch=4, optimizer=torch.optim.Adam, lr=0.2, p_std=0.3, progress=False)
    assert float((trained.network.target.detach() - field[0]).abs().max()) < 1e-2


@pytest.mark.parametrize("estimate", ["mean", "sample"])
def test_physics_informed_training_takes_it(estimate):
    options = {"sampler": pirf.Heun(4), "weight": 1e-3, "estimate": estimate, "steps": 2, "batch": 2, "lr": 1e-4}
    trained = [pirf.pidm(m, REWARD, source=FIELDS, optimizer=torch.optim.SGD, progress=False, **options) for m in both()]
    agree(*trained)


def test_every_public_path_and_target_can_be_saved():
    from pirf.denoisers import architecture, paths, prediction

    for room, kind, known in ((paths, paths.Path, architecture._PATHS), (prediction, prediction.Target, architecture._TARGETS)):
        public = {
            getattr(room, n) for n in room.__all__ if inspect.isclass(getattr(room, n)) and issubclass(getattr(room, n), kind)
        }
        assert {c for c in public if not inspect.isabstract(c)} == set(known.values())
