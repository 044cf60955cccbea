"""One gradient, however it is cut: micro-batches, memory that runs out, signals that come in between."""

import logging
import os
import signal
import time
from functools import partial

import attrs
import pytest
import torch
from tolerances import assert_close
from torch import nn
from toys import Quadratic, Tiny, normal, tiny_unet

import pirf
from pirf.errors import InputError, NumericalError
from pirf.memory import by_pieces, out_of_memory
from pirf.scaling import Scaling
from pirf.schedules import EDM
from pirf.training import Budget, Constant, pbfm, pg_diffusion, pidm, pretrain
from pirf.training.history import History
from pirf.training.loop import Interrupted, descend
from pirf.training.update import Update

SAMPLER = pirf.Heun(steps=4, schedule=EDM(0.5, 10.0))
DRAWN = pirf.Ancestral(steps=4, schedule=EDM(0.5, 10.0))
FIELDS = pirf.Fields(normal(24, 2, 8, 8), Scaling((0.1, -0.2), (0.6, 0.9)))
CRITIC = pirf.Fitted(structured=False, pretrain=1, batch=8, width=4)


@attrs.frozen
class Gap(pirf.PDEReward):
    grid: pirf.Grid = pirf.Grid.square(8)

    def residual(self, x):
        return x[:, 1:] - x[:, :1] ** 2 - 0.3


class Cramped(Tiny):
    """Memory for ``room`` rows in a graph."""

    def __init__(self, room):
        super().__init__()
        self.room, self.failures = room, 0

    def forward(self, x, sigma, condition=None):
        if torch.is_grad_enabled() and len(x) > self.room:
            self.failures += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more than there is")
        return super().forward(x, sigma, condition)


def tune(gradient, sampler=SAMPLER, model=Tiny, **more):
    settings = {"sampler": sampler, "gradient": gradient, "steps": 3, "batch": 6, "lr": 0.01, "pool": 12, "progress": False}

    def run(network=None, **options):
        return pirf.finetune(network or model(), Quadratic(0.4), **(settings | more | options))

    return run


def train(method, **more):
    return lambda network=None, **options: method(
        **{"denoiser": network or Tiny(), "source": FIELDS, "steps": 3, "batch": 6, "lr": 0.01, "progress": False}
        | more
        | options
    )


def handed():
    return pirf.Handover.split(Tiny(), SAMPLER.before_last(2))


CASES = {
    "pretrain": train(pretrain),
    "pidm": train(pidm, reward=Gap(), sampler=SAMPLER, weight=0.1),
    "pbfm": train(pbfm, reward=Gap(), sampler=SAMPLER),
    "LastSteps": tune(pirf.LastSteps(2)),
    "Full": tune(pirf.Full(segments=2), regularizer=pirf.Distillation(0.5)),
    "LowVariance": tune(pirf.LowVariance(2), regularizer=pirf.WeightAnchor(1e-3)),
    "RandomSteps": tune(pirf.LayerTruncated(pirf.RandomSteps(), stages=1)),
    "replay": tune(pirf.LastSteps(1), replay=2),
    "Windows": tune(pirf.Windows(2, updates=1)),
    "AdjointMatching": tune(pirf.AdjointMatching(), sampler=DRAWN),
    "PolicyGradient": tune(pirf.PolicyGradient(epochs=2, group=2), sampler=DRAWN),
    "KLPolicyGradient": tune(pirf.KLPolicyGradient(), sampler=DRAWN),
    "ContinuousTime": tune(pirf.ContinuousTime(value=CRITIC), sampler=DRAWN),
    "ValueGradient": tune(pirf.ValueGradient(CRITIC), sampler=DRAWN),
    "StochasticControl": tune(pirf.StochasticControl(50.0, CRITIC), sampler=DRAWN),
    "RewardDirectedQ": tune(pirf.RewardDirectedQ(value=CRITIC), sampler=DRAWN),
}


def same(a, b):
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert_close(x.detach(), y.detach(), unit=1.0)
    for record, other in zip(a.history, b.history, strict=True):
        assert_close(record["loss"], other["loss"], unit=1.0)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("micro", [1, 4])
def test_micro_batches_add_up(name, micro):
    same(CASES[name](micro=micro), CASES[name]())


