"""What is planned is what is used: in memory to the byte where the run is known, in time on a clock that the tests move."""

import importlib
import inspect
import json
from functools import partial
from types import SimpleNamespace

import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Constant, Quadratic, Tiny, tiny_unet

from pirf.backprop import ContinuousTime, Full, LastSteps, LayerTruncated, Pathwise
from pirf.denoisers import Handover
from pirf.errors import InputError
from pirf.guidance import DPS
from pirf.problems import poisson
from pirf.samplers import Ancestral, Heun
from pirf.schedules import EDM
from pirf.training import finetune, pbfm, pg_diffusion, pidm, pretrain, trials
from pirf.training.meters import _below, available, metered
from pirf.training.plan import _Line, plan
from pirf.training.prefixes import Prefixes

module = importlib.import_module("pirf.training.plan")
CPU = torch.device("cpu")
SAMPLER = Heun(steps=4, schedule=EDM(0.5, 10.0))
PROBLEM = poisson(8)
SETTINGS = {"sampler": SAMPLER, "lr": 0.01}
QUICK = {"progress": False, "seed": 0}


def most(method, *args, **options):
    """Bytes that the run itself takes."""
    with metered(CPU) as meter:
        method(*args, **options, **QUICK)
    return meter.most()


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """A plan of tiny networks gets through all sizes in no time: here it has to extrapolate."""
    growing = module._growing
    monkeypatch.setattr(module, "_growing", lambda call, sizes: growing(call, sizes[:2]))


# The meter.


def test_living_tensors_are_counted_to_the_byte():
    before = torch.zeros(1000)
    with metered(CPU) as meter:
        one = torch.zeros(100, dtype=torch.float64)
        views = one[:50], one.detach(), before[3:], before.mul_(2)
        assert meter.held() == 800
        two = one + 1
        del two, views
        assert (meter.held(), meter.most(), meter.most()) == (800, 1600, 800)
    del one
    assert meter.held() == 0


def test_a_backward_pass_is_metered():
    """exp keeps its result, so that a chain of m keeps m of them; recomputed, it has them in the backward pass alone."""

    def chain(x):
        for _ in range(8):
            x = x.exp().mul(1e-3)
        return x.sum()

    x = torch.zeros(1000, dtype=torch.float64, requires_grad=True)
    with metered(CPU) as meter:
        value = chain(x)
        assert meter.held() == 8 * (8000) + 8
        value.backward()
        del value
        assert meter.held() == 8000
        x.grad = None
        meter.most()
        value = torch.utils.checkpoint.checkpoint(chain, x, use_reentrant=False)
        assert (meter.held(), meter.most() < 4 * 8000) == (8, True)
        value.backward()
        assert meter.most() >= 8 * 8000


def test_memory_that_is_there():
    assert 2**20 < available(CPU) < 2**50


@pytest.mark.parametrize(("limit", "expected"), [("max", 2**63 - 1), ("1000", 1000 - 700 + 20)])
def test_a_container_limits_it(tmp_path, limit, expected):
    for name, text in {"memory.max": limit, "memory.current": "700", "memory.stat": "anon 5\ninactive_file 20\n"}.items():
        (tmp_path / name).write_text(text + "\n")
    assert _below(tmp_path / "memory.max", "memory.current", "inactive_file ") == expected


# Lines.


def test_a_line_goes_through_what_is_linear():
    line = _Line.through([(n, 3.0 + 2.0 * n) for n in (1, 2, 4)])
    assert_close(line(64), 131.0)
    assert _Line.through([(1, 5.0)]) == _Line(5.0, 0.0)


@pytest.mark.parametrize(("second", "slope"), [(3.0, 0.0), (100.0, None)])
def test_it_neither_falls_nor_begins_below_zero(second, slope):
    line = _Line.through([(1, 4.0), (2, second)])
    assert line.start >= 0
    assert line.slope == slope or (slope is None and line.start < 1e-12)


# Memory: the run against its plan.

TUNINGS = [
    {},
    {"gradient": LastSteps(2)},
    {"gradient": Full()},
    {"gradient": Full(segments=2)},
    {"gradient": LayerTruncated(LastSteps(1))},
    {"gradient": LastSteps(2), "recompute": True},
    {"gradient": Full(), "micro": 4},
    {"optimizer": torch.optim.SGD},
]


@pytest.mark.parametrize("options", TUNINGS, ids=repr)
def test_the_memory_of_a_run(options):
    """Extrapolated from one row and two."""
    run = {**SETTINGS, "batch": 16, **options}
    planned = plan(finetune, Tiny(), Quadratic(), **run, steps=1000)
    assert_memory(planned.memory, most(finetune, Tiny(), Quadratic(), **run, steps=3))


