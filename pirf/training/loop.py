r"""One optimisation loop for everything that trains: :math:`\theta \leftarrow \theta - \eta_t\, u(\nabla L)`, :math:`u` the
optimizer's.

It knows budgets, learning rates, averaging, checkpoints and when to stop before harm; it knows nothing of what is trained.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pirf.backprop.base import Kept
from pirf.errors import InputError, NumericalError
from pirf.training import checkpoints
from pirf.training.rates import Rate

__all__ = ["Budget", "MakeOptimizer", "descend"]

Record = dict[str, float]
MakeOptimizer = Callable[[Sequence[nn.Parameter], float], torch.optim.Optimizer]
"""(parameters, lr) → optimizer: ``torch.optim.Adam``, ``pirf.Muon``, or a ``functools.partial`` of one."""


@final
@attrs.frozen
class Budget:
    """A number of updates, a number of seconds, or whichever ends first.  Only the former is reproducible."""

    steps: int | None = None
    seconds: float | None = None

    def __attrs_post_init__(self) -> None:
        limits = [v for v in (self.steps, self.seconds) if v is not None]
        if not limits or any(v <= 0 for v in limits):
            raise InputError(
                "a training budget needs a positive number of steps or seconds",
                got=f"steps={self.steps}, seconds={self.seconds}",
                why="training has to end, and to begin",
                hint="steps=500",
            )

    def progress(self, step: int, elapsed: float) -> float:
        """The share of the budget that is spent, in [0, 1]."""
        share = [0.0]
        if self.steps is not None:
            share.append(step / self.steps)
        if self.seconds is not None:
            share.append(elapsed / self.seconds)
        return min(1.0, max(share))


@attrs.define(eq=False)
class _Clock:
    """Seconds of training, those of earlier runs included."""

    before: float
    since: float

    def __call__(self) -> float:
        return self.before + time.perf_counter() - self.since


def descend(
    parameters: Sequence[nn.Parameter],
    loss: Callable[[int], tuple[Tensor, Record]],
    *,
    budget: Budget,
    lr: float,
    optimizer: MakeOptimizer = torch.optim.Adam,
    rate: Rate,
    half_life: float,
    clip: float | None = None,
    after_step: Callable[[torch.optim.Optimizer], None] | None = None,
    out: Path | None = None,
    identity: str = "",
    save_every: float = 60.0,
    save_at: int = 1,
    kept: Callable[[], Any] = lambda: None,
    already: float = 0.0,
    label: str = "training",
    progress: bool = True,
) -> tuple[list[Tensor], list[Record]]:
    """Minimise ``loss(step)``; return the averaged weights and the history.

    The average has a half-life of ``half_life`` times the steps so far, so that it forgets the start at any length of run.
    With ``out``, a checkpoint is kept there and a repeated call goes on from it; ``identity`` is what must not have
    changed in between.  A checkpoint is written every ``save_every`` seconds, after a multiple of ``save_at`` updates;
    what ``kept`` gives, where that is a :class:`~pirf.backprop.base.Kept`, belongs to it.
    ``already`` seconds of the budget were spent before the first update.
    """
    if not lr > 0:
        raise InputError("a positive learning rate is needed", got=lr, why="nothing would be learned", hint="lr=1e-3")
    if budget.progress(0, already) >= 1:
        raise InputError(
            "time for at least one update is needed",
            got=f"{already:.0f} s spent on prefix states, {budget.seconds:g} s in all",
            why="nothing would be trained",
            hint="more seconds, or a smaller pool",
        )
    method = optimizer(parameters, lr)
    average = [p.detach().clone() for p in parameters]
    history: list[Record] = []
    step, elapsed = 0, already
    resumed = checkpoints.latest(out, identity) if out is not None else None
    if resumed is not None:
        step, elapsed, history = resumed.restore(parameters, average, method)
        if isinstance(memory := kept(), Kept):
            memory.restore(resumed.kept)
    clock = _Clock(elapsed, time.perf_counter())
    prepared = min(budget.progress(0, already), 0.99)  # the rate runs over what is left for updates
    saved = clock()
    with tqdm(total=100, desc=label, unit="%", leave=False, disable=not progress, bar_format=_BAR) as bar:
        while (spent := budget.progress(step, clock())) < 1.0:
            factor = lr * rate((spent - prepared) / (1 - prepared))
            for group in method.param_groups:
                group["lr"] = factor
            try:
                value, record = loss(step)
            except NumericalError as error:
                raise NumericalError(f"{label}, update {step}: {error}") from None
            gradients = torch.autograd.grad(value, parameters, allow_unused=True)
            _stop_before_harm(value, gradients, step, label)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            method.step()
            if after_step is not None:
                after_step(method)
            step += 1
            with torch.no_grad():
                decay = 0.5 ** (1 / max(1.0, half_life * step))
                for mean, parameter in zip(average, parameters, strict=True):
                    mean.lerp_(parameter, 1 - decay)
            history.append({"step": step, "seconds": clock(), "lr": factor, "loss": float(value.detach()), **record})
            if out is not None and clock() - saved > save_every and step % save_at == 0:
                checkpoints.save(out, identity, step, clock(), parameters, average, method, history, _tensors(kept()))
                saved = clock()
            bar.update(round(100 * budget.progress(step, clock()), 1) - bar.n)
            bar.set_postfix_str(f"update {step}, loss {float(value.detach()):.3g}")
    for parameter in parameters:
        parameter.grad = None
    if out is not None:
        checkpoints.save(out, identity, step, clock(), parameters, average, method, history, _tensors(kept()))
    return average, history


_BAR = "{desc} |{bar:24}| {percentage:3.0f}% {elapsed} elapsed, {remaining} left, {postfix}"


def _tensors(memory: Any) -> dict[str, Tensor]:
    return memory.tensors() if isinstance(memory, Kept) else {}


def _stop_before_harm(value: Tensor, gradients: Sequence[Tensor | None], step: int, label: str) -> None:
    """Refuse an update that would write NaN or infinity into the weights."""
    if not bool(torch.isfinite(value)):
        raise NumericalError(f"{label}: loss is {float(value.detach())} at update {step}; weights untouched. Try a smaller lr.")
    for index, gradient in enumerate(gradients):
        if gradient is not None and not bool(torch.isfinite(gradient).all()):
            raise NumericalError(
                f"{label}: the gradient of tensor {index} is not finite at update {step}; weights untouched. Try clip=1.0."
            )
