r"""One optimisation loop for everything that trains: :math:`\theta \leftarrow \theta - \eta_t\, u(\nabla L)`, :math:`u` the
optimizer's.

It knows budgets, learning rates, averaging, checkpoints and when to stop before harm; it knows nothing of what is trained.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from pirf.backprop.base import Kept
from pirf.errors import InputError, NumericalError, instance, numbers, whole
from pirf.parallel import gathered, rank, summed, world
from pirf.training import checkpoints
from pirf.training.history import History
from pirf.training.interrupts import Interrupted, listening
from pirf.training.rates import Rate
from pirf.training.update import LossOf, Record, Update

__all__ = ["Budget", "Interrupted", "MakeOptimizer", "Record", "descend"]

_log = logging.getLogger(__name__)

MakeOptimizer = Callable[[Sequence[nn.Parameter], float], torch.optim.Optimizer]
"""(parameters, lr) → optimizer: ``torch.optim.Adam``, ``pirf.Muon``, or a ``functools.partial`` of one."""


@final
@attrs.frozen
class Budget:
    """A number of updates, a number of seconds, or whichever ends first.  Only the former is reproducible."""

    steps: int | None = None
    seconds: float | None = None

    def __attrs_post_init__(self) -> None:
        whole("steps=500", steps=1 if self.steps is None else self.steps)
        numbers("seconds=60", seconds=1 if self.seconds is None else self.seconds)
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


@final
class _Clock:
    """Seconds of training, those of earlier runs included: rank 0's, which all ranks go by."""

    def __init__(self, before: float) -> None:
        self.before, self.since = before, time.perf_counter()

    def own(self) -> float:
        """As this process counts them."""
        return self.before + time.perf_counter() - self.since

    def agreed(self, stop: bool) -> tuple[float, bool]:
        """The seconds, and whether any rank has been asked to stop."""
        if world() == 1:
            return self.own(), stop
        seconds, asked = summed(torch.tensor([self.own() if rank() == 0 else 0.0, float(stop)], dtype=torch.float64)).tolist()
        return seconds, asked > 0


def descend(
    parameters: Sequence[nn.Parameter],
    loss: LossOf,
    *,
    budget: Budget,
    lr: float,
    optimizer: MakeOptimizer = torch.optim.Adam,
    rate: Rate,
    half_life: float,
    clip: float | None = None,
    batch: int = 1,
    micro: int | None = None,
    separable: bool = True,
    names: Sequence[str] = (),
    after_step: Callable[[torch.optim.Optimizer], None] | None = None,
    out: Path | None = None,
    identity: str = "",
    save_every: float = 60.0,
    save_at: int = 1,
    kept: Callable[[], Any] = lambda: None,
    undo: Callable[[], None] = lambda: None,
    already: float = 0.0,
    label: str = "training",
    progress: bool = True,
) -> tuple[list[Tensor], list[Record]]:
    """Minimise the loss of ``batch`` rows per update; return the averaged weights and the history.

    ``loss(step, rows, at_once)`` is that of some of the rows, which are shared between processes and cut into micro-batches of
    ``micro`` (see :mod:`pirf.training.update`); where it is not ``separable``, of all that a process has.
    The average has a half-life of ``half_life`` times the steps so far, so that it forgets the start at any length of run.
    With ``out``, a checkpoint is kept there and a repeated call goes on from it, on any number of processes; ``identity`` is
    what must not have changed in between.  A checkpoint is written every ``save_every`` seconds, after a multiple of
    ``save_at`` updates; what ``kept`` gives, where that is a :class:`~pirf.backprop.base.Kept`, belongs to it, and ``undo``
    takes back what an update has done to it.  ``already`` seconds of the budget were spent before the first update.
    Ctrl-C ends the update, writes a checkpoint and raises :class:`~pirf.training.interrupts.Interrupted`.
    """
    _admit(lr, optimizer, rate, half_life, clip)
    already, _ = _Clock(already).agreed(False)
    if budget.progress(0, already) >= 1:
        raise InputError(
            "time for at least one update is needed",
            got=f"{already:.0f} s spent on prefix states, {budget.seconds:g} s in all",
            why="nothing would be trained",
            hint="more seconds, or a smaller pool",
        )
    if out is not None and rank() == 0:
        checkpoints.admit(out)
    method = optimizer(parameters, lr)
    average = [p.detach().clone() for p in parameters]
    history, step, elapsed = History(), 0, already
    resumed = checkpoints.latest(out, identity) if out is not None else None
    if resumed is not None:
        step, elapsed, records = resumed.restore(parameters, average, method)
        history = History(records)
        if isinstance(memory := kept(), Kept):
            memory.restore(resumed.kept)
    update = Update(parameters, loss, batch, micro, separable, undo, label, names)
    _same_start(step, out)
    clock = _Clock(elapsed)
    (elapsed, asked), saved = clock.agreed(False), elapsed
    prepared = min(budget.progress(0, already), 0.99)  # the rate runs over what is left for updates

    def keep() -> None:
        if out is not None and rank() == 0:
            checkpoints.save(out, identity, step, elapsed, parameters, average, method, history.records, _tensors(kept()))

    with (
        listening() as request,
        tqdm(total=100, desc=label, unit="%", leave=False, disable=not progress or rank() > 0, bar_format=_BAR) as bar,
    ):
        while (spent := budget.progress(step, elapsed)) < 1.0 and not (asked and step % save_at == 0):
            factor = lr * rate((spent - prepared) / (1 - prepared))
            for group in method.param_groups:
                group["lr"] = factor
            value, record = update(step)
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            method.step()
            if after_step is not None:
                after_step(method)
            step += 1
            _follow(average, parameters, 0.5 ** (1 / max(1.0, half_life * step)))
            elapsed, asked = clock.agreed(request.made)
            history.append({"step": step, "seconds": elapsed, "lr": factor, "loss": value, **record})
            if elapsed - saved > save_every and step % save_at == 0:
                _sound(parameters, step, label)
                try:
                    keep()
                except OSError as error:
                    _log.warning("the checkpoint of update %d could not be written (%s); the one before is kept", step, error)
                saved = elapsed
            bar.update(round(100 * budget.progress(step, elapsed), 1) - bar.n)
            bar.set_postfix_str(f"update {step}, loss {value:.3g}")
    update.clear()
    _sound(parameters, step, label)
    try:
        keep()
    except OSError as error:
        raise InputError(
            f"{label}: room for the last checkpoint is needed",
            got=str(error),
            why=f"update {step} is lost otherwise; the checkpoint before it is whole",
            hint="room in that folder, and the same call again",
        ) from error
    if asked and (out is not None or budget.progress(step, elapsed) < 1.0):  # what follows the last update is not asked for
        raise Interrupted(step, out)
    return average, history.records


