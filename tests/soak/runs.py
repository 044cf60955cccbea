"""Training runs of a second and less, one for everything that a checkpoint has to bring back: each a function of its folder."""

import importlib
import itertools
import os
from functools import partial
from pathlib import Path

import torch
from toys import Constant, Quadratic, Tiny, normal, tiny_unet

import pirf
from pirf.backprop import ContinuousTime, Fitted, LastSteps
from pirf.data import Fields
from pirf.denoisers import Handover
from pirf.regularizers import Distillation, Together, WeightAnchor
from pirf.samplers import Ancestral, Euler, Heun
from pirf.schedules import EDM
from pirf.training import Budget, Cosine, loop
from pirf.training.loop import descend

SHAPE = (2, 8, 8)
SAMPLER = Heun(steps=4, schedule=EDM(0.5, 10.0))
RANDOM = Ancestral(steps=4, schedule=EDM(0.5, 10.0))
UPDATES = 6


def fields():
    return Fields(normal(16, *SHAPE))


def solutions():
    return Fields(pirf.problems.poisson(n=8).sample(8))


def save_always(patch=setattr):
    """A checkpoint after every update instead of every minute."""
    for name in ("finetune", "matching"):
        patch(importlib.import_module(f"pirf.training.{name}"), "descend", partial(descend, save_every=0.0))


def bowl(out):
    """Ten numbers that are no model: a run that is nearly all saving."""
    parameters = [torch.nn.Parameter(normal(6)), torch.nn.Parameter(normal(4, seed=1))]
    average, history = descend(
        parameters,
        lambda step, *_: (sum((p**2).sum() * (1 + 0.1 * step) for p in parameters), {"note": float(step)}),
        budget=Budget(steps=4),
        lr=0.1,
        rate=Cosine(),
        half_life=0.05,
        out=out,
        identity="bowl",
        save_every=0.0,
        progress=False,
    )
    return average, history


def tuned(denoiser, **options):
    def run(out):
        settings = {"sampler": SAMPLER, "steps": UPDATES, "batch": 2, "pool": 6, "lr": 0.02, "progress": False}
        model = pirf.finetune(denoiser(), Quadratic(0.4), out=out, **(settings | options))
        return model.tunable(), model.history

    return run


def trained(function, *arguments, source=fields, **options):
    def run(out):
        model = tiny_unet(dropout=0.1)
        settings = {"steps": UPDATES, "batch": 3, "progress": False, "out": out}
        data = source()
        given = ((data, model), {}) if function is pirf.pretrain else ((model, *arguments), {"source": data})
        made = function(*given[0], **given[1], **settings, **options)
        return made.tunable(), made.history

    return run


def endless(steps):
    """A run of so many tiny updates; its history is what it takes of the machine, at every hundredth of the way."""

    def run(out):
        found = []

        def made(parameters, lr):
            method = torch.optim.Adam(parameters, lr)
            counted = itertools.count(1)
            method.register_step_post_hook(lambda *_: note(next(counted)))
            return method

        def note(step):
            if step % (steps // 100) == 0:
                files = [p for p in out.rglob("*") if p.is_file()]
                disk = {"files": len(files), "bytes": sum(p.stat().st_size for p in files)}
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                descriptors = len(os.listdir("/proc/self/fd"))
                found.append({"step": step, "memory": pages * os.sysconf("SC_PAGESIZE"), "descriptors": descriptors, **disk})

        options = {"steps": steps, "batch": 1, "lr": 1e-3, "sampler": Euler(steps=2), "optimizer": made, "progress": False}
        if steps < 10_000:  # a history that is full as early
            loop.History = partial(loop.History, most=steps // 20)
        module = importlib.import_module("pirf.training.finetune")
        module.descend = lambda *given, **rest: descend(*given, **(rest | {"save_every": 0.0, "save_at": steps // 40}))
        model = pirf.finetune(Constant((1, 100)), Quadratic(0.4), gradient=LastSteps(1), out=out, **options)
        return model.tunable(), [*found, {"records": len(model.history)}]

    return run


def stored():
    return Handover.split(Tiny(), SAMPLER.before_last(2))


PHYSICS = pirf.problems.poisson(n=8).reward
LEARNED = ContinuousTime(value=Fitted(structured=False, width=4, pretrain=1, batch=8), epochs=2)
RUNS = {
    "bowl": bowl,
    "pretrain": trained(pirf.pretrain),
    "last steps": tuned(Tiny, gradient=LastSteps(2), regularizer=Together((WeightAnchor(1e-2), Distillation(0.1)))),
    "learned value": tuned(Tiny, gradient=LEARNED, sampler=RANDOM),
    "stored prefixes": tuned(stored, gradient=LastSteps(2), spill=True),
    "pidm": trained(pirf.pidm, PHYSICS, source=solutions, sampler=SAMPLER, weight=1e-4),
    "pbfm": trained(pirf.pbfm, PHYSICS, source=solutions, sampler=SAMPLER, unroll=2),
    "pg_diffusion": trained(pirf.pg_diffusion, PHYSICS, source=solutions),
    "1,000 updates": endless(1_000),
    "100,000 updates": endless(100_000),
}
