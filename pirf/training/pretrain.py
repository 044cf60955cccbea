r"""Denoising score matching with EDM's weighting:
:math:`\min_\theta E\, \frac{\sigma^2+s^2}{(\sigma s)^2} \|D_\theta(x_0 + \sigma z, \sigma) - x_0\|^2`,
:math:`\ln\sigma \sim N(P_{mean}, P_{std}^2)`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from pirf.data import Conditioned, Source
from pirf.denoisers import Coloured, Denoiser, UNet, inputs_for
from pirf.scaling import Colour
from pirf.training.loop import Budget, MakeOptimizer, Record
from pirf.training.matching import Matching, Noised
from pirf.training.muon import Muon
from pirf.training.rates import Cosine, Rate

__all__ = ["pretrain"]


def pretrain(
    source: Source,
    denoiser: Denoiser | None = None,
    *,
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
    colour: Colour | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> Denoiser:
    """Train a denoiser on fields of ``source``; the averaged model comes back, the one passed in is left alone.

    What a :class:`~pirf.Conditioned` source tells of its samples is told to the network.
    With a ``colour`` the noise is a random field of that kind, and a :class:`~pirf.denoisers.coloured.Coloured` model comes
    back; one that is passed in goes on with its own.
    ``precision`` (bfloat16, say) casts the network's evaluations only.  With ``out``, the same call again resumes.
    """
    if colour is None and isinstance(denoiser, Coloured):
        colour, denoiser = denoiser.colour, denoiser.inner
    budget = Budget(steps, seconds)
    matching = Matching(
        budget, batch, micro, lr, optimizer, rate, p_mean, p_std, sigma_data, half_life, clip, precision, seed, colour
    )
    if denoiser is None:
        told = inputs_for(source.condition(256, seed=seed)) if isinstance(source, Conditioned) else {}
        denoiser = UNet(source.shape, source.scaling, sigma_data=sigma_data, seed=seed, conditions=told)
    if colour is not None:
        Coloured(denoiser, colour)  # refused now rather than after training

    def loss(model: Denoiser, seen: Noised, at_once: int) -> tuple[Tensor, Record]:
        return matching.loss(matching.estimate(model, seen), seen), {"evaluations": model.cost, "vjps": model.cost}

    model = matching.learn(denoiser, source, loss, out=out, progress=progress)
    if colour is None:
        return model
    whole = Coloured(model, colour).eval()
    whole.history, whole.card = model.history, model.card
    return whole