_BAR = "{desc} |{bar:24}| {percentage:3.0f}% {elapsed} elapsed, {remaining} left{postfix}"


def _admit(lr: float, optimizer: MakeOptimizer, rate: Rate, half_life: float, clip: float | None) -> None:
    """Refuse settings that cannot train."""
    numbers("lr=1e-3, half_life=0.05, clip=1.0", lr=lr, half_life=half_life, clip=1.0 if clip is None else clip)
    instance("a rate", rate, Rate, hint="rate=Cosine()")
    if not callable(optimizer):
        instance("an optimizer's class", optimizer, type, hint="optimizer=torch.optim.Adam, the class itself")
    if not lr > 0:
        raise InputError("a positive learning rate is needed", got=lr, why="nothing would be learned", hint="lr=1e-3")
    if not half_life >= 0 or (clip is not None and not clip > 0):
        raise InputError(
            "half_life ≥ 0 and a positive clip, or None, are needed",
            got=f"half_life={half_life}, clip={clip}",
            why="one is a share of the run, the other a length",
            hint="half_life=0.05, clip=1.0",
        )


def _sound(parameters: Sequence[nn.Parameter], step: int, label: str) -> None:
    """Refuse to keep weights that a step of the optimizer has made infinite: the checkpoints before stay."""
    if not all(bool(torch.isfinite(p).all()) for p in parameters):
        raise NumericalError(
            f"{label}: the weights are not finite after update {step}; none of them is kept. Try a smaller lr."
        )


def _follow(average: Sequence[Tensor], parameters: Sequence[nn.Parameter], decay: float) -> None:
    """Average ← decay · average + (1 − decay) · parameters."""
    with torch.no_grad():
        for mean, parameter in zip(average, parameters, strict=True):
            mean.lerp_(parameter, 1 - decay)


def _same_start(step: int, out: Path | None) -> None:
    """All ranks go on from the same checkpoint."""
    if world() > 1:
        steps = gathered(torch.tensor([step])).tolist()
        if len(set(steps)) > 1:
            raise InputError(
                "one folder for all processes is needed",
                got=f"checkpoints of updates {steps} in {out}, by rank",
                why="they would go on from different weights",
                hint="a file system that all of them share",
            )


def _tensors(memory: Any) -> dict[str, Tensor]:
    return memory.tensors() if isinstance(memory, Kept) else {}
