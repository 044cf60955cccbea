import importlib
import logging
from functools import partial

import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Affine, Constant, Quadratic, Tiny, perturb

from pirf.backprop import (
    AdjointMatching,
    ContinuousTime,
    Fitted,
    Full,
    GradientStrategy,
    LastSteps,
    LayerTruncated,
    Loss,
    Pathwise,
    RewardDirectedQ,
    StochasticControl,
    Windows,
)
from pirf.denoisers import Handover
from pirf.errors import InputError, NumericalError
from pirf.guidance import DPS
from pirf.noise import Noise
from pirf.regularizers import Distillation, Regularizer, Together, WeightAnchor
from pirf.rewards import BlackBox, Reward, Scaled
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, State
from pirf.schedules import EDM
from pirf.training import Constant as Steady
from pirf.training import Cosine, finetune

module = importlib.import_module("pirf.training.finetune")
SAMPLER = Heun(steps=4, schedule=EDM(0.5, 10.0))
CALLS = {"left": 10**9}


@attrs.frozen
class Fragile(Reward):
    """A quadratic that fails after so many calls, or turns into NaN."""

    nan: bool = False

    def __call__(self, x, condition=None):
        CALLS["left"] -= 1
        if CALLS["left"] < 0 and not self.nan:
            raise KeyboardInterrupt
        scores = Quadratic(0.4)(x)
        return scores * float("nan") if CALLS["left"] < 0 else scores


@pytest.fixture(autouse=True)
def _endless():
    CALLS["left"] = 10**9


def call(denoiser, reward, **options):
    settings = {"sampler": SAMPLER, "steps": 6, "batch": 2, "pool": 6, "lr": 0.02, "progress": False}
    return finetune(denoiser, reward, **(settings | options))


def weights(denoiser):
    return [p.detach().clone() for p in denoiser.parameters()]


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


# Closed forms.


@pytest.mark.parametrize("gradient", [LastSteps(1), LastSteps(3), Full(), Full(segments=2)])
def test_a_constant_denoiser_learns_its_target(gradient):
    """D ≡ θ ends in θ for every noise: the optimum of −½(θ − y)² is y, whatever carries the gradient."""
    tuned = call(Constant((1, 4)), Quadratic(0.7), gradient=gradient, steps=150, lr=0.05)
    assert abs(float(tuned.theta.detach()) - 0.7) < 1e-3 * 0.7


def least_squares(pool, below=0.6):
    """Last step x_N = c_skip x + c_out θ on the stored states: the optimum and the curvature of the loss in θ."""
    handover = Handover.split(Affine((1, 1)), below)
    chain = Chain(SAMPLER, handover, Noise(0).fold("pool")[range(pool)])
    x, sigma = chain.depart(3)[1].x, SAMPLER.levels[3]
    c_skip, c_out = 0.25 / (sigma**2 + 0.25), sigma * 0.5 / (sigma**2 + 0.25) ** 0.5
    return handover, float((2.0 - c_skip * x.mean()) / c_out), c_out**2


def test_a_handover_on_its_whole_pool_solves_least_squares():
    handover, optimum, _ = least_squares(8)
    tuned = call(handover, Quadratic(2.0), steps=200, batch=8, pool=8, lr=0.2)
    assert abs(float(tuned.tuned.theta.detach()) / optimum - 1) < 1e-3
    assert float(tuned.base.theta.detach()) == 0


@pytest.mark.parametrize("share", [0.25, 0.75, 1.5])
def test_with_a_weight_anchor_it_solves_the_group_lasso(share):
    """θ = t·max(0, 1 − λ/(c|t|)) for λ = share·c|t|, and exactly the start when λ is larger than the gradient there."""
    handover, optimum, curvature = least_squares(8)
    anchor = WeightAnchor(share * curvature * abs(optimum))
    tuned = call(handover, Quadratic(2.0), steps=200, batch=8, pool=8, lr=0.2, regularizer=anchor)
    theta = float(tuned.tuned.theta.detach())
    if share < 1:
        assert abs(theta - (1 - share) * optimum) < 1e-3 * abs(optimum)
    else:
        assert theta == 0


