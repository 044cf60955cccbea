r"""Denoising score matching, what every method that trains on data shares: :math:`x = x_0 + \sigma z` at random levels,
:math:`\ln\sigma \sim N(P_{mean}, P_{std}^2)`, and EDM's weight :math:`(\sigma^2+s^2)/(\sigma s)^2` on the error of
:math:`D_\theta(x, \sigma)`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

import attrs
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pirf.data import Conditioned, Source
from pirf.data.base import finite
from pirf.denoisers import Denoiser
from pirf.denoisers.base import lay_out
from pirf.denoisers.cards import Described
from pirf.denoisers.dropout import keyed_dropout
from pirf.errors import InputError, NumericalError, instance, numbers, whole
from pirf.noise import Noise
from pirf.parallel import gathered, world
from pirf.scaling import Colour
from pirf.tensors import Condition, Field, spoiled
from pirf.training.checkpoints import fingerprint, names_of
from pirf.training.loop import Budget, MakeOptimizer, Record, descend
from pirf.training.muon import Muon
from pirf.training.rates import Cosine, Rate

__all__ = ["Matching", "Noised"]


@final
@attrs.frozen(eq=False)
class Noised:
    """The samples of one update, normalised, each at a level of its own."""

    clean: Field
    noisy: Field
    sigma: Tensor
    noise: Noise
    """Where this update's draws are addressed."""
    condition: Condition | None = None

    def __getitem__(self, rows: slice) -> Noised:
        """Some of the samples."""
        told = None if self.condition is None else {name: value[rows] for name, value in self.condition.items()}
        return Noised(self.clean[rows], self.noisy[rows], self.sigma[rows], self.noise[self.noise.samples[rows]], told)

    @property
    def column(self) -> Tensor:
        """σ, shaped to multiply fields."""
        return self.sigma.reshape(-1, *[1] * (self.clean.ndim - 1))


