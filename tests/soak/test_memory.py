"""Out of memory at any evaluation of an update: fewer rows at a time, the same gradient of the same batch, one line."""

import logging
import os

import pytest
import torch
from soak.poison import BadResidual, Poison
from soak.runs import fields
from soak.test_harm import BASELINES, STRATEGIES
from tolerances import assert_close
from toys import Quadratic, Tiny, tiny_unet

import pirf
from pirf.errors import InputError

BATCH, UPDATES = 8, 2


class Small:
    """A memory for ``rows`` rows, which runs out at evaluation ``at`` of an update that has more."""

    def __init__(self, rows, at):
        self.rows, self.at, self.evaluations, self.struck = rows, at, 0, 0

    def __deepcopy__(self, memo):
        return self

    def __call__(self, module, inputs):
        self.evaluations += len(inputs[0]) > self.rows
        if len(inputs[0]) > self.rows and self.evaluations >= self.at:
            self.evaluations, self.struck = 0, self.struck + 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Gradients(Poison):
    """The optimizer's factory, which keeps every gradient; plain descent, so that nothing is amplified."""

    def __init__(self):
        super().__init__("none", 0, optimizer=torch.optim.SGD)
        self.seen = []

    def __call__(self, parameters, lr):
        method = super().__call__(parameters, lr)
        if self.armed is not None:
            self.armed()
        method.register_step_pre_hook(lambda *_: self.seen.append([self.gradient(p) for p in parameters]))
        return method

    armed = None

    @staticmethod
    def gradient(parameter):
        return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def gradients(call, model, memory=None, **options):
    """Those of a run whose memory is small once its updates begin."""
    watch = Gradients()
    if memory is not None:
        parts = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)][:1]
        hooked = []
        for part in parts:
            part.register_forward_pre_hook(lambda module, inputs: memory(module, inputs) if hooked else None)
        watch.armed = lambda: hooked.append(True)
    call(model, batch=BATCH, lr=1e-4, optimizer=watch, progress=False, steps=UPDATES, **options)
    return watch.seen


def agree(whole, pieces):
    """To rounding: 1e-12 of the largest number of an update's gradient."""
    assert len(whole) == len(pieces) == UPDATES
    for a, b in zip(whole, pieces, strict=True):
        unit = 1e-2 * max(float(g.abs().max()) for g in a)
        for wanted, found in zip(a, b, strict=True):
            assert_close(found, wanted, unit=unit)


def one_line(caplog):
    lines = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(lines) == 1, lines
    assert lines[0].isprintable()
    assert "out of memory" in lines[0]
    assert f"the same gradient of {BATCH}" in lines[0]


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("at", [1, 3] if "PIRF_SOAK" in os.environ else [1])
def test_fine_tuning_goes_on_with_half_the_rows(name, at, caplog, count):
    gradient, sampler = STRATEGIES[name]

    def call(model, **options):
        return pirf.finetune(model, Quadratic(0.4), sampler=sampler, gradient=gradient, **options)

    whole, memory = gradients(call, Tiny()), Small(BATCH // 2, at)
    agree(whole, gradients(call, Tiny(), memory))
    if memory.struck == 0:
        pytest.skip(f"one update makes fewer than {at} evaluations")
    assert memory.struck == 1
    one_line(caplog)
    count("out of memory")


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_training_on_data_goes_on_with_half_the_rows(name, dropout, caplog, count):
    def call(model, **options):
        return BASELINES[name](model, BadResidual(Poison("none", 0)), source=fields(), **options)

    whole, memory = gradients(call, tiny_unet(dropout=dropout)), Small(BATCH // 2, 1)
    agree(whole, gradients(call, tiny_unet(dropout=dropout), memory))
    assert memory.struck == 1
    one_line(caplog)
    count("out of memory")


def test_two_lines_for_a_quarter_and_a_refusal_for_less_than_one(caplog, count):
    def call(model, **options):
        return pirf.finetune(model, Quadratic(0.4), sampler=STRATEGIES["Full"][1], gradient=pirf.Full(), **options)

    agree(gradients(call, Tiny()), gradients(call, Tiny(), Small(BATCH // 4, 2)))
    assert len(caplog.messages) == 2
    with pytest.raises(InputError, match="memory for one sample is needed") as refusal:
        gradients(call, Tiny(), Small(0, 1))
    assert str(refusal.value).isprintable()
    count("out of memory", 2)