def test_with_distillation_it_solves_the_ridge():
    """Loss ½c(θ − t)² + λ c_out² θ² at the visited level, so θ = t·c/(c + 2λ c_out²) = t/(1 + 2λ)."""
    handover, optimum, _ = least_squares(8)
    tuned = call(handover, Quadratic(2.0), steps=200, batch=8, pool=8, lr=0.2, regularizer=Distillation(0.5))
    assert abs(float(tuned.tuned.theta.detach()) / (optimum / 2) - 1) < 1e-3


def test_one_update_is_adam_on_the_strategys_gradient():
    network, noise = Tiny(), Noise(3).fold("update", 0)[range(2)]
    tuned = call(network, Quadratic(0.4), steps=1, seed=3, rate=Steady(), half_life=1e-9, gradient=LastSteps(2))
    parameters = list(network.parameters())
    loss = LastSteps(2).loss(Chain(SAMPLER, network, Noise(0)), Quadratic(0.4), noise).value
    for p, g, q in zip(parameters, torch.autograd.grad(loss, parameters), tuned.parameters(), strict=True):
        # After one update the average is half the start and half the result; Adam's first step is lr·g/(|g| + ε).
        assert_close(q, p.detach() - 0.5 * 0.02 * g / (g.abs() + 1e-8), unit=1.0)
    assert [h["step"] for h in tuned.history] == [1]
    assert tuned.history[0]["loss"] == float(loss.detach())


# What it may change.


@pytest.mark.parametrize("sampler", [Euler(steps=3), Heun(steps=3), Multistep(steps=3), Ancestral(steps=3)])
def test_the_input_is_untouched_and_the_result_is_another(sampler):
    network = Tiny()
    before = weights(network)
    tuned = call(network, Quadratic(0.4), sampler=sampler)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(network), strict=True))
    assert all(p.grad is None and p.requires_grad for p in (*network.parameters(), *tuned.parameters()))
    assert not equal(network, tuned)
    assert network.history == []
    assert len(tuned.history) == 6


def test_only_what_trains_changes():
    network = Tiny()
    tuned = call(network, Quadratic(0.4), gradient=LayerTruncated(LastSteps(2)))
    for name in network.stages:
        same = all(torch.equal(p, q) for p, q in zip(network.stage_parameters(name), tuned.stage_parameters(name), strict=True))
        assert same == (name != "three")


def test_the_same_call_gives_the_same_weights_and_another_seed_others():
    runs = [call(Tiny(), Quadratic(0.4), seed=seed) for seed in (0, 0, 1)]
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_a_handover_uses_stored_states_and_says_so(caplog):
    handover = Handover.split(Tiny(), SAMPLER.before_last(1))
    with caplog.at_level(logging.INFO):
        tuned = call(handover, Quadratic(0.4))
    assert "the first 3 of 4 steps are the base's: 6 states are computed once" in caplog.text
    assert {h["evaluations"] for h in tuned.history} == {1}
    assert tuned.levels == (SAMPLER.levels[3],)
    assert equal(tuned.base, handover.base)
    plain = call(Tiny(), Quadratic(0.4))
    assert {h["evaluations"] for h in plain.history} == {7}


def test_the_stored_states_are_the_ones_that_train(monkeypatch):
    """The same call without the store, on the pool's own noise, gives the same weights bit for bit."""
    stored = call(Handover.split(Tiny(), SAMPLER.before_last(1)), Quadratic(0.4), batch=6)

    class Recomputed:
        state = State(torch.empty(0))

        @classmethod
        def compute(cls, chain, stop, noise, **_):
            self = cls()
            self.stop, self.noise = stop, noise
            return self

        def __call__(self, chain):
            with torch.no_grad():
                keyed = attrs.evolve(chain, prefixes=None, noise=self.noise[sorted(chain.noise.samples)])
                state = keyed.run(keyed.initial(), 0, self.stop).detach()
            rank = {sample: row for row, sample in enumerate(sorted(chain.noise.samples))}
            return self.stop, State(state.x[[rank[i] for i in chain.noise.samples]])

    monkeypatch.setattr(module, "Prefixes", Recomputed)
    assert equal(stored, call(Handover.split(Tiny(), SAMPLER.before_last(1)), Quadratic(0.4), batch=6))


