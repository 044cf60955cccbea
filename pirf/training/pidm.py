r"""Physics-informed diffusion models (Bastek, Sun & Kochmann 2024): data and residual in one loss,

.. math:: \min_\theta E\Big[\frac{\sigma^2+s^2}{(\sigma s)^2} \|D_\theta(x_0 + \sigma z, \sigma) - x_0\|^2
          + \frac{c}{2\sigma} \sum_i R_i(\hat x)^2\Big].

*Which estimate.*  The mean estimate is :math:`\hat x = D_\theta(x, \sigma)`.  It is the mean of many fields, and a mean of
solutions need not solve an equation that is not linear: the exact model may have a residual there, and the loss pulls away from
it.  The sample estimate jumps to the sampler's last level, :math:`x' = D + \tfrac{\sigma_{min}}{\sigma}(x - D)`, and evaluates
once more, :math:`\hat x = D_\theta(x', \sigma_{min})`, with the gradient through both.

*Units.*  :math:`\sum_i R_i^2` counts every row of the residual in the units of the equation: c has a value for each problem
and each grid, and is what :func:`pirf.tune` is for.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from pirf.data import Source
from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance
from pirf.rewards import Reward
from pirf.samplers import Sampler
from pirf.training.loop import Budget, MakeOptimizer, Record
from pirf.training.matching import Matching, Noised
from pirf.training.muon import Muon
from pirf.training.rates import Cosine, Rate
from pirf.training.residuals import admitted, bare, coloured, lowered, rows_of

__all__ = ["pidm"]


def pidm(
    denoiser: Denoiser,
    reward: Reward,
    *,
    source: Source,
    sampler: Sampler,
    weight: float,
    estimate: Literal["mean", "sample"] = "mean",
    steps: int | None = None,
    seconds: float | None = None,
    batch: int = 32,
    micro: int | None = None,
    lr: float = 1e-2,
    optimizer: MakeOptimizer = Muon,
    rate: Rate = Cosine(warmup=0.02),
    p_mean: float = -1.2,
    p_std: float = 1.2,
    sigma_data: float = 0.5,
    half_life: float = 0.05,
    clip: float | None = None,
    precision: torch.dtype | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Denoiser:
    """Train a copy of ``denoiser`` on ``source`` and on the residual of ``reward``; the averaged model comes back.

    ``weight`` is c; with 0 this is :func:`pirf.pretrain`.  ``sampler`` is what the model will be sampled with: the sample
    estimate jumps to its last positive level, and a sample that is below that stays where it is.  The history has the two terms
    (``data``, ``physics``), minus the mean square of the residual (``score``) and the evaluations of every update.
    """
    instance("a sampler", sampler, Sampler, hint="sampler=Heun(steps=20)")
    told = admitted(denoiser, reward)
    if not 0 <= weight < math.inf or estimate not in ("mean", "sample"):
        raise InputError(
            'a finite weight ≥ 0 and estimate="mean" or "sample" are needed',
            got=f"weight={weight}, estimate={estimate!r}",
            why="the residual is penalised, of the estimate or of its jump to the last level",
            hint='weight=1e-3, estimate="mean"',
        )
    budget = Budget(steps, seconds)
    network, colour = bare(denoiser)
    matching = Matching(
        budget, batch, micro, lr, optimizer, rate, p_mean, p_std, sigma_data, half_life, clip, precision, seed, colour
    )
    last = sampler.levels[-2]

    def loss(model: Denoiser, seen: Noised, at_once: int) -> tuple[Tensor, Record]:
        found = matching.estimate(model, seen)
        data = matching.loss(found, seen)
        if estimate == "sample":
            found = matching.estimate(model, lowered(seen, found, seen.sigma.clamp(max=last), "jump"))
        rows = rows_of(model, told, found, seen.condition)
        physics = (rows.square().sum(1) / (2 * seen.sigma)).mean()
        made = model.cost * (2 if estimate == "sample" else 1)
        terms = {"data": float(data.detach()), "physics": float(physics.detach())}
        counts = {"evaluations": made, "vjps": made}
        return data + weight * physics, {"score": -float(rows.detach().square().mean()), **terms, **counts}

    what = ("pidm", reward, last, weight, estimate)
    return coloured(matching.learn(network, source, loss, what=what, label="PIDM", out=out, progress=progress), colour)
