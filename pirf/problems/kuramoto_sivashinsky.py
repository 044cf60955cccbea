r"""**Kuramoto–Sivashinsky**: u_t + u u_x + u_xx + u_xxxx = 0, periodic in x; one channel with axes (t, x), whose first
frame is given.

The equation and its discrete law are :mod:`pirf.rewards.kuramoto_sivashinsky`'s chapter, its solver and its law
:mod:`pirf.reference.kuramoto_sivashinsky`'s.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.problems.base import Problem
from pirf.reference import kuramoto_sivashinsky as solver
from pirf.reference import random_fields
from pirf.rewards import KuramotoSivashinsky
from pirf.tensors import Field

__all__ = ["kuramoto_sivashinsky"]

Array = NDArray[np.float64]

_LENGTH = 22.0  # of the circle, for every 32 points
_MEASURED_AT = (22.0, 44.0, 88.0, 176.0)
_S = (0.062, 0.101, 0.111, 0.120)  # ⟨u_t²⟩ there


def kuramoto_sivashinsky(n: int = 32) -> Problem:
    """u_t + u u_x + u_xx + u_xxxx = 0 on n frames of n periodic points.  See :mod:`pirf.rewards.kuramoto_sivashinsky`.

    The circle measures 22 for every 32 points (22 below 64), and frames are one unit of time apart.
    """
    return _kuramoto_sivashinsky(int(n))


@lru_cache(maxsize=16)
def _kuramoto_sivashinsky(n: int) -> Problem:
    if n < 24:
        raise InputError(
            "kuramoto_sivashinsky needs 24 points or more",
            got=n,
            why="fewer do not resolve the shortest circle that is chaotic",
            hint="n=32",
        )
    length = _LENGTH * max(1, n // 32)
    grid = Grid((Axis(n, n - 1.0, "nodes"), Axis(n, length, "periodic")))

    def evolve(u0: Array, **other: float) -> Field:
        return torch.from_numpy(solver.frames(u0, length, 1.0, n - 1, solver.SUBSTEPS, **other))[:, None]

    def again(x: Field, **other: float) -> Field:
        return evolve(x[:, 0, 0].double().cpu().numpy(), **other)

    def white(indices: range, seed: int) -> Array:
        return random_fields.white((n,), indices, seed)

    def attractor(count: int) -> Array:
        return solver.attractor(white(range(count), 1), length)

    def chord(x: Field) -> Field:  # to the last frame: along the tangent, fields would leave every bound
        share = torch.linspace(0, 1, n, dtype=x.dtype)[:, None]
        return x[:, :, :1] + share * (x[:, :, -1:] - x[:, :, :1])

    def without_advection(x: Field) -> Field:  # one frame on from truth's: left alone, long waves grow for ever
        rows = x[:, 0, :-1].double().cpu().numpy()
        after = torch.from_numpy(solver.frames(rows, length, 1.0, 1, solver.SUBSTEPS, advection=0.0)[:, :, 1])
        return torch.cat([x[:, :, :1], after[:, None]], 2)

    def faint(count: int) -> Field:  # the fastest waves grow as exp(t/4), so for half of the frames
        return evolve(math.exp(-n / 8) * attractor(count))

    def at_rest(count: int) -> Field:
        number = round(length / 11)  # of cells of 11, which are steady by themselves
        row = solver.cells(n, length, number)
        return evolve(np.stack([np.roll(row, shift) for shift in Noise(1).fold("cells")[range(count)].integers(0, n)]))

    def carried(interval: float) -> Field:  # by a fast mean flow: the stiff waves stay out of it
        wave = np.cos(2 * np.pi * np.arange(n) / n * length / _LENGTH)
        return torch.from_numpy(solver.frames(40.0 + 0.01 * wave, length, interval, n - 1, 16))[None, None]

    return Problem(
        name="kuramoto_sivashinsky",
        n=n,
        grid=grid,
        channels=("u",),
        solved=(0,),
        reward=KuramotoSivashinsky(grid, solver.SUBSTEPS),
        scale=float(np.interp(length, _MEASURED_AT, _S)),
        white=white,
        law=lambda noise: evolve(solver.attractor(noise, length)).numpy(),
        solve=again,
        refine=kuramoto_sivashinsky,
        manufactured_in_time=carried,
        order=4.0,
        impostors={
            "first frame for ever": lambda x: x[:, :, :1].expand_as(x),
            "linear in time": chord,
            "every frame without advection": without_advection,
            "evolved with 0.9 of the viscosity": lambda x: again(x, viscosity=0.9),
        },
        off_law={
            "almost zero, evolved": faint,
            "cells at rest": at_rest,
            "seen from a moving frame": lambda count: evolve(1.0 + attractor(count)),
            "first frame halved, evolved": lambda count: evolve(0.5 * attractor(count)),
        },
        balances={"mean": _drift},
        quantities={"energy": _energy, "energy of the first frame": lambda x: _energy(x[:, :, :1])},
        evolution=True,
    )


def _energy(x: Field) -> Tensor:
    return x.square().flatten(1).mean(1) / 2


def _drift(x: Field) -> Tensor:
    """How far the mean over the circle strays from the first frame's, in units of the sample's own size."""
    mean = x[:, 0].mean(-1)
    size = x.square().flatten(1).mean(1).sqrt().clamp_min(1e-300)
    return (mean - mean[:, :1]).abs().amax(1) / size
