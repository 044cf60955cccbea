r"""PG-Diffusion (Shu, Li & Barati Farimani 2023): denoising score matching of a network that is told where the residual of its
noisy state falls,

.. math:: \min_\theta E\,\frac{\sigma^2+s^2}{(\sigma s)^2} \|D_\theta(x, \sigma, \delta(x)) - x_0\|^2,

δ dropped with a probability.

Sampling drives what it was told further, :math:`(1+w)\,D(x, \sigma, \delta) - w\,D(x, \sigma)`, and may move the state along −δ
after every step.  As published the first *and* the last layer of the embedding of δ begin at zero, so that neither ever trains
and the residual never enters; here only the last does.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import Tensor

from pirf.data import Conditioned, Source
from pirf.denoisers import ClassifierFree, Denoiser, FieldInput, UNet, conditioned, inputs_for
from pirf.denoisers.residual_gradient import NAME, ResidualGradient
from pirf.errors import InputError
from pirf.guidance.residual_descent import ResidualDescent
from pirf.rewards import Reward
from pirf.training.loop import Budget, MakeOptimizer, Record
from pirf.training.matching import Matching, Noised
from pirf.training.muon import Muon
from pirf.training.rates import Cosine, Rate

__all__ = ["pg_diffusion"]


def pg_diffusion(
    denoiser: Denoiser | None,
    reward: Reward,
    *,
    source: Source,
    weight: float = 1.0,
    step: float = 0.0,
    drop: float = 0.1,
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
    """Train ``denoiser``, a copy of it, or a new one, to be told δ on fields of ``source``; ready for any sampler.

    An unconditional network is given the conditions first and goes on from what it knows.  ``weight`` is w, ``step`` the ζ of
    :class:`~pirf.guidance.residual_descent.ResidualDescent`, 0 for none; both belong to sampling and can be chosen again around
    the network that comes back.
    """
    if not (reward.differentiable and step >= 0):
        raise InputError(
            "a differentiable reward and a step of 0 or more are needed",
            got=f"{reward!r}, step={step}",
            why="the network is told the reward's gradient, and the state may follow it",
            hint="problem.reward",
        )
    budget = Budget(steps, seconds)
    matching = Matching(budget, batch, micro, lr, optimizer, rate, p_mean, p_std, sigma_data, half_life, clip, precision, seed)
    known = inputs_for(source.condition(256, seed=seed)) if isinstance(source, Conditioned) else {}
    told = {**known, NAME: FieldInput(source.shape[0])}
    if denoiser is None:
        denoiser = UNet(source.shape, source.scaling, sigma_data=sigma_data, seed=seed)
    if not isinstance(denoiser, UNet) or denoiser.told is None or NAME not in denoiser.told.inputs:
        denoiser = conditioned(denoiser, told, drop, seed)

    def loss(model: Denoiser, seen: Noised, at_once: int) -> tuple[Tensor, Record]:
        return matching.loss(matching.estimate(model, seen), seen), {"evaluations": model.cost, "vjps": model.cost}

    told_so = ResidualGradient(denoiser, reward)
    trained = matching.learn(told_so, source, loss, what="PG-Diffusion", label="PG-Diffusion", out=out, progress=progress)
    network = ResidualGradient(ClassifierFree(cast(ResidualGradient, trained).inner, weight), reward)
    whole = ResidualDescent(network, reward, step) if step else network
    whole.history, whole.card = trained.history, trained.card
    return whole
