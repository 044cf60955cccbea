"""Compile rewards whole and compare them with themselves: ``python tests/compiled.py aot_eager poisson burgers …``.

A script, so that its process is free of the shape checks that the suite wraps around every function: they cannot be traced.
"""

import importlib
import inspect
import math
import pkgutil
import sys
import time

import attrs
import torch
from cases import NAMES, rewards, smallest, truth
from tolerances import assert_close
from toys import normal

import pirf.rewards
from pirf.grids import Axis, Grid
from pirf.operators import Neumann
from pirf.rewards import (
    BlackBox,
    Burgers,
    Darcy,
    Decades,
    Given,
    Helmholtz,
    Kolmogorov,
    Observation,
    Points,
    Poisson,
    Reward,
    Scaled,
    Stacked,
    Sum,
    Weights,
)

OBLONG = Grid((Axis(6), Axis(8, 2.0)))
FRAMES = Grid((Axis(4, 1.0, "nodes"), Axis(6, 1.0, "periodic")))
TORUS = Grid((Axis(6, 2 * math.pi, "periodic"), Axis(14, 2 * math.pi, "periodic")))


SENSORS = torch.zeros(2, 6, 8, dtype=torch.bool)
SENSORS[:, ::2, ::3] = True
SOME = Stacked((Points(SENSORS), Weights(torch.ones(1, 2, 6, 8))))


def positive(channels, grid):
    return normal(2, channels, *grid.shape).exp()


BEYOND = {
    "oblong": (Poisson(OBLONG), positive(2, OBLONG)),
    "levels": (Darcy(OBLONG, levels=(0.8, 1.2), norm="solution"), positive(2, OBLONG)),
    "given": (Given(Darcy(OBLONG, Neumann(0.0)), (0,)), positive(2, OBLONG)),
    "sum": (Sum((Scaled(Decades(Poisson(OBLONG), 0.1), 0.5), Helmholtz(OBLONG, 8.0, "solution"))), positive(2, OBLONG)),
    "frames": (Burgers(FRAMES, 0.02), positive(1, FRAMES)),
    "measured": (Observation(SOME, torch.zeros(SOME.rows), 0.1), positive(2, OBLONG)),
    "torus": (Kolmogorov(TORUS, 40.0), positive(3, TORUS)),
}
"""What comes with no problem: combinations, options, grids that are not square."""


def cases(name):
    """(reward, fields) for everything that goes by this name."""
    if name in BEYOND:
        return [BEYOND[name]]
    found = [*rewards(name).values(), *smallest(name).published.values()]
    return [(brief(reward), truth(name, 2)) for reward in found]


def brief(reward):
    """With one step of those that a flow map repeats: a graph holds them all, and each is as long to trace."""
    return attrs.evolve(reward, substeps=1) if hasattr(reward, "substeps") else reward


def missing():
    """Public reward classes that no case contains; what a black box holds is not the package's to compile."""
    rooms = [importlib.import_module(m.name) for m in pkgutil.iter_modules(pirf.rewards.__path__, "pirf.rewards.")]
    classes = {thing for room in rooms for thing in vars(room).values() if inspect.isclass(thing)}
    rewards = {c for c in classes if issubclass(c, Reward) and not inspect.isabstract(c)}
    return rewards - {BlackBox} - {c for name in (*NAMES, *BEYOND) for reward, _ in cases(name) for c in together(reward)}


def together(reward):
    """The class of a reward, and those of what it wraps."""
    parts = [getattr(reward, "reward", None), *getattr(reward, "rewards", ())]
    return {type(reward)}.union(*(together(part) for part in parts if part is not None))


def check(reward, fields, backend):
    """One graph; the scores and gradients are those without it."""
    torch.compiler.reset()
    agree(torch.compile(reward, fullgraph=True, backend=backend), reward, fields)


def check_sizes(backend):
    """One compiled function for several grids: from the second one on their sizes are symbols to the compiler."""
    for kind, channels in (
        (lambda n: Poisson(Grid((Axis(n), Axis(n + 2, 0.1 * n))), "solution"), 2),
        (lambda n: Darcy(Grid((Axis(n), Axis(n + 2, 0.1 * n))), norm="solution"), 2),
    ):
        torch.compiler.reset()
        whole = torch.compile(lambda reward, x: reward(x), fullgraph=True, backend=backend)
        for n in (12, 14):
            reward = kind(n)
            agree(lambda x, reward=reward, whole=whole: whole(reward, x), reward, positive(channels, reward.grid))


def agree(whole, reward, fields):
    x = fields + 1e-2 * fields.std() * normal(*fields.shape)  # off the solution, where scores are round-off
    found = []
    for score in (whole, reward):
        leaf = x.clone().requires_grad_()
        scores = score(leaf)
        found.append((scores, *torch.autograd.grad(scores.sum(), leaf)))
    for compiled, eager in zip(*found, strict=True):
        assert_close(compiled, eager)


if __name__ == "__main__":
    torch.set_num_threads(1)
    backend, *names = sys.argv[1:]
    if "sizes" in names:
        names.remove("sizes")
        check_sizes(backend)
    for name in names if len(sys.argv) > 2 else (*NAMES, *BEYOND):
        for reward, fields in cases(name):
            began = time.perf_counter()
            check(reward, fields, backend)
            print(f"{time.perf_counter() - began:6.1f} s  {reward!r}", flush=True)