@final
@attrs.frozen
class Matching:
    """How a network is trained on data: budget, levels, optimizer.  ``learn`` runs it with any loss of a noised batch."""

    budget: Budget
    batch: int = 32
    micro: int | None = attrs.field(default=None, repr=False)
    """Rows per evaluation; what is learned does not depend on it, and a run may go on with another."""
    lr: float = 1e-2
    optimizer: MakeOptimizer = Muon
    rate: Rate = Cosine(warmup=0.02)
    p_mean: float = -1.2
    p_std: float = 1.2
    sigma_data: float = 0.5
    half_life: float = 0.05
    clip: float | None = None
    precision: torch.dtype | None = None
    seed: int = 0
    colour: Colour | None = None
    """What makes the noise a random field: the network then learns to remove σ C^{1/2} z, in plain units."""
    levels: Callable[[Noise, Tensor], Tensor] | None = None
    """Another law of the levels: (noise, a tensor with dtype and device) → σ of every sample."""

    def draw(self, model: Denoiser, source: Source, step: int, rows: range | None = None) -> Noised:
        """The batch of this update, or some rows of it."""
        rows = range(self.batch) if rows is None else rows
        start = step * self.batch + rows.start
        fields = source.sample(len(rows), seed=self.seed, start=start)
        told = source.condition(len(rows), self.seed, start) if isinstance(source, Conditioned) else {}
        clean = model.scaling.normalise(fields).to(model.like)
        if not finite(clean):
            raise NumericalError(
                f"{source!r} gave fields that are not finite in channel(s) {spoiled(clean)}; weights untouched."
            )
        noise = Noise(self.seed).fold("pretrain", step)[rows]
        sigma = self._levels(noise.fold("level"), clean)
        seen = Noised(clean, clean, sigma, noise, {name: value.to(clean.device) for name, value in told.items()} or None)
        z = noise.fold("state").normal(model.shape, clean.dtype, clean.device)
        return attrs.evolve(seen, noisy=clean + seen.column * (z if self.colour is None else self.colour.colour(z)))

    def estimate(self, model: Denoiser, seen: Noised, at_once: int | None = None) -> Field:
        """D(x, σ, c), cast and with keyed dropout, of features and of conditions.

        Of more than ``at_once`` samples, so many together, each part made again in the backward pass.
        """
        size = at_once or len(seen.noisy)
        if len(seen.noisy) <= size:
            return self._estimate(model, seen)
        parts = (seen[first : first + size] for first in range(0, len(seen.noisy), size))
        return torch.cat([checkpoint(self._estimate, model, part, use_reentrant=False) for part in parts])

    def _estimate(self, model: Denoiser, seen: Noised) -> Field:
        device = seen.clean.device
        cast = torch.autocast(device.type, dtype=self.precision) if self.precision is not None else contextlib.nullcontext()
        # Layers of others draw from the global generator: it gets a keyed one for the time of the evaluation.
        with cast, keyed_dropout(seen.noise), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seen.noise.fold("dropout").integers(0, 2**62)[0])
            return model(seen.noisy, seen.sigma, seen.condition)

    def loss(self, estimate: Field, seen: Noised) -> Tensor:
        """The weighted mean-square error."""
        weight = (seen.column**2 + self.sigma_data**2) / (seen.column * self.sigma_data) ** 2
        return (weight * (estimate - seen.clean) ** 2).mean()

    def _levels(self, noise: Noise, like: Tensor) -> Tensor:
        if self.levels is not None:
            return self.levels(noise, like)
        return torch.exp(self.p_mean + self.p_std * noise.normal((), like.dtype, like.device))

    def learn(
        self,
        denoiser: Denoiser,
        source: Source,
        loss: Callable[[Denoiser, Noised, int], tuple[Tensor, Record]],
        *,
        separable: bool = True,
        what: object = "",
        label: str = "pretraining",
        out: str | Path | None = None,
        progress: bool = True,
    ) -> Denoiser:
        """Minimise ``loss(model, batch, at_once)`` on a copy of ``denoiser``; the averaged model comes back with its history.

        ``what`` names the loss: with ``source`` and the settings it is the identity of a run that resumes from ``out``.
        """
        instance("a denoiser", denoiser, Denoiser, hint="UNet(problem.shape, problem.scaling)")
        instance("a source of fields", source, Source, hint="a problem, or pirf.Fields(array)")
        whole("batch=32, seed=0", batch=self.batch, seed=self.seed)
        numbers("p_mean=-1.2, p_std=1.2", p_mean=self.p_mean, p_std=self.p_std, sigma_data=self.sigma_data)
        instance("a precision", self.precision, (torch.dtype, type(None)), hint="precision=torch.bfloat16")
        if self.batch < 1 or not self.p_std >= 0 or not self.sigma_data > 0:
            raise InputError(
                "batch ≥ 1, p_std ≥ 0 and sigma_data > 0 are needed",
                got=f"batch={self.batch}, p_std={self.p_std}, sigma_data={self.sigma_data}",
                why="they are a count and two spreads",
                hint="batch=32, p_std=1.2, sigma_data=0.5",
            )
        if tuple(source.shape) != denoiser.shape:
            raise InputError(
                f"a source of fields with shape {denoiser.shape} is needed",
                got=f"shape {tuple(source.shape)}",
                why="the denoiser models fields of that shape",
                hint="the problem that the denoiser was made for",
            )
        model = copy.deepcopy(denoiser).train()
        if self.precision == torch.bfloat16:
            lay_out(model, torch.contiguous_format)  # bfloat16 kernels prefer the plain layout, float32 ones do not
        parameters = model.tunable()
        if not parameters:
            raise InputError(
                "a denoiser with weights is needed",
                got=type(denoiser).__name__,
                why="nothing of it can be trained",
                hint="UNet(problem.shape, problem.scaling)",
            )
        start, beside = fingerprint(denoiser) if out is not None else "", _Beside(model)
        average, history = descend(
            parameters,
            lambda step, rows, at_once: loss(model, self.draw(model, source, step, rows), at_once),
            batch=self.batch,
            micro=self.micro,
            separable=separable,
            names=names_of(model, parameters),
            budget=self.budget,
            lr=self.lr,
            optimizer=self.optimizer,
            rate=self.rate,
            half_life=self.half_life,
            clip=self.clip,
            out=None if out is None else Path(out),
            identity=repr((what, source, start, self)),
            kept=lambda: beside,
            label=label,
            progress=progress,
        )
        with torch.no_grad():
            for parameter, mean in zip(parameters, average, strict=True):
                parameter.copy_(mean)
        beside.agree()
        model.history = history
        if isinstance(source, Described) and source.facts:
            model.card = {**model.card, "fields": dict(source.facts)}
        lay_out(model, torch.channels_last)
        return model.eval()


@final
@attrs.frozen(eq=False)
class _Beside:
    """What layers of other libraries learn beside their weights: running means of batches, counts."""

    model: Denoiser

    def tensors(self) -> dict[str, Tensor]:
        """By name, each in memory of its own."""
        return {name: buffer.detach().clone() for name, buffer in self.model.named_buffers()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """In place."""
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                if name in tensors:
                    buffer.copy_(tensors[name])

    def agree(self) -> None:
        """All ranks take those of rank 0, which has written the checkpoints."""
        if world() > 1:
            self.restore({name: gathered(buffer[None])[0] for name, buffer in self.model.named_buffers()})