def test_micro_batches_of_a_stored_pool_add_up():
    run = tune(pirf.LastSteps(2), model=handed)
    same(run(micro=4), run())


def test_a_conditional_network_is_told_its_own_rows():
    run = train(pg_diffusion, reward=Gap(), denoiser=tiny_unet(), optimizer=torch.optim.SGD, lr=1e-4)
    whole, parts = (run(micro=micro) for micro in (None, 4))
    same(whole, parts)


@pytest.mark.parametrize("name", CASES)
def test_out_of_memory_halves_the_rows_and_not_the_batch(name, caplog):
    """6 rows, then 3, then 1: two lines, and the weights of a run that had the memory."""
    cramped = Cramped(room=2)
    with caplog.at_level(logging.WARNING):
        squeezed = CASES[name](cramped)
    same(squeezed, CASES[name](Cramped(room=100)))
    lines = [r.getMessage() for r in caplog.records if "out of memory" in r.getMessage()]
    assert lines == [f"out of memory at update 0: {rows} rows at a time from now on, the same gradient of 6" for rows in (3, 1)]


def test_memory_for_one_row_is_needed():
    with pytest.raises(
        InputError, match="memory for one sample is needed: got out of memory at update 0 with one row at a time"
    ):
        tune(pirf.LastSteps(1))(Cramped(room=0))


def test_only_memory_is_out_of_memory():
    assert out_of_memory(torch.OutOfMemoryError("x"))
    assert out_of_memory(MemoryError())
    assert out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"))
    assert not out_of_memory(RuntimeError("size mismatch"))

    def broken(step, rows, at_once):
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        Update([nn.Parameter(normal(2))], broken, 4)(0)


def test_prefix_states_and_samples_are_made_in_smaller_pieces(caplog):
    class Small(Tiny):
        def forward(self, x, sigma, condition=None):
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x, sigma, condition)

    run = tune(pirf.LastSteps(1), batch=2)
    split = [pirf.Handover.split(kind(), SAMPLER.before_last(2)) for kind in (Small, Tiny)]
    with caplog.at_level(logging.WARNING):
        same(*(run(network) for network in split))
        assert_close(*(pirf.sample(kind(), SAMPLER, 7) for kind in (Small, Tiny)))
    assert [r.getMessage() for r in caplog.records] == [f"out of memory: {n} rows at a time from now on" for n in (6, 3, 3)]


def test_pieces_cover_their_rows_and_other_errors_pass():
    assert [piece for piece, _ in by_pieces(range(3, 10), 4, len)] == [range(3, 7), range(7, 10)]
    with pytest.raises(ZeroDivisionError):
        list(by_pieces(range(3), 2, lambda rows: 1 / 0))
    with pytest.raises(MemoryError):
        list(by_pieces(range(3), 2, lambda rows: (_ for _ in ()).throw(MemoryError())))


@pytest.mark.parametrize("micro", [0, -1])
def test_a_micro_batch_has_rows(micro):
    with pytest.raises(InputError, match="a micro-batch of at least one row is needed"):
        tune(pirf.LastSteps(1))(micro=micro)


def test_a_gradient_that_is_no_number_is_named_and_not_used():
    parameters = [nn.Parameter(normal(3)), nn.Parameter(normal(2))]
    update = Update(
        parameters, lambda *_: ((parameters[1] * float("inf") * 0).sum() * 0 + torch.zeros(()), {}), names=("a", "b")
    )
    with pytest.raises(NumericalError, match="loss is nan at update 7"):
        update(7)
    root = Update(parameters, lambda *_: (parameters[1].sub(parameters[1]).abs().sqrt().sum(), {}), names=("a", "b"))
    with pytest.raises(NumericalError, match="training: the gradient of b is not finite at update 3"):
        root(3)
    assert all(p.grad is None for p in parameters)


# The history.


def test_a_long_history_is_thinned_evenly_and_the_same_after_a_break():
    whole = History(most=8)
    for step in range(1, 100):
        whole.append({"step": step})
        if step == 37:
            broken = History([dict(r) for r in whole.records], most=8)
        if step > 37:
            broken.append({"step": step})
        assert whole.records[-1]["step"] == step
        assert len(whole.records) <= 9
    steps = [r["step"] for r in whole.records]
    assert steps == [16, 32, 48, 64, 80, 96, 99]
    assert broken.records == whole.records


