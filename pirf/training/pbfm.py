r"""Physics-based flow matching (Baldan et al. 2025): :math:`\min_\theta L_{flow}` and :math:`\min_\theta L_R`, merged without
conflict (Liu et al. 2024).

*Flow matching in these coordinates.*  The straight path :math:`(1-t)\,x_0 + t z` is :math:`(1-t)(x_0 + \sigma z)` with
:math:`\sigma = t/(1-t)`.  The velocity of an estimate misses :math:`z - x_0` by :math:`(x_0 - D)/t`, so that
:math:`L_{flow} = E\,\|D_\theta(x_0 + \sigma z, \sigma) - x_0\|^2/t^2`, with t uniform between the levels of the sampler.

*Unrolling.*  The residual is that of :math:`\hat x_0` after ``unroll`` Euler steps at equidistant t from the noisy state to 0,
with the gradient through all of them: :math:`L_R = E\,(1-t)^p\,\overline{R(\hat x_0)^2}`.  An Euler step is the same in t and
in σ.

*Without conflict.*  With :math:`\hat a, \hat b` the directions of the two gradients, the update goes along their bisector, as
far as both together ask for in that direction: :math:`g = \tfrac12 (\|a\| + \|b\|)(\hat a + \hat b)`.  For two gradients this
is ConFIG, :math:`U\big[U(a - \hat b\hat b^T a) + U(b - \hat a\hat a^T b)\big]` with U the unit vector, and its length.  It
makes equal angles with both, neither loss rises along it to first order, and it ends where they are opposed.  The direction
knows no units, so that there is no weight to choose; the length does, for optimizers that look at it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import torch
from torch import Tensor

from pirf.data import Source
from pirf.denoisers import Denoiser
from pirf.denoisers.paths import LinearPath
from pirf.errors import InputError, instance
from pirf.noise import Noise
from pirf.parallel import averaged, world
from pirf.rewards import Reward
from pirf.samplers import Sampler
from pirf.tensors import Field
from pirf.training.loop import Budget, MakeOptimizer, Record
from pirf.training.matching import Matching, Noised
from pirf.training.muon import Muon
from pirf.training.rates import Cosine, Rate
from pirf.training.residuals import admitted, bare, coloured, lowered, rows_of

__all__ = ["Merged", "UniformTimes", "conflict_free", "pbfm"]

_PATH = LinearPath()


@final
@attrs.frozen
class UniformTimes:
    """Levels t/(1 − t) with t uniform between the times of two levels."""

    low: float
    high: float

    def __call__(self, noise: Noise, like: Tensor) -> Tensor:
        """One level per sample."""
        last, first = _PATH.time(like.new_tensor([self.low, self.high]))
        return _PATH.sigma(last + (first - last) * noise.uniform(like.dtype, like.device))


@final
@attrs.frozen(eq=False)
class Merged:
    """One gradient of two, per parameter (None where neither loss depends on it), and the cosine between the two."""

    gradients: tuple[Tensor | None, ...]
    cosine: float


def conflict_free(first: Sequence[Tensor | None], second: Sequence[Tensor | None]) -> Merged:
    """½ (‖a‖ + ‖b‖)(a/‖a‖ + b/‖b‖), all parameters as one vector; where one gradient is zero, the other."""
    pairs = list(zip(first, second, strict=True))
    a, b = _length(first), _length(second)
    if a == 0 or b == 0:
        return Merged(tuple(_sum(x, y, 1.0, 1.0) for x, y in pairs), 0.0)
    products = [torch.sum(x.double() / a * (y.double() / b)) for x, y in pairs if x is not None and y is not None]
    cosine = float(torch.stack(products).sum()) if products else 0.0
    mean = 0.5 * (a + b)
    return Merged(tuple(_sum(x, y, mean / a, mean / b) for x, y in pairs), cosine)


def pbfm(
    denoiser: Denoiser,
    reward: Reward,
    *,
    source: Source,
    sampler: Sampler,
    unroll: int = 4,
    power: float = 1.0,
    steps: int | None = None,
    seconds: float | None = None,
    batch: int = 32,
    micro: int | None = None,
    lr: float = 1e-2,
    optimizer: MakeOptimizer = Muon,
    rate: Rate = Cosine(warmup=0.02),
    half_life: float = 0.05,
    clip: float | None = None,
    precision: torch.dtype | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = True,
) -> Denoiser:
    """Train a copy of ``denoiser`` on ``source`` and on the residual of ``reward``; the averaged model comes back.

    ``sampler`` is what the model will be sampled with: training covers its levels.  ``unroll=1`` takes the residual of the
    estimate itself.  ``power`` is p: the larger it is, the less the residual counts where the estimate is uncertain.  The loss
    of the history is the sum of its two losses (``data``, ``physics``); no update descends on the sum.  ``cosine`` is that
    between their gradients, below 0 where they are in conflict.
    """
    instance("a sampler", sampler, Sampler, hint="sampler=Heun(steps=20)")
    told = admitted(denoiser, reward)
    if not isinstance(unroll, int) or unroll < 1 or not 0 <= power < math.inf:
        raise InputError(
            "unroll ≥ 1 and a finite power ≥ 0 are needed",
            got=f"unroll={unroll}, power={power}",
            why="the estimate is a number of Euler steps away, and counts least at the highest noise",
            hint="unroll=4, power=1.0",
        )
    network, colour = bare(denoiser)
    matching = Matching(
        Budget(steps, seconds),
        batch=batch,
        micro=micro,
        lr=lr,
        optimizer=optimizer,
        rate=rate,
        half_life=half_life,
        clip=clip,
        precision=precision,
        seed=seed,
        colour=colour,
        levels=UniformTimes(sampler.levels[-2], sampler.levels[0]),
    )

    def loss(model: Denoiser, seen: Noised, at_once: int) -> tuple[Tensor, Record]:
        t = _PATH.time(seen.column)
        found = matching.estimate(model, seen, at_once)
        data = ((found - seen.clean) / t).square().mean()
        rows = rows_of(model, told, _unrolled(matching, model, seen, found, unroll, at_once), seen.condition)
        physics = ((1 - t.flatten()) ** power * rows.square().mean(1)).mean()
        parameters = model.tunable()
        pair = (torch.autograd.grad(of, parameters, retain_graph=True, allow_unused=True) for of in (data, physics))
        weight = len(seen.clean) * world() / batch  # the gradients of all ranks are merged, not the merged ones averaged
        merged = conflict_free(*(averaged(gradients, weight) for gradients in pair))
        terms = {"data": float(data.detach()), "physics": float(physics.detach()), "cosine": merged.cosine}
        counts = {"evaluations": model.cost * unroll, "vjps": model.cost * (1 + unroll)}
        value = _differentiated(data.detach() + physics.detach(), merged.gradients, *parameters)
        return value, {"score": -float(rows.detach().square().mean()), **terms, **counts}

    what = ("pbfm", reward, unroll, power)
    return coloured(
        matching.learn(network, source, loss, separable=False, what=what, label="PBFM", out=out, progress=progress), colour
    )


def _unrolled(
    matching: Matching, model: Denoiser, seen: Noised, estimate: Field, steps: int, at_once: int | None = None
) -> Field:
    """x̂0 after so many Euler steps from the noisy state, of which the first has its evaluation already."""
    start = _PATH.time(seen.sigma)
    for k in range(1, steps):
        seen = lowered(seen, estimate, _PATH.sigma(start * (1 - k / steps)), k)
        estimate = matching.estimate(model, seen, at_once)
    return estimate


class _Differentiated(torch.autograd.Function):
    """A value with the gradients that it is given, so that the one loop over updates differentiates it like any other."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: Sequence[Tensor | None], *parameters: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if g is None else upstream[0] * g for g in ctx.gradients)


_differentiated: Callable[..., Tensor] = _Differentiated.apply


def _length(gradients: Sequence[Tensor | None]) -> float:
    lengths = [torch.linalg.vector_norm(g, dtype=torch.float64) for g in gradients if g is not None]
    return float(torch.linalg.vector_norm(torch.stack(lengths))) if lengths else 0.0


def _sum(x: Tensor | None, y: Tensor | None, of_x: float, of_y: float) -> Tensor | None:
    if x is None or y is None:
        one, share = (y, of_y) if x is None else (x, of_x)
        return None if one is None else share * one
    return of_x * x + of_y * y