@pytest.mark.parametrize(
    ("method", "micro"), [(pretrain, None), (pretrain, 4), (pidm, 4), (pbfm, None), (pbfm, 4), (pg_diffusion, None)]
)
def test_the_memory_of_training_on_data(method, micro):
    more = {"pidm": {"weight": 0.1}}.get(method.__name__, {})
    common = {"batch": 16, "micro": micro, **more}
    network = tiny_unet(PROBLEM.shape) if method is pg_diffusion else Tiny()
    if method is pretrain:
        args = (PROBLEM, network)
    else:
        args = (network, PROBLEM.reward)
        common |= {"source": PROBLEM} | ({} if method is pg_diffusion else {"sampler": SAMPLER})
    planned = plan(method, *args, **common, steps=1000)
    assert_memory(planned.memory, most(method, *args, **common, steps=3))
    assert planned.method == method.__name__


def assert_memory(planned, real):
    """What a plan promises: within 1.3."""
    assert real / 1.05 <= planned <= 1.3 * real, (planned, real)


@pytest.mark.parametrize("gradient", [LastSteps(1), LayerTruncated(LastSteps(1))])
def test_stored_states_are_found_by_their_size(gradient):
    handover = Handover.split(Tiny(), SAMPLER.before_last(1))
    run = {**SETTINGS, "batch": 4, "pool": 96, "gradient": gradient}
    planned = plan(finetune, handover, Quadratic(), **run, steps=100)
    assert_memory(planned.memory, most(finetune, handover, Quadratic(), **run, steps=3))
    states = 96 * 2 * 64 * 8  # channels · points · bytes
    assert planned.pool == states if gradient == LastSteps(1) else planned.pool > states
    assert "prefix states" in str(planned)


def test_spilled_states_are_on_the_disk(tmp_path):
    handover = Handover.split(Tiny(), SAMPLER.before_last(1))
    run = {**SETTINGS, "batch": 4, "pool": 96, "steps": 10, "out": tmp_path / "run"}
    inside, outside = (plan(finetune, handover, Quadratic(), **run, spill=spill) for spill in (False, True))
    states = inside.pool
    assert (states, outside.pool) == (96 * 2 * 64 * 8, 0)
    assert outside.disk - inside.disk == states == inside.memory - outside.memory
    assert not (tmp_path / "run").exists()


def test_states_are_made_as_many_at_a_time_as_is_planned():
    assert inspect.signature(Prefixes.compute).parameters["batch"].default == module._TOGETHER


def test_checkpoints_are_as_large_as_planned(tmp_path):
    run = {**SETTINGS, "batch": 2, "out": tmp_path}
    planned = plan(finetune, Tiny(width=16), Quadratic(), **run, steps=3)
    finetune(Tiny(width=16), Quadratic(), **run, steps=3, progress=False)
    (written,) = (f.stat().st_size for f in tmp_path.glob("step-*/tensors.safetensors"))
    assert 0.8 * written < planned.disk / 3 <= written


def test_a_batch_that_is_too_large_gets_a_micro_batch_that_fits(monkeypatch):
    network, run = Tiny(), {**SETTINGS, "batch": 16, "gradient": LastSteps(2), "steps": 10}
    whole, parts = (plan(finetune, network, Quadratic(), **run, micro=micro).memory for micro in (None, 2))
    assert parts < 0.5 * whole
    monkeypatch.setattr(module, "available", lambda _: int(1.05 * parts / module._ROOM))
    planned = plan(finetune, network, Quadratic(), **run)
    assert (planned.fits, planned.micro) == (False, 2)
    assert "does not fit; micro=2 does" in str(planned)
    assert plan(finetune, network, Quadratic(), **run, micro=2).fits
    monkeypatch.setattr(module, "available", lambda _: 10)
    planned = plan(finetune, network, Quadratic(), **run)
    assert (planned.fits, planned.micro) == (False, None)
    assert "fewer graded steps" in str(planned)


# Time, on a clock of our own.


@pytest.fixture
def clock(monkeypatch):
    """Seconds pass where a network is evaluated: one tick for the call and one for each row; twice as many on the wall."""
    ticks = {"now": 0.0}
    clocks = SimpleNamespace(process_time=lambda: ticks["now"], perf_counter=lambda: 2 * ticks["now"])
    monkeypatch.setattr(trials, "time", clocks)

    class Slow(Constant):
        def forward(self, x, sigma, condition=None):
            ticks["now"] += 1e-3 * (1 + len(x))
            return super().forward(x, sigma, condition)

    return Slow


@pytest.mark.parametrize("gradient", [LastSteps(1), Full()])
def test_seconds_of_an_update(clock, gradient):
    """Heun with N = 4 evaluates 7 times."""
    planned = plan(finetune, clock(), Quadratic(), **SETTINGS, gradient=gradient, batch=64, steps=50)
    assert_close(planned.update, 2e-3 * 7 * 65)
    assert_close(planned.waiting, 2.0)
    assert_close(planned.seconds, 50 * planned.update)
    assert (planned.evaluations, planned.updates) == (7, 50)
    assert planned.spread < 1e-9


def test_seconds_with_micro_batches(clock):
    planned = plan(finetune, clock(), Quadratic(), **SETTINGS, batch=64, micro=16, steps=50)
    assert_close(planned.update, 4 * 2e-3 * 7 * 17)


