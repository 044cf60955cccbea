r"""**Kolmogorov flow**: three frames of statistically steady two-dimensional turbulence; channels (ω₀, ω₁, ω₂).

The equation and its discrete law are :mod:`pirf.rewards.kolmogorov`'s chapter, its solver :mod:`pirf.reference.kolmogorov`'s.
Consecutive samples share a trajectory: sample i is triplet i mod m of the trajectory ⌊i/m⌋, with m =
``PER_TRAJECTORY`` of :mod:`pirf.reference.kolmogorov`; the trajectory depends on (seed, ⌊i/m⌋) alone.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators import spectral
from pirf.problems.base import Problem
from pirf.reference import kolmogorov as flow
from pirf.reference import random_fields
from pirf.rewards import Kolmogorov
from pirf.rewards.legacy import ReleasedKolmogorov
from pirf.tensors import Field

__all__ = ["kolmogorov"]

Array = NDArray[np.float64]
Form = Literal["lobatto", "map"]

SIZE = 4.0
"""The amplitude of the force: the unit of vorticity, and of its rate."""
_POINTS = (0, 32, 64, 128, 256)
_REYNOLDS = (0.0, 100.0, 200.0, 500.0, 1000.0)  # what so many points resolve
# Measured by benchmarks/kolmogorov.py, to two figures.
_MEASURED_AT = (50.0, 100.0, 200.0, 500.0, 1000.0)
_S = (4.5, 26.0, 70.0, 200.0, 380.0)  # ⟨ω_t²⟩ there
_FLOOR = (2.5e-09, 7.8e-06, 0.0016, 0.2, 3.2)  # mean square of the Lobatto residual on truth there
_WORST = 55.0  # times that: median + 4σ of the log-normal law that the same script fits, for turbulence is intermittent


def kolmogorov(n: int = 32, reynolds: float | None = None, form: Form | None = None) -> Problem:
    """ω_t + u·∇ω = Δω/Re − 0.1ω − 4cos 4y in three frames.  See :mod:`pirf.rewards.kolmogorov`.

    Without ``reynolds``, Re is what n points resolve: 100, 200, 500, 1000 at n = 32, 64, 128, 256.  Without ``form``, the
    residual is the Lobatto form wherever truth scores less than 2e-3 of S under it, and the flow map elsewhere.
    """
    return _kolmogorov(int(n), reynolds, form)


@lru_cache(maxsize=16)
def _kolmogorov(n: int, reynolds: float | None, form: Form | None) -> Problem:
    if n < 14 or n % 2 or (reynolds is not None and not reynolds > 0):
        raise InputError(
            "kolmogorov needs an even number of 14 points or more per axis and a positive Reynolds number",
            got=f"n={n}, reynolds={reynolds}",
            why="the force cos 4y must survive the 2/3 rule",
            hint="n=32",
        )
    re = float(np.interp(n, _POINTS, _REYNOLDS)) if reynolds is None else float(reynolds)
    scale, floor = (float(np.exp(np.interp(np.log(re), np.log(_MEASURED_AT), np.log(v)))) for v in (_S, _FLOOR))
    chosen: Form = form or ("lobatto" if floor <= 2e-3 * scale else "map")
    grid, substeps = Grid.square(n, 2 * math.pi, "periodic"), flow.substeps(n)
    reward = Kolmogorov(grid, re, chosen, substeps)

    def evolve(first: Array) -> Field:
        return torch.from_numpy(flow.followed(first, re, flow.INTERVAL, 2, substeps))

    def solve(x: Field) -> Field:
        return evolve(x[:, 0].double().cpu().numpy())

    def smooth(count: int) -> Array:
        noise = random_fields.white((n, n), range(count), seed=1)
        return 3.0 * flow.random_vorticity(noise, power=8.0, wavenumber=2.0)

    def manufactured_in_time(interval: float) -> Field:
        return torch.from_numpy(flow.frames(smooth(1), re, interval, 2, 64))

    def frozen(x: Field) -> Field:
        return x[:, :1].expand_as(x).clone()

    def linear(x: Field) -> Field:
        slope = torch.from_numpy(flow.tendency(x[:, 0].double().cpu().numpy(), re))[:, None]
        return x[:, :1] + flow.INTERVAL * torch.arange(3).reshape(1, 3, 1, 1) * slope

    def laminar(count: int) -> Field:
        return torch.from_numpy(flow.laminar((n, n), re)).expand(count, 3, n, n).clone()

    def drifting(count: int) -> Field:
        x = problem.sample(count, seed=1)[:, 0].numpy()
        return evolve(x + x.std())

    def decay(x: Field) -> Tensor:  # the mean of a row: the residual implies it
        mean, ages = x.mean((2, 3)), flow.INTERVAL * torch.arange(3).to(x)
        return (mean - mean[:, :1] * torch.exp(-flow.DRAG * ages)).abs().amax(1) / SIZE

    def circulation(x: Field) -> Tensor:  # Stokes: a periodic velocity has none; the residual cannot know
        return x.mean((2, 3)).abs().amax(1) / SIZE

    def enstrophy(x: Field) -> Tensor:
        return 0.5 * (x[:, 1] / SIZE).square().mean((1, 2))

    def dissipation(x: Field) -> Tensor:  # of enstrophy, ⟨|∇ω|²⟩/Re
        slopes = (spectral.derivative(x[:, 1:2], grid, dim).square().mean((1, 2, 3)) for dim in (0, 1))
        return sum(slopes, torch.zeros(())) / re / SIZE

    problem = Problem(
        name="kolmogorov",
        n=n,
        parameters={k: v for k, v in (("reynolds", reynolds), ("form", form)) if v is not None},
        grid=grid,
        channels=("w0", "w1", "w2"),
        solved=(1, 2),
        reward=reward,
        published={"pirf": ReleasedKolmogorov(grid, re)},
        scale=scale,
        white=lambda draws, seed: random_fields.white((n, n), draws, seed),
        law=lambda noise: flow.trajectories(noise, re, substeps),
        per_draw=flow.PER_TRAJECTORY,
        fitted_on=64,
        solve=solve,
        refine=lambda size: kolmogorov(size, reynolds, form),
        manufactured_in_time=manufactured_in_time,
        order=3.0 if chosen == "lobatto" else 4.0,
        tolerance=_WORST * floor / scale if chosen == "lobatto" else 1e-12,
        impostors={"frozen": frozen, "linear in time": linear},
        off_law={
            "laminar flow, at rest": laminar,
            "smooth flow, correctly evolved": lambda count: evolve(smooth(count)),
            "flow + a mean that decays": drifting,
        },
        balances={"decay of the mean vorticity": decay, "circulation": circulation},
        quantities={"enstrophy": enstrophy, "dissipation of enstrophy": dissipation},
    )
    return problem
