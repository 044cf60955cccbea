r"""Denoising score matching with EDM's weighting:
:math:`\min_\theta E\, \frac{\sigma^2+s^2}{(\sigma s)^2} \|D_\theta(x_0 + \sigma z, \sigma) - x_0\|^2`,
:math:`\ln\sigma \sim N(P_{mean}, P_{std}^2)`.
"""

from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import torch

from pirf.data import Source
from pirf.denoisers import Denoiser, UNet
from pirf.denoisers.base import lay_out
from pirf.noise import Noise
from pirf.training.checkpoints import fingerprint
from pirf.training.loop import Budget, MakeOptimizer, Record, descend
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
    """Train a denoiser on fields of ``source``; the averaged model comes back, the one passed in is left alone.

    ``precision`` (bfloat16, say) casts the network's evaluations only.  With ``out``, the same call again resumes.
    """
    budget = Budget(steps, seconds)
    if denoiser is None:
        denoiser = UNet(source.shape, source.scaling, sigma_data=sigma_data, seed=seed)
    model = copy.deepcopy(denoiser).train()
    if precision == torch.bfloat16:
        lay_out(model, torch.contiguous_format)  # bfloat16 kernels prefer the plain layout, float32 ones do not
    parameters = model.tunable()
    device = model.like.device
    cast = torch.autocast(device.type, dtype=precision) if precision is not None else contextlib.nullcontext()

    def loss(step: int) -> tuple[torch.Tensor, Record]:
        fields = source.sample(batch, seed=seed, start=step * batch)
        clean = model.scaling.normalise(fields).to(model.like)
        noise = Noise(seed).fold("pretrain", step)[range(batch)]
        sigma = torch.exp(p_mean + p_std * noise.fold("level").normal((), clean.dtype, device))
        column = sigma.reshape(-1, *[1] * (clean.ndim - 1))
        noisy = clean + column * noise.fold("state").normal(model.shape, clean.dtype, device)
        # Dropout draws from the global generator: it gets a keyed one for the time of the evaluation.
        with cast, torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(noise.fold("dropout").integers(0, 2**62)[0])
            estimate = model(noisy, sigma)
        weight = (column**2 + sigma_data**2) / (column * sigma_data) ** 2
        return (weight * (estimate - clean) ** 2).mean(), {}

    start = fingerprint(denoiser) if out is not None else ""
    identity = repr((source, start, batch, lr, optimizer, rate, p_mean, p_std, half_life, clip, precision, seed, budget))
    average, history = descend(
        parameters,
        loss,
        budget=budget,
        lr=lr,
        optimizer=optimizer,
        rate=rate,
        half_life=half_life,
        clip=clip,
        out=None if out is None else Path(out),
        identity=identity,
        label="pretraining",
        progress=progress,
    )
    with torch.no_grad():
        for parameter, mean in zip(parameters, average, strict=True):
            parameter.copy_(mean)
    model.history = history
    lay_out(model, torch.channels_last)
    return model.eval()
