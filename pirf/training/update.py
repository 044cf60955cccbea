r"""The gradient of one update, in pieces: :math:`\nabla L = \sum_j \tfrac{n_j}{n} \nabla L_j` over micro-batches and ranks.

A batch is shared between the processes, and each share cut into micro-batches of at most ``micro`` rows.  Out of memory, the
micro-batch halves and the update begins again: its gradient is the same sum.  A loss that is no mean over its rows (it
compares them with each other) stays whole, and halves the rows that a network sees at once instead.

Between processes :class:`torch.nn.parallel.DistributedDataParallel` wraps a module whose forward is the whole loss.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pirf.errors import InputError, NumericalError
from pirf.memory import out_of_memory, release
from pirf.parallel import share, summed, world

__all__ = ["LossOf", "Record", "Update"]

_log = logging.getLogger(__name__)

Record = dict[str, float]
LossOf = Callable[[int, range, int], tuple[Tensor, Record]]
"""(update, rows of its batch, rows that a network may see at once) → their mean loss, with its graph, and a record."""


@final
class _Loss(nn.Module):
    """The loss as a module: it owns what is trained, and whatever its forward uses is synchronised."""

    def __init__(self, parameters: Sequence[nn.Parameter], loss: LossOf) -> None:
        super().__init__()
        self.trained = nn.ParameterList(parameters)
        self.loss = loss

    def forward(self, step: int, rows: range, at_once: int) -> tuple[Tensor, Record]:
        return self.loss(step, rows, at_once)


@final
class Update:
    """``update(step)`` leaves the gradient of a batch in the parameters and gives its loss and its record, means over all rows.

    ``undo`` takes back what a loss has changed beside its graph, before an update is begun again.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        loss: LossOf,
        batch: int = 1,
        micro: int | None = None,
        separable: bool = True,
        undo: Callable[[], None] = lambda: None,
        label: str = "training",
        names: Sequence[str] = (),
    ) -> None:
        if micro is not None and micro < 1:
            raise InputError(
                "a micro-batch of at least one row is needed",
                got=f"micro={micro}",
                why="it is what is evaluated",
                hint="micro=8",
            )
        self.parameters, self.label, self.undo, self.separable = list(parameters), label, undo, separable
        self.names = list(names) or [f"tensor {i}" for i in range(len(self.parameters))]
        self.batch, self.rows = batch, share(batch)
        longest = -(-batch // world())  # of all shares: the ranks halve the same number
        self.micro = min(micro or longest, longest)
        self._rehearsed = 0
        self._loss = _Loss(self.parameters, loss)
        self._parallel = DistributedDataParallel(self._loss, find_unused_parameters=True) if world() > 1 else None

    def __call__(self, step: int) -> tuple[float, Record]:
        """Of this update; NaN and infinity are refused with the weights untouched."""
        while world() > 1 and self._rehearsed != self.micro:
            self._rehearse(step)
        while (found := self._begun(step)) is None:
            self._halve(step)
        self._stop_before_harm(step)
        return found

    def _begun(self, step: int) -> tuple[float, Record] | None:
        """The whole sum, or None where memory did not suffice."""
        try:
            return self._sum(step, self._pieces())
        except (RuntimeError, MemoryError) as error:
            if world() > 1 or not out_of_memory(error):
                raise
        return None  # outside the handler, whose traceback holds the tensors that were too many

    def _sum(self, step: int, pieces: Sequence[range], synchronised: bool = True) -> tuple[float, Record]:
        self.clear()
        totals: dict[str, float] = {}
        for number, rows in enumerate(pieces):
            sends = synchronised and number == len(pieces) - 1
            with nullcontext() if self._parallel is None or sends else self._parallel.no_sync():
                value, record = self._value(step, rows)
                weight = len(rows) * world() / self.batch  # the mean over ranks is taken with equal weights
                torch.autograd.backward(value if weight == 1 else weight * value, inputs=self.parameters)
            for name, figure in {"loss": float(value.detach()), **record}.items():
                totals[name] = totals.get(name, 0.0) + len(rows) / self.batch * figure
        if synchronised and world() > 1:
            whole = summed(torch.tensor(list(totals.values()), dtype=torch.float64))
            totals = dict(zip(totals, whole.tolist(), strict=True))
        return totals.pop("loss"), totals

    def _value(self, step: int, rows: range) -> tuple[Tensor, Record]:
        try:
            value, record = (self._parallel or self._loss)(step, rows, self.micro)
        except NumericalError as error:
            raise NumericalError(f"{self.label}, update {step}: {error}") from None
        if not bool(torch.isfinite(value)):
            raise NumericalError(
                f"{self.label}: loss is {float(value.detach())} at update {step}; weights untouched. Try a smaller lr."
            )
        return value, record

    def _pieces(self) -> list[range]:
        rows = self.rows
        if not self.separable:
            return [rows]
        return [range(i, min(i + self.micro, rows.stop)) for i in range(rows.start, rows.stop, self.micro)]

    def _rehearse(self, step: int) -> None:
        """One micro-batch without a message, so that all ranks find out together whether it fits."""
        short = False
        try:
            self._sum(step, self._pieces()[:1], synchronised=False)
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if not self.separable:  # the others may be in the middle of a message, and wait for this one's part of it
                fewer = "a smaller network" if self.micro == 1 else f"micro={self.micro // 2}"
                raise self._short(step, f"{fewer}, or more processes") from None
            short = True
        self.undo()
        self.clear()
        self._rehearsed = self.micro
        if float(summed(torch.tensor(float(short)))):
            self._halve(step)

    def _halve(self, step: int) -> None:
        """Half as many rows at a time."""
        self.undo()
        self.clear()
        release()
        if self.micro == 1:
            raise self._short(step, "recompute=True, fewer graded steps, layer truncation, or a smaller network")
        self.micro = self.micro // 2
        _log.warning(
            "out of memory at update %d: %d rows at a time from now on, the same gradient of %d", step, self.micro, self.batch
        )

    def _short(self, step: int, hint: str) -> InputError:
        """What to say where halving does not help."""
        rows = "one row" if self.micro == 1 else f"{self.micro} rows"
        return InputError(
            f"{self.label}: memory for {'one sample' if self.micro == 1 else rows} is needed",
            got=f"out of memory at update {step} with {rows} at a time",
            why="nothing smaller can be evaluated" if self.micro == 1 else "processes that exchange values cannot begin again",
            hint=hint,
        )

    def clear(self) -> None:
        """No gradients are left."""
        for parameter in self.parameters:
            parameter.grad = None

    def _stop_before_harm(self, step: int) -> None:
        """Refuse an update that would write NaN or infinity into the weights."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        if not gradients or math.isfinite(float(nn.utils.get_total_norm(gradients))):
            return
        for name, parameter in zip(self.names, self.parameters, strict=True):
            if parameter.grad is not None and not bool(torch.isfinite(parameter.grad).all()):
                self.clear()
                raise NumericalError(
                    f"{self.label}: the gradient of {name} is not finite at update {step}; weights untouched. Try clip=1.0."
                )
