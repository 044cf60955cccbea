r"""Which values are measured, as boolean masks ``(channel, *grid)``, and measurements of a truth that is known.

A mask is a tensor: ``a | b``, ``a & b`` and ``~a`` are masks.  What is asked is said by what is measured: a forward problem
measures the given channels, an inverse one the solution, an evolution its first frames.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from jaxtyping import Bool
from torch import Tensor

from pirf.errors import InputError, instance
from pirf.noise import Noise
from pirf.rewards.functionals import Functional, Points
from pirf.rewards.observation import Observation

__all__ = ["lines", "observe", "region", "sensors"]

Mask = Bool[Tensor, "channel *grid"]


def region(shape: Sequence[int], channels: int | Sequence[int] | None = None, frames: int | slice = slice(None)) -> Mask:
    """Every point of these channels and these ``frames``, the entries of the first axis of the grid.

    ``region(problem.shape, problem.given)`` is what a forward problem is told; ``frames=slice(0, 8)`` the past.
    """
    mask = torch.zeros(tuple(shape), dtype=torch.bool)
    wanted = range(shape[0]) if channels is None else [channels] if isinstance(channels, int) else list(channels)
    try:
        for channel in wanted:
            mask[channel, frames] = True
    except (IndexError, TypeError):  # TypeError: a name, which says of no channel where it is
        mask.zero_()
    if not bool(mask.any()):
        raise InputError(
            f"channels and frames of a field of shape {tuple(shape)} are needed",
            got=f"channels={channels}, frames={frames}",
            why="there is no such point",
            hint="region(problem.shape, problem.given)",
        )
    return mask


def sensors(within: Mask, count: int | None = None, *, share: float | None = None, seed: int = 0) -> Mask:
    """Random points of a region: ``count`` of them, or a ``share``.  More of the same seed contain the fewer."""
    _boolean(within)
    places = within.nonzero()
    number = -1 if (count is None) == (share is None) else count if count is not None else round((share or 0) * len(places))
    if not isinstance(number, int) or not 1 <= number <= len(places):
        raise InputError(
            f"between 1 and {len(places)} sensors, by count= or by share=, are needed",
            got=f"count={count}, share={share}",
            why="the region has as many points",
            hint="sensors(region(problem.shape, 1), 30)",
        )
    (generator,) = Noise(seed).fold("sensors").generators()
    return _at(within, places[torch.from_numpy(generator.permutation(len(places))[:number])])


def lines(within: Mask, axis: int, count: int, *, seed: int | None = None) -> Mask:
    """Whole lines: ``count`` positions along one axis of the grid, evenly spaced or, with a ``seed``, random.

    Five sensors of Burgers that report at all times are ``lines(region(problem.shape), axis=1, count=5)``.
    """
    _boolean(within)
    size = within.shape[1 + axis] if 0 <= axis < within.ndim - 1 else 0
    if not 1 <= count <= size:
        raise InputError(
            f"an axis among 0 … {within.ndim - 2}, and between 1 and as many lines as it has points, are needed",
            got=f"axis={axis}, count={count}",
            why=f"the grid has {' × '.join(map(str, within.shape[1:]))} points",
            hint="lines(region(problem.shape), axis=1, count=5)",
        )
    if seed is None:
        positions = [(2 * i + 1) * size // (2 * count) for i in range(count)]
    else:
        (generator,) = Noise(seed).fold("lines").generators()
        positions = generator.permutation(size)[:count].tolist()
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[positions] = True
    return within & chosen.reshape(-1, *[1] * (within.ndim - 2 - axis)).to(within.device)


def observe(
    truth: Tensor, what: Tensor | Functional, noise: Tensor | float | Sequence[float] = 0.0, *, seed: int = 0
) -> Observation:
    """What a mask or a functional would measure of one field, ``(channel, *grid)`` or a batch of one, with keyed noise.

    The noise of a point does not depend on which others are measured.  ``noise`` is that of :class:`Observation`: physical
    units, for all, for each channel or for each row.
    """
    instance("a tensor of truth", truth, Tensor, hint="observe(torch.from_numpy(truth), mask)")
    functional = what if isinstance(what, Functional) else Points(what)
    whole = truth if truth.ndim == len(functional.shape) else truth[0] if len(truth) == 1 else truth
    exact = Observation(functional, functional.measure(whole[None].double().cpu())[0], noise)
    stream = Noise(seed).fold("measurement")
    if isinstance(functional, Points):
        draw = functional.measure(stream.normal(functional.shape, torch.float64))[0]
    else:
        draw = stream.normal((functional.rows,), torch.float64)[0]
    return attrs.evolve(exact, values=exact.values + exact.deviations * draw, noise=exact.deviations)


def _boolean(mask: Tensor) -> None:
    instance("a mask, a boolean tensor (channel, *grid),", mask, Tensor, hint="region(problem.shape, problem.solved)")
    if mask.dtype != torch.bool:
        raise InputError(
            "a boolean mask is needed",
            got=f"{mask.dtype} of shape {tuple(mask.shape)}",
            why="it says which values are measured",
            hint="mask.bool()",
        )


def _at(like: Mask, places: Tensor) -> Mask:
    out = torch.zeros_like(like)
    out[tuple(places.T)] = True
    return out
