"""Every public sampler × reward × gradient strategy × regularizer, each through one loss and its gradient."""

import inspect
import itertools
import math

import attrs
import pytest
import torch
from toys import Tiny, perturb

import pirf.backprop
import pirf.regularizers
import pirf.rewards
import pirf.samplers
from pirf.backprop import (
    AdjointMatching,
    ContinuousTime,
    Fitted,
    Full,
    GradientStrategy,
    KLPolicyGradient,
    LastSteps,
    LayerTruncated,
    LowVariance,
    NoiseHypernetwork,
    OneStep,
    PolicyGradient,
    RandomSteps,
    RewardDirectedQ,
    StochasticControl,
    ValueGradient,
    Windows,
)
from pirf.denoisers import Handover, NoiseMap
from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.regularizers import Distillation, Regularizer, Together, WeightAnchor
from pirf.rewards import (
    BlackBox,
    Burgers,
    Darcy,
    Decades,
    Elasticity,
    Given,
    GrayScott,
    Heat,
    Helmholtz,
    Kolmogorov,
    KuramotoSivashinsky,
    Observation,
    Poisson,
    Reward,
    Scaled,
    Sum,
    Wave,
)
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, Sampler

GRID = Grid.square(8)
SAMPLERS = [Euler(steps=3), Heun(steps=3), Multistep(steps=3), Ancestral(steps=3)]
SOLUTION = Poisson(GRID, "solution", 0.05)
TIME_AND_CIRCLE = Grid((Axis(8, 1.0, "nodes"), Axis(8, 1.0, "periodic")))
TIME_AND_STRING = Grid((Axis(8, 1.0, "nodes"), Axis(8, 1.0, "cells")))


def largest(x):
    """A score without a gradient."""
    return -x.abs().flatten(1).amax(1).numpy()


@attrs.frozen
class OnChannel(Reward):
    """A reward of one channel, on fields with more."""

    reward: Reward
    channel: int = 0

    def __call__(self, x, condition=None):
        return self.reward(x[:, self.channel : self.channel + 1])


SEEN = Observation(torch.ones(2, 8, 8, dtype=torch.bool), torch.zeros(2, 8, 8), 10.0)
REWARDS = [
    Poisson(GRID), SOLUTION, Darcy(GRID), Given(Poisson(GRID), (0,)),
    Sum((Scaled(Decades(Poisson(GRID), 0.1), 1e-3), Helmholtz(GRID, 1.0, "solution", 0.05), SEEN)),
    OnChannel(Burgers(TIME_AND_CIRCLE)), Heat(GRID), Wave(TIME_AND_STRING),
]  # fmt: skip
TORUS = Grid.square(14, 2 * math.pi, "periodic")
OTHERS = [
    (3, Kolmogorov(TORUS, 50.0)), (3, Kolmogorov(TORUS, 50.0, "map", 1)), (3, Elasticity(TORUS)),
    (3, Elasticity(TORUS, norm="solution")), (4, GrayScott(GRID, substeps=2)),
    (1, KuramotoSivashinsky(TIME_AND_CIRCLE, 2)),
]  # fmt: skip
BLACK = [BlackBox(largest), Scaled(Given(BlackBox(largest), (0,)), 2.0), Sum((Poisson(GRID), BlackBox(largest)))]
STRATEGIES = [
    Full(), Full(segments=2), LastSteps(1), LastSteps(2), LayerTruncated(LastSteps(2)), LowVariance(1), RandomSteps(),
    OneStep(1), LayerTruncated(Full(segments=2), stages=2), LayerTruncated(LowVariance(1), state_path="preconditioner"),
    Windows(1),
]  # fmt: skip
SMALL = {"pretrain": 1, "passes": 1, "batch": 2, "width": 2}
DRAWN = [
    AdjointMatching(), LayerTruncated(AdjointMatching()), PolicyGradient(), KLPolicyGradient(),
    LayerTruncated(PolicyGradient()),
    ContinuousTime(value=Fitted(**SMALL)), ContinuousTime(form="gradient", value=Fitted(**SMALL)),
    ValueGradient(Fitted(structured=False, **SMALL)), StochasticControl(1e6, Fitted(structured=False, **SMALL)),
    RewardDirectedQ(value=Fitted(structured=False, **SMALL)), Windows(1, inner=PolicyGradient()),
]  # fmt: skip
MAPPING = [NoiseHypernetwork(), NoiseHypernetwork(0.5, segments=2)]  # on a map of the noise, with an ODE sampler
REGULARIZERS = [
    None, WeightAnchor(), WeightAnchor(1.0, "subgradient"), WeightAnchor(1.0, "squared"), Distillation(),
    Together((WeightAnchor(1.0, "squared"), Distillation())),
]  # fmt: skip


def public(room, kind):
    """The concrete public classes of a room."""
    found = {getattr(room, name) for name in room.__all__ if inspect.isclass(getattr(room, name))}
    return {c for c in found if issubclass(c, kind) and not inspect.isabstract(c) and c is not kind}


def used(values):
    """The classes of these values and of what they wrap."""
    seen = set()
    for value in values:
        if isinstance(value, (Sampler, Reward, GradientStrategy, Regularizer)):
            seen.add(type(value))
            for inner in (getattr(value, name, None) for name in ("inner", "reward", "rewards", "parts")):
                seen |= used(inner if isinstance(inner, tuple) else (inner,))
    return seen