def test_a_short_history_is_whole():
    history = History(most=8)
    for step in range(1, 9):
        history.append({"step": step})
    assert [r["step"] for r in history.records] == list(range(1, 9))


# Signals.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_update_and_keeps_it(tmp_path, number):
    parameters = [nn.Parameter(normal(3))]

    def run(at=None):
        def loss(step, *_):
            if step == at:
                os.kill(os.getpid(), number)
            return (parameters[0] ** 2).sum(), {}

        settings = {"budget": Budget(steps=9), "lr": 0.1, "rate": Constant(), "half_life": 0.1, "progress": False}
        return descend(parameters, loss, out=tmp_path, save_at=2, **settings)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=r"stopped after update 6: the same call goes on from .*") as stop:
        run(at=4)
    assert stop.value.step == 6  # a multiple of save_at
    assert signal.getsignal(number) == before
    _, history = run()
    assert [record["step"] for record in history] == list(range(1, 10))


def test_a_signal_that_is_ignored_stays_ignored():
    """As a shell starts what is to go on in the background."""

    def loss(step, *_):
        os.kill(os.getpid(), signal.SIGINT)
        return (parameters[0] ** 2).sum(), {}

    parameters, before = [nn.Parameter(normal(3))], signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        descend(parameters, loss, budget=Budget(steps=3), lr=0.1, rate=Constant(), half_life=0.1, progress=False)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_second_signal_ends_it_at_once():
    def loss(step, *_):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)  # signals that are not yet heard are one
        raise AssertionError("never reached")

    with pytest.raises(KeyboardInterrupt) as stop:
        descend([nn.Parameter(normal(3))], loss, budget=Budget(steps=2), lr=0.1, rate=Constant(), half_life=0.1, progress=False)
    assert not isinstance(stop.value, Interrupted)


def test_a_signal_in_the_last_update_ends_what_would_follow(tmp_path):
    parameters = [nn.Parameter(normal(3))]

    def loss(step, *_):
        os.kill(os.getpid(), signal.SIGTERM)
        return (parameters[0] ** 2).sum(), {}

    settings = {"lr": 0.1, "rate": Constant(), "half_life": 0.1, "progress": False}
    with pytest.raises(Interrupted, match="stopped after update 1"):
        descend(parameters, loss, out=tmp_path, budget=Budget(steps=1), **settings)
    assert descend(parameters, loss, out=tmp_path, budget=Budget(steps=1), **settings)[1][-1]["step"] == 1


def test_an_interruption_without_a_folder_says_that_nothing_is_kept():
    def loss(step, *_):
        os.kill(os.getpid(), signal.SIGINT)
        return (parameters[0] ** 2).sum(), {}

    parameters = [nn.Parameter(normal(3))]
    with pytest.raises(Interrupted, match="nothing is kept without out="):
        descend(parameters, loss, budget=Budget(steps=5), lr=0.1, rate=Constant(), half_life=0.1, progress=False)


# Precision and recomputation.


def test_recomputed_evaluations_give_the_same_gradient():
    for gradient in (pirf.LastSteps(2), pirf.Full(), pirf.LowVariance(2)):
        assert all(
            torch.equal(a, b)
            for a, b in zip(
                tune(gradient)(recompute=True).parameters(), tune(gradient)(recompute=False).parameters(), strict=True
            )
        )


def test_graded_steps_may_be_cast_and_rewards_see_single_precision():
    seen = []

    @attrs.frozen
    class Watching(pirf.Reward):
        def __call__(self, x, condition=None):
            seen.append(x.dtype)
            return Quadratic(0.4)(x)

    model = Tiny().float()
    run = partial(pirf.finetune, model, Watching(), sampler=SAMPLER, steps=2, batch=4, lr=0.01, progress=False)
    cast, plain = run(graded_precision=torch.bfloat16), run()
    assert set(seen) == {torch.float32}
    gap = max(float((a - b).detach().abs().max()) for a, b in zip(cast.parameters(), plain.parameters(), strict=True))
    assert 0 < gap < 0.02