def test_seconds_of_the_pool(clock):
    """Three steps are the base's: 6 evaluations in two batches of 64, then one for every update."""
    handover = Handover.split(clock(), SAMPLER.before_last(1))
    planned = plan(finetune, handover, Quadratic(), **SETTINGS, batch=4, pool=128, steps=50)
    assert_close(planned.setup, 2 * 2e-3 * 6 * 65)
    assert_close(planned.update, 2e-3 * 5)


@pytest.mark.parametrize("replay", [2, 3])
def test_replay_shares_the_prefix(clock, replay):
    """A prefix of 6 evaluations for so many updates of one each."""
    planned = plan(finetune, clock(), Quadratic(), **SETTINGS, batch=64, replay=replay, steps=50)
    assert_close(planned.update, 2e-3 * 65 * (6 / replay + 1))


def test_a_budget_of_seconds_becomes_updates(clock):
    planned = plan(finetune, clock(), Quadratic(), **SETTINGS, batch=4, seconds=1.0)
    assert planned.updates == int(1.0 / planned.update)
    both = plan(finetune, clock(), Quadratic(), **SETTINGS, batch=4, seconds=1.0, steps=3)
    assert both.updates == 3
    handover = Handover.split(clock(), SAMPLER.before_last(1))
    late = plan(finetune, handover, Quadratic(), **SETTINGS, batch=4, seconds=0.1)
    assert (late.updates, late.fits) == (0, False)
    assert "go by before the first update" in str(late)


# Nothing is changed, and what is wrong is said.


def test_the_denoiser_is_left_alone():
    network = Tiny()
    before = [p.detach().clone() for p in network.parameters()]
    plan(finetune, network, Quadratic(), **SETTINGS, batch=4, steps=10)
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert network.history == []


def test_a_partial_is_a_method():
    tune = partial(finetune, sampler=SAMPLER, batch=4)
    assert plan(tune, Tiny(), Quadratic(), steps=5).batch == 4


def test_it_is_printed_and_written():
    planned = plan(finetune, Tiny(), Quadratic(), **SETTINGS, batch=4, steps=10_000)
    text = str(planned)
    assert text.startswith("finetune fits\n")
    assert "10,000  of 4 rows" in text
    assert "prefix states" not in text
    columns = {line.index("  ", line.index("updates")) for line in text.splitlines() if "updates" in line}
    assert len(columns) == 1
    assert max(map(len, text.splitlines())) < 100
    found = json.loads(json.dumps(planned.as_dict()))
    assert found["fits"] is True
    assert found["seconds"] == planned.seconds
    assert planned._repr_html_().count("<tr>") == len(planned.lines())


def too_short(denoiser, *, steps, lr=1.0):
    """Trains nothing."""


def steps_nothing(denoiser, *, batch, steps, optimizer=torch.optim.SGD):
    optimizer(list(denoiser.parameters()), lr=1.0)


WRONG = [
    ((finetune, Tiny(), Quadratic()), {**SETTINGS, "steps": 0}, "positive number of steps"),
    ((finetune, Tiny(), Quadratic()), {**SETTINGS, "batch": 0, "steps": 5}, "batch=0"),
    ((finetune, Tiny(), Quadratic()), {**SETTINGS, "batch": 64, "pool": 32, "steps": 5}, "batch=64, pool=32"),
    ((finetune, Tiny(), Quadratic()), {**SETTINGS, "micro": -1, "steps": 5}, "micro=-1"),
    ((finetune, Tiny(), Quadratic()), {**SETTINGS, "lr": -1.0, "steps": 5}, "positive learning rate"),
    ((finetune, Tiny(), Quadratic()), {"sampler": SAMPLER, "gradient": LastSteps(9), "steps": 5}, "at most 4 steps"),
    ((finetune, DPS(Tiny(), Quadratic()), Quadratic()), {**SETTINGS, "steps": 5}, "plain denoiser"),
    ((too_short, Tiny()), {"steps": 5}, "too_short with no batch=, optimizer="),
    ((steps_nothing, Tiny()), {"steps": 5, "batch": 4}, "0 of 1 steps of its optimizer"),
]


@pytest.mark.parametrize(("args", "options", "words"), WRONG, ids=[w for *_, w in WRONG])
def test_what_is_wrong_is_said_in_one_line(args, options, words):
    with pytest.raises(InputError) as caught:
        plan(*args, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_that_needs_more_rows_gets_them():
    @attrs.frozen
    class Pairs(Pathwise):
        """Needs an even batch."""

        def rollout(self, chain):
            if len(chain.noise) % 2:
                raise InputError("pairs are needed", got=len(chain.noise), why="they are compared", hint="batch=2")
            return LastSteps(1).rollout(chain)

    assert plan(finetune, Tiny(), Quadratic(), **SETTINGS, gradient=Pairs(), batch=8, steps=5).batch == 8


def test_scores_alone_can_be_planned():
    """No graph of the chain, and more than one row: a lone one has no advantage over another, and is refused."""
    run = {"sampler": Ancestral(4, SAMPLER.schedule), "gradient": ContinuousTime(), "batch": 4}
    assert_memory(
        plan(finetune, Tiny(), Quadratic(), **run, steps=5).memory, most(finetune, Tiny(), Quadratic(), **run, steps=3)
    )
