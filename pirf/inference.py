r"""Samples in physical units: ``sample(model, sampler, count, seed, start)``; sample i depends on (seed, start + i) alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import final

import attrs
import torch
from torch import Tensor
from tqdm.auto import tqdm

from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance, whole
from pirf.memory import by_pieces
from pirf.noise import Noise
from pirf.parallel import gathered, rank, share, world
from pirf.samplers import Chain, Sampler, State
from pirf.samplers.chain import Tally
from pirf.tensors import Condition, Field

__all__ = ["Samples", "branches", "draw", "sample"]


@final
@attrs.frozen(eq=False)
class Samples:
    """Physical fields and what they cost, per sample."""

    fields: Field
    evaluations: float
    vjps: float
    seconds: float


def draw(
    model: Denoiser,
    sampler: Sampler,
    count: int,
    seed: int = 0,
    start: int = 0,
    *,
    condition: Condition | None = None,
    batch: int = 64,
    progress: bool = False,
) -> Samples:
    """Sample and measure.  ``condition`` holds one entry per sample.  Ranks share the samples, and all of them get all."""
    whole("sample(model, sampler, 64, seed=0)", count=count, batch=batch, start=start, seed=seed)
    instance("conditions by name", condition, (Mapping, type(None)), hint='condition={"nu": values}')
    if count < 1 or batch < 1 or start < 0:
        raise InputError(
            "a positive count and batch and a non-negative start are needed",
            got=f"count={count}, batch={batch}, start={start}",
            why="samples are addressed by index",
            hint="sample(model, sampler, 64)",
        )
    short = {
        name: f"{name} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{name}, a {type(value).__name__}"
        for name, value in (condition or {}).items()
        if not isinstance(value, Tensor) or value.shape[:1] != (count,)
    }
    if short:
        raise InputError(
            f"conditions with {count} entries are needed, one for each sample",
            got=", ".join(short.values()),
            why="sample i is told entry i",
            hint=f'condition={{"{next(iter(short))}": torch.full(({count},), value)}}',
        )
    # A guided model takes gradients around a step by itself, which inference mode would forbid; nothing else here needs any.
    fields, evaluations, vjps, began = [], 0, 0, time.perf_counter()
    with torch.inference_mode(False), torch.no_grad():
        mine = share(count) if count >= world() else range(count)

        def reached(rows: range) -> tuple[Field, Tally]:
            part = None if condition is None else {k: v[rows.start : rows.stop] for k, v in condition.items()}
            chain = Chain(sampler, model, Noise(seed)[range(start + rows.start, start + rows.stop)], part)
            return chain.physical(chain.run(chain.initial()).x), chain.tally

        with tqdm(total=len(mine), desc="sampling", leave=False, disable=not progress or rank() > 0) as bar:
            for rows, (part, tally) in by_pieces(mine, batch, reached):
                fields.append(part)
                evaluations += tally.evaluations * len(rows)
                vjps += tally.vjps * len(rows)
                bar.update(len(rows))
        found, spent = torch.cat(fields), time.perf_counter() - began
    if count >= world():
        found = gathered(found)
    return Samples(found, evaluations / len(mine), vjps / len(mine), spent / count)


def sample(
    model: Denoiser,
    sampler: Sampler,
    count: int,
    seed: int = 0,
    start: int = 0,
    *,
    condition: Condition | None = None,
    batch: int = 64,
    progress: bool = False,
) -> Field:
    """Physical fields ``(count, channel, *grid)``, the same for any ``batch`` to the dtype's round-off."""
    return draw(model, sampler, count, seed, start, condition=condition, batch=batch, progress=progress).fields


def branches(
    model: Denoiser, sampler: Sampler, start: int, count: int, seed: int = 0, *, condition: Condition | None = None
) -> Callable[[Denoiser], Field]:
    """Samples of every model that takes the steps before ``start`` as ``model`` does: that prefix is computed once.

    For searching over the weight of a guidance that acts late, or comparing tails: ``branches(base, sampler, 16, 64)(guided)``.
    """
    with torch.inference_mode(False), torch.no_grad():
        root = Chain(sampler, model, Noise(seed)[range(count)], condition)
        state = root.run(root.initial(), 0, start)
        state = State(state.x, state.memory)  # what the root knows of its next evaluation need not be true of the others

    def finish(other: Denoiser) -> Field:
        chain = Chain(sampler, other, Noise(seed)[range(count)], condition)
        with torch.inference_mode(False), torch.no_grad():
            return chain.physical(chain.run(state, start).x)

    return finish
