"""What every rank of a test runs, under ``torchrun``: training, sampling and data in float64, their results kept by rank 0.

``ranks_worker.py <out> [part ...]`` with parts ``all``, ``resume``, ``short``; KILL=rank:update ends one rank there.
"""

import json
import os
import signal
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import attrs
import numpy as np
import torch
from toys import Quadratic, Tiny, normal

import pirf
from pirf import parallel
from pirf.errors import InputError
from pirf.generation import generate
from pirf.noise import Noise
from pirf.scaling import Scaling
from pirf.schedules import EDM
from pirf.training import pbfm, pidm, pretrain

OUT = Path(sys.argv[1])
SAMPLER = pirf.Heun(steps=4, schedule=EDM(0.5, 10.0))
DRAWN = pirf.Ancestral(steps=4, schedule=EDM(0.5, 10.0))
FIELDS = pirf.Fields(normal(24, 2, 8, 8), Scaling((0.1, -0.2), (0.6, 0.9)))


@attrs.frozen
class Gap(pirf.PDEReward):
    """u − a² − 0.3."""

    grid: pirf.Grid = pirf.Grid.square(8)

    def residual(self, x):
        return x[:, 1:] - x[:, :1] ** 2 - 0.3


@attrs.frozen
class Deadly(pirf.Reward):
    """A quadratic during which one rank is killed, at its call number so and so."""

    calls: list = attrs.field(factory=list, eq=False, repr=False)

    def __call__(self, x, condition=None):
        victim, _, call = os.environ.get("KILL", "-1:0").partition(":")
        self.calls.append(1)
        if parallel.rank() == int(victim) and len(self.calls) > int(call):
            os.kill(os.getpid(), signal.SIGKILL)
        return Quadratic(0.4)(x)


class Cramped(Tiny):
    """Memory for ``room`` rows in a graph, on the ranks from ``first`` on."""

    def __init__(self, room=1, first=0):
        super().__init__()
        self.room, self.first = room, first

    def forward(self, x, sigma, condition=None):
        if torch.is_grad_enabled() and len(x) > self.room and parallel.rank() >= self.first:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(x, sigma, condition)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def tuned(gradient, reward=Quadratic(0.4), sampler=SAMPLER, model=Tiny, **more):
    settings = {"sampler": sampler, "gradient": gradient, "steps": 3, "batch": 8, "lr": 0.01, "pool": 16, "progress": False}
    return partial(pirf.finetune, model(), reward, **(settings | more))


def handed():
    return pirf.Handover.split(Tiny(), SAMPLER.before_last(2))


def trained(method, **more):
    return partial(method, steps=3, batch=8, lr=0.01, progress=False, **more)


CASES = {
    "pretrain": trained(pretrain, source=FIELDS, denoiser=Tiny()),
    "pidm": trained(pidm, denoiser=Tiny(), reward=Gap(), source=FIELDS, sampler=SAMPLER, weight=0.1),
    "pbfm": trained(pbfm, denoiser=Tiny(), reward=Gap(), source=FIELDS, sampler=SAMPLER),
    "pbfm, micro-batches": trained(pbfm, denoiser=Tiny(), reward=Gap(), source=FIELDS, sampler=SAMPLER, micro=1),
    "LastSteps": tuned(pirf.LastSteps(2)),
    "uneven, micro-batches": tuned(pirf.LastSteps(2), batch=7, micro=2),
    "uneven, little memory": tuned(pirf.LastSteps(2), batch=7, model=Cramped),
    "replay": tuned(pirf.LastSteps(1), replay=2),
    "Handover": tuned(pirf.LastSteps(2), model=handed),
    "distilled": tuned(pirf.Full(segments=2), regularizer=pirf.Distillation(0.5), batch=6),
    "anchored": tuned(pirf.LowVariance(2), regularizer=pirf.WeightAnchor(1e-3)),
    "layers": tuned(pirf.LayerTruncated(pirf.RandomSteps(), stages=1), clip=0.1),
    "AdjointMatching": tuned(pirf.AdjointMatching(), sampler=DRAWN),
    "PolicyGradient": tuned(pirf.PolicyGradient(epochs=2), sampler=DRAWN, steps=4, micro=1),
    "groups": tuned(pirf.PolicyGradient(group=2), sampler=DRAWN),
    "KLPolicyGradient": tuned(pirf.KLPolicyGradient(standardised=False), sampler=DRAWN),
    "ContinuousTime": tuned(pirf.ContinuousTime(value=pirf.Fitted(pretrain=1, batch=8, width=4)), sampler=DRAWN),
    "StochasticControl": tuned(
        pirf.StochasticControl(temperature=50.0, value=pirf.Fitted(False, pretrain=1, batch=8, width=4)), sampler=DRAWN
    ),
    "Windows": tuned(pirf.Windows(2, updates=1)),
}


def everything():
    kept, losses = {}, {}
    noise = Noise(3).fold("update", 5)[range(8)]
    rows = parallel.share(8)
    kept["noise"] = parallel.gathered(noise[rows].normal((2, 8, 8), torch.float64))
    for name, case in CASES.items():
        model = case()
        kept[name] = flat(model)
        losses[name] = [record["loss"] for record in model.history]
    kept["samples"] = pirf.sample(Tiny(), SAMPLER, 10, batch=3)
    generate(pirf.problems.poisson(8), 20, OUT / f"data-{parallel.world()}", chunk=3, workers=1, progress=False)
    try:
        tuned(pirf.LastSteps(1), batch=1)()
    except InputError as error:
        losses["refused"] = [str(error)]
    return kept, losses


def resumed():
    module = import_module("pirf.training.finetune")  # the package exports the function under the same name
    module.descend = partial(module.descend, save_every=0.0)
    model = tuned(pirf.LastSteps(1), Deadly(), steps=12, out=OUT / "run")()
    return {"resumed": flat(model)}, {"resumed": [record["loss"] for record in model.history]}


def short():
    return trained(pbfm, denoiser=Cramped(2, first=1), reward=Gap(), source=FIELDS, sampler=SAMPLER)()


with pirf.ranks() as rank:
    if "short" in sys.argv[2:]:
        short()
    arrays, figures = resumed() if "resume" in sys.argv[2:] else everything()
    agree = all(torch.equal(*parallel.gathered(a[None])[[0, -1]]) for a in arrays.values())
    if rank == 0:
        name = f"{parallel.world()}"
        np.savez(OUT / name, **{k: a.numpy() for k, a in arrays.items()})
        (OUT / f"{name}.json").write_text(json.dumps({"losses": figures, "ranks agree": agree}))