def test_every_state_of_the_pool_is_used_once_an_epoch():
    for epoch in range(3):
        seen = [i for k in range(3) for i in module._pool_order(1, 3 * epoch + k, 2, 6)]
        assert sorted(seen) == list(range(6))
    assert module._pool_order(1, 0, 6, 6) != module._pool_order(1, 1, 6, 6)


def test_replay_makes_several_updates_on_the_states_of_one_prefix():
    """Evaluations are 7, 1, 1, 7, …; the first update of a rollout has the gradient of a run without replay."""
    tuned = call(Tiny(), Quadratic(0.4), replay=3)
    assert [h["evaluations"] for h in tuned.history] == [7, 1, 1, 7, 1, 1]
    assert equal(call(Tiny(), Quadratic(0.4), replay=3, steps=1), call(Tiny(), Quadratic(0.4), steps=1))
    seen = []

    @attrs.frozen
    class Watched(Pathwise):
        def first_graded(self, chain):
            return 3

        def rollout(self, chain):
            rollout = LastSteps(1).rollout(chain)
            seen.append((chain.noise.samples, rollout.states[0][1]))
            return rollout

    call(Tiny(), Quadratic(0.4), replay=3, gradient=Watched())
    assert torch.equal(seen[0][1], seen[2][1])
    assert seen[0][0] == seen[2][0] != seen[3][0]


def test_replay_without_a_prefix_of_trained_weights_is_refused():
    with pytest.raises(InputError, match="made by trained weights: got replay=2 with a handover"):
        call(Handover.split(Tiny(), SAMPLER.before_last(1)), Quadratic(0.4), replay=2)
    with pytest.raises(InputError, match=r"made by trained weights: got replay=2 with Full\(.*\), which grades every step"):
        call(Tiny(), Quadratic(0.4), gradient=Full(), replay=2)


# Stopping, resuming, refusing.