@pytest.mark.parametrize(("room", "kind", "values"), [
    (pirf.samplers, Sampler, SAMPLERS), (pirf.rewards, Reward, REWARDS + BLACK + [reward for _, reward in OTHERS]),
    (pirf.backprop, GradientStrategy, [*STRATEGIES, *DRAWN, *MAPPING]), (pirf.regularizers, Regularizer, REGULARIZERS),
])  # fmt: skip
def test_nothing_public_is_left_out(room, kind, values):
    assert public(room, kind) <= used(values)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("handover", [False, True], ids=["plain", "handover"])
def test_everything_meets_everything(sampler, handover):
    """One loss each: a gradient on exactly the trainable tensors, none of them zero."""
    strategies = [*STRATEGIES, *DRAWN] if isinstance(sampler, Ancestral) else STRATEGIES  # DRAWN: on stochastic samplers alone
    for reward, strategy, regularizer in itertools.product(REWARDS, strategies, REGULARIZERS):
        base = Handover.split(Tiny(width=2), sampler.before_last(2)) if handover else Tiny(width=2)
        model = Handover(base.base, perturb(Tiny(width=2)), base.below) if handover else perturb(Tiny(width=2))
        trained = strategy.trainable(model)
        ours = {id(p) for p in trained}
        for p in model.parameters():
            p.requires_grad_(id(p) in ours)
        state = strategy.init(Chain(sampler, base), reward, Noise(0))
        loss = strategy.loss(Chain(sampler, model, Noise(0)), reward, Noise(1)[range(2)], state)
        value = loss.value
        if regularizer is not None:
            value = value + regularizer.penalty(model, base, loss.states)
        value.backward()
        what = f"{sampler!r} {reward!r} {strategy!r} {regularizer!r}"
        for name, p in model.named_parameters():
            assert (p.grad is not None) == (id(p) in ours), f"{name}: {what}"
            assert p.grad is None or float(p.grad.abs().max()) > 0, f"{name}: {what}"


@pytest.mark.parametrize("sampler", SAMPLERS[:3], ids=lambda s: type(s).__name__)
def test_a_map_of_the_noise_meets_every_reward_and_regularizer(sampler):
    for reward, strategy, regularizer in itertools.product(REWARDS, MAPPING, REGULARIZERS):
        base, model = NoiseMap(Tiny(width=2), 2), perturb(NoiseMap(Tiny(width=2), 2))
        trained = strategy.trainable(model.requires_grad_(False))
        for p in trained:
            p.requires_grad_(True)
        loss = strategy.loss(Chain(sampler, model, Noise(0)), reward, Noise(1)[range(2)])
        value = loss.value + (0 if regularizer is None else regularizer.penalty(model, base, loss.states))
        gradients = torch.autograd.grad(value, trained)
        assert all(float(g.abs().max()) > 0 for g in gradients), f"{reward!r} {strategy!r} {regularizer!r}"


@pytest.mark.parametrize("reward", BLACK, ids=lambda value: repr(value)[:40])
def test_strategies_that_differentiate_the_reward_refuse_one_without_a_gradient(reward):
    evaluated = []
    for strategy in (s for s in (*STRATEGIES, *DRAWN, *MAPPING) if s.needs_gradient):
        model = Tiny(width=2)
        model.register_forward_pre_hook(lambda *_: evaluated.append(True))
        chain = Chain(SAMPLERS[1], NoiseMap(model)) if strategy in MAPPING else Chain(SAMPLERS[3], model)
        with pytest.raises(InputError, match=r"needs a differentiable reward: got .*BlackBox\(function="):
            strategy.loss(chain, reward, Noise(1))
    assert not evaluated


@pytest.mark.parametrize("strategy", [s for s in DRAWN if not s.needs_gradient], ids=lambda s: type(s).__name__)
@pytest.mark.parametrize("reward", BLACK, ids=lambda value: repr(value)[:40])
def test_the_others_learn_from_its_scores(reward, strategy):
    model = perturb(Tiny(width=2))
    chain = Chain(SAMPLERS[3], model)
    loss = strategy.loss(chain, reward, Noise(1)[range(4)], strategy.init(Chain(SAMPLERS[3], Tiny(width=2)), reward, Noise(0)))
    assert all(bool(g.any()) for g in torch.autograd.grad(loss.value, strategy.trainable(model)))


@pytest.mark.parametrize(("channels", "reward"), OTHERS, ids=lambda value: repr(value)[:40])
def test_a_reward_of_more_channels_meets_every_strategy(channels, reward):
    for strategy in STRATEGIES:
        model = perturb(Tiny((channels, *reward.grid.shape), width=2))
        loss = strategy.loss(Chain(SAMPLERS[1], model, Noise(0)), reward, Noise(1)[range(2)])
        gradients = torch.autograd.grad(loss.value, strategy.trainable(model))
        assert all(float(g.abs().max()) > 0 for g in gradients), repr(strategy)


@pytest.mark.parametrize("regularizer", REGULARIZERS[1:], ids=repr)
def test_a_regularizer_changes_what_is_learned(regularizer):
    """In the loss or after the step: the weights after one update differ from those without it."""
    outcomes = []
    for active in (False, True):
        base, model = Tiny(width=2), perturb(Tiny(width=2))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        loss = LastSteps(2).loss(Chain(SAMPLERS[0], model, Noise(0)), SOLUTION, Noise(1)[range(2)])
        (loss.value + (regularizer.penalty(model, base, loss.states) if active else 0)).backward()
        optimizer.step()
        if active:
            regularizer.after_step(model, base, optimizer)
        outcomes.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert not torch.equal(*outcomes)