CASES = {
    "plain": lambda: (Tiny(), {"gradient": LastSteps(2)}),
    "handover": lambda: (Handover.split(Tiny(), SAMPLER.before_last(2)), {"gradient": LastSteps(2), "sampler": SAMPLER}),
    "anchored": lambda: (Tiny(), {"regularizer": Together((WeightAnchor(1e-2), Distillation(0.1)))}),
    "truncated": lambda: (Tiny(), {"gradient": LayerTruncated(LastSteps(2))}),
    "multistep": lambda: (Tiny(), {"sampler": Multistep(steps=4), "gradient": Full()}),
    "replayed": lambda: (Tiny(), {"gradient": LastSteps(2), "replay": 2}),
    "windows": lambda: (Tiny(), {"gradient": Windows(2, updates=2)}),
    "adjoint matching": lambda: (Tiny(), {"gradient": AdjointMatching(), "sampler": Ancestral(steps=4)}),
    "spilled": lambda: (Handover.split(Tiny(), SAMPLER.before_last(2)), {"gradient": LastSteps(2), "spill": True}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("updates", [1, 4])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch, case, updates):
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    denoiser, options = CASES[case]()
    whole = call(denoiser, Fragile(), **options)
    CALLS["left"] = updates
    with pytest.raises(KeyboardInterrupt):
        call(denoiser, Fragile(), out=tmp_path, **options)
    CALLS["left"] = 6 - updates + updates % options.get("replay", 1)  # the updates before are not made again
    resumed = call(denoiser, Fragile(), out=tmp_path, **options)
    assert equal(resumed, whole)
    assert [h["loss"] for h in resumed.history] == [h["loss"] for h in whole.history]
    CALLS["left"] = 0
    assert equal(call(denoiser, Fragile(), out=tmp_path, **options), whole)


@attrs.frozen
class Stop(Regularizer):
    """Fails after so many updates."""

    def after_step(self, tuned, base, optimizer):
        CALLS["left"] -= 1
        if CALLS["left"] < 0:
            raise KeyboardInterrupt


STRUCTURED, ALONE = (Fitted(structured, width=4, pretrain=1, batch=8) for structured in (True, False))
LEARNED = {
    "advantages": (1, ContinuousTime(value=STRUCTURED, kl=0.1)),
    "advantages, twice used": (2, ContinuousTime(value=STRUCTURED, epochs=2)),
    "slopes": (1, ContinuousTime(value=STRUCTURED, form="gradient", kl=0.1)),
    "control": (2, StochasticControl(100.0, ALONE, epochs=2)),
    "control by turns": (3, LayerTruncated(StochasticControl(100.0, ALONE, epochs=1, updates=3))),
    "martingale": (1, RewardDirectedQ(100.0, ALONE)),
    "windows": (2, Windows(2, updates=3, inner=ContinuousTime(value=ALONE, epochs=2))),
}


@pytest.mark.parametrize("case", LEARNED)
def test_what_a_strategy_has_learned_comes_back(tmp_path, monkeypatch, case):
    """Value network and its optimizer are kept; trajectories in use are not: checkpoints wait until these have served."""
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    period, gradient = LEARNED[case]
    assert gradient.period == period
    sampler = Ancestral(steps=4, schedule=EDM(0.5, 10.0))
    options = {"gradient": gradient, "regularizer": Stop(), "sampler": sampler, "batch": 3, "steps": 8}
    whole = call(Tiny(), Quadratic(0.4), **options)
    CALLS["left"] = 5
    with pytest.raises(KeyboardInterrupt):
        call(Tiny(), Quadratic(0.4), out=tmp_path, **options)
    CALLS["left"] = 8 - 5 + 5 % period
    resumed = call(Tiny(), Quadratic(0.4), out=tmp_path, **options)
    assert CALLS["left"] == 0
    assert equal(resumed, whole)
    assert [h["loss"] for h in resumed.history] == [h["loss"] for h in whole.history]


@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_newest_checkpoint_costs_updates_and_no_bits(tmp_path, monkeypatch, caplog, damage):
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    whole = call(Tiny(), Fragile())
    CALLS["left"] = 4
    with pytest.raises(KeyboardInterrupt):
        call(Tiny(), Fragile(), out=tmp_path)
    newest = sorted(tmp_path.glob("step-*"))[-1] / "tensors.safetensors"
    data = bytearray(newest.read_bytes())
    if damage == "flipped":
        data[-5] ^= 4
    newest.write_bytes(bytes(data[: -1 if damage == "truncated" else None]))
    CALLS["left"] = 3  # one more than without the damage
    with caplog.at_level(logging.WARNING):
        assert equal(call(Tiny(), Fragile(), out=tmp_path), whole)
    assert f"{newest.parent.name} is unreadable" in caplog.text
    assert CALLS["left"] == 0


@pytest.mark.parametrize("change", [
    {"lr": 0.03}, {"seed": 1}, {"batch": 3}, {"steps": 7}, {"gradient": LastSteps(2)}, {"sampler": Heun(steps=5)},
    {"regularizer": WeightAnchor(1e-3)}, {"rate": Cosine(0.5)}, {"clip": 1.0}, {"pool": 7}, {"half_life": 0.5},
])  # fmt: skip
def test_changed_settings_are_refused(tmp_path, change):
    call(Tiny(), Quadratic(0.4), out=tmp_path)
    with pytest.raises(InputError, match="a checkpoint of another run: got"):
        call(Tiny(), Quadratic(0.4), out=tmp_path, **change)


def test_a_changed_start_is_refused(tmp_path):
    call(Tiny(), Quadratic(0.4), out=tmp_path)
    for other in (perturb(Tiny(), 1e-9), Handover.split(Tiny(), SAMPLER.before_last(1))):
        with pytest.raises(InputError, match="a checkpoint of another run: got"):
            call(other, Quadratic(0.4), out=tmp_path)
    with pytest.raises(InputError, match="a checkpoint of another run: got"):
        call(Tiny(), Quadratic(0.5), out=tmp_path)


def test_another_handover_is_another_run(tmp_path):
    options = {"gradient": LastSteps(1), "out": tmp_path}
    call(Handover.split(Tiny(), SAMPLER.before_last(1)), Quadratic(0.4), **options)
    for below, channels in ((SAMPLER.before_last(2), None), (SAMPLER.before_last(1), (1,))):
        with pytest.raises(InputError, match="a checkpoint of another run: got"):
            call(Handover.split(Tiny(), below, channels), Quadratic(0.4), **options)


def test_a_reward_that_is_not_a_number_stops_and_keeps_the_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    network = Tiny()
    before = weights(network)
    CALLS["left"] = 3
    with pytest.raises(NumericalError, match=r"Fragile\(nan=True\) gave nan: .*weights untouched"):
        call(network, Fragile(nan=True), out=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(before, weights(network), strict=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000002", "step-000000003"]


@pytest.mark.parametrize("bad", [{"batch": 0}, {"pool": 1}, {"replay": 0}, {"steps": 0}, {"steps": None}, {"lr": 0.0}])
def test_bad_settings_are_refused(bad):
    with pytest.raises(InputError, match="got"):
        call(Tiny(), Quadratic(0.4), **bad)


def test_a_guided_model_is_refused():
    with pytest.raises(InputError, match="fine-tuning takes a plain denoiser: got DPS"):
        call(DPS(Tiny(), Quadratic()), Quadratic())


def total(x):
    return x.flatten(1).sum(1)


@pytest.mark.parametrize("gradient", [LastSteps(1), LayerTruncated(LastSteps(1)), AdjointMatching()], ids=repr)
def test_a_reward_without_a_gradient_is_refused_before_anything_is_computed(gradient, tmp_path):
    model, asked = Tiny(), []
    model.register_forward_pre_hook(lambda *_: asked.append(True))
    before = weights(model)
    with pytest.raises(
        InputError, match=r"needs a differentiable reward: got Scaled\(reward=BlackBox\(function=.*total"
    ) as refused:
        call(model, Scaled(BlackBox(total), 2.0), gradient=gradient, sampler=Ancestral(steps=3), out=tmp_path / "run")
    assert "\n" not in str(refused.value)
    assert not asked
    assert not (tmp_path / "run").exists()
    assert all(map(torch.equal, before, weights(model)))


def test_a_strategy_that_only_scores_takes_it():
    """Evolution by finite differences of D ≡ θ, which asks for no gradient of the reward."""

    @attrs.frozen
    class Differences(GradientStrategy):
        needs_gradient = False

        def loss(self, chain, reward, noise, state=None):
            theta = chain.denoiser.theta
            above, below = (reward(torch.full((1, 1, 1), float(theta.detach()) + h).double()) for h in (1e-3, -1e-3))
            return Loss(-theta * (above - below).mean() / 2e-3, float(above.mean()))

    tuned = call(Constant(theta=0.0), BlackBox(parabola), gradient=Differences(), steps=200, half_life=0.0)
    assert abs(tuned.theta.item() - 0.4) < 1e-2


def parabola(x):
    return Quadratic(0.4)(x)


def test_it_raises_the_reward():
    network = Tiny()
    tuned = call(network, Quadratic(0.4), steps=60, gradient=LastSteps(2))

    def mean_score(denoiser):
        chain = Chain(SAMPLER, denoiser, Noise(77)[range(16)])
        return float(Quadratic(0.4)(chain.run(chain.initial()).x).mean().detach())

    assert mean_score(tuned) > 0.5 * mean_score(network)


def test_a_tail_trained_on_two_sets_of_levels_admits_both():
    other = Heun(steps=6, schedule=EDM(0.5, 10.0))
    split = Handover.split(Tiny(), below=0.6)
    once = finetune(split, Quadratic(0.4), sampler=SAMPLER, steps=1, batch=2, pool=2, progress=False)
    third = Heun(steps=4, schedule=EDM(0.4, 10.0))
    with pytest.raises(InputError, match="trained on"):
        Chain(third, once)
    both = finetune(once, Quadratic(0.4), sampler=third, steps=1, batch=2, pool=2, progress=False)
    for sampler in (SAMPLER, other, third):
        Chain(sampler, both)
