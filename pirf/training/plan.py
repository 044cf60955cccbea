r"""What a run will take, before it is made: memory :math:`m_0 + m_1 n` and seconds :math:`t_0 + t_1 n` for n rows at a time.

``plan`` makes the very call for a few updates on a few rows, doubles the rows as long as that is quick, and draws straight
lines through the last trials.  Memory is the most of three phases: before the first update, where the stored prefix states of
a :class:`~pirf.Handover` are made, while a gradient is made, and while the optimizer steps.

A plan knows the machine as it is now: its seconds are those of one that stays as busy.  Updates that differ from each other are
taken to be like the first ones: those of :class:`~pirf.Windows` begin with the most expensive.
"""

from __future__ import annotations

import html
import math
import shutil
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ParamSpec, final

import attrs
import torch

from pirf.denoisers import Handover
from pirf.errors import InputError, NumericalError
from pirf.parallel import summed, world
from pirf.training.loop import Budget
from pirf.training.meters import available
from pirf.training.trials import Call, Trial

__all__ = ["Plan", "plan"]

P = ParamSpec("P")

_PATIENCE = 15.0
"""Seconds after which no larger trial begins."""
_ROOM = 0.9
"""What of the available memory may be taken: the scratch space of kernels is in no plan."""
_TOGETHER = 64
"""Prefix states that are made together."""


@final
@attrs.frozen
class Plan:
    """What the call will take.  ``print`` it; ``fits`` says whether to make it."""

    method: str
    device: str
    processes: int
    batch: int
    rows: int
    """How many of the batch one process has in the graph at a time."""
    updates: int
    weights: int
    """Numbers that are trained."""
    memory: int
    """Bytes at most, of every process, beside what is taken already."""
    available: int
    kept: int
    """Of the memory: what is there from one update to the next, but for the pool."""
    pool: int
    """Of the memory: stored prefix states."""
    per_row: int
    """Bytes for one row more at a time."""
    setup: float
    """Seconds before the first update."""
    update: float
    """Seconds of one."""
    spread: float
    """Slowest minus fastest of the updates that were measured, each over what is planned for it."""
    waiting: float
    """Of these seconds, how many go by for a second of processor time; 1 on a GPU."""
    evaluations: float | None
    """Of networks, per sample and update; None where the method does not count them."""
    disk: int
    """Bytes of the last two checkpoints, of a third while it is written, and of states that are spilled; 0 without ``out``."""
    free: int | None
    """Bytes on that disk."""
    micro: int | None
    """Where the memory does not suffice: the largest power of two with which it does."""

    @property
    def seconds(self) -> float:
        """To the end."""
        return self.setup + self.updates * self.update

    @property
    def fits(self) -> bool:
        """Whether memory and disk suffice, and the seconds for an update."""
        return self.memory <= _ROOM * self.available and (self.free is None or self.disk <= self.free) and self.updates > 0

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return {**attrs.asdict(self), "seconds": self.seconds, "fits": self.fits}

    def lines(self) -> list[tuple[str, str, str]]:
        """What, figure, unit and remark."""
        shared = f" by {self.processes} processes" if self.processes > 1 else ""
        found = [
            ("updates", f"{self.updates:,}", f"of {self.batch} rows{shared}"),
            ("trained weights", f"{self.weights:,}", ""),
            ("memory, about", *_bytes(self.memory, f"of {' '.join(_bytes(self.available))} available ({self.device})")),
            ("  model, average, optimizer", *_bytes(self.kept)),
            ("  prefix states", *_bytes(self.pool)),
            ("  a row in the graph", *_bytes(self.per_row, f"{self.rows} at a time")),
            ("time, about", *_duration(self.seconds)),
            ("  before the first update", *_duration(self.setup)),
            ("  an update", *_duration(self.update, f"± {50 * self.spread:.0f} %")),
        ]
        if self.evaluations is not None:
            whole = self.evaluations * self.batch * self.updates
            found.append(("evaluations", f"{self.evaluations:g}", f"per sample and update, {whole:.3g} in all"))
        if self.free is not None:
            found.append(("disk", *_bytes(self.disk, f"of {' '.join(_bytes(self.free))} free")))
        return [line for line in found if self.pool or "prefix" not in line[0]]

    def __str__(self) -> str:
        lines = self.lines()
        first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
        table = (f"{what:<{first}}  {figure:>{second}}  {unit}".rstrip() for what, figure, unit in lines)
        return "\n".join((f"{self.method} {self._verdict()}", *table))

    def _repr_html_(self) -> str:
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in self.lines())
        caption = f"{self.method} {self._verdict()}"
        return f"<table><caption>{html.escape(caption)}</caption>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"

    def _verdict(self) -> str:
        if self.fits:
            return "fits"
        if self.updates == 0:
            return f"does not fit: {self.setup:.3g} s go by before the first update"
        if self.memory <= _ROOM * self.available:
            return "does not fit on the disk"
        if self.micro is not None:
            return f"does not fit; micro={self.micro} does, with the same gradient"
        return "does not fit; try fewer graded steps, recompute=True, layer truncation or a smaller pool"


def plan(method: Callable[P, object], /, *args: P.args, **options: P.kwargs) -> Plan:
    """What ``method(*args, **options)`` will take: ``plan(finetune, base, reward, sampler=Heun(20), batch=64, steps=10_000)``.

    The method is any trainer with ``batch``, ``steps`` and ``optimizer``, and the arguments are those of the run.  It is called
    without ``out``, and what it refuses is refused here in the same words.
    """
    call = Call.of(method, *args, **options)
    budget = Budget(call.given["steps"], call.given.get("seconds"))
    free = available(call.device)
    room = int(_ROOM * free)
    found = _Estimate.of(call, room)
    rows = min(call.given.get("micro") or call.rows, call.rows)
    setup, update, memory, last = found.setup(), found.update(rows), found.memory(rows), found.trials[-1]
    updates = math.inf if budget.steps is None else budget.steps
    if budget.seconds is not None:
        updates = min(updates, max(0, int((budget.seconds - setup) / update)))
    smaller = [2**k for k in range((rows - 1).bit_length()) if found.pieces is not None and found.memory(2**k) <= room]
    out = call.given.get("out")
    return Plan(
        method=call.name,
        device=str(call.device),
        processes=world(),
        batch=call.given["batch"],
        rows=rows,
        updates=int(updates),
        weights=last.weights,
        memory=memory,
        available=free,
        kept=int(found.bytes(lambda t: t.kept)(call.rows)),
        pool=0 if found.spilled else int(found.stored),
        per_row=int(found.bytes(lambda t: t.graph).slope),
        setup=setup,
        update=update,
        spread=found.spread(),
        waiting=found.waiting,
        evaluations=last.evaluations,
        disk=0 if out is None else int(3 * last.checkpoint + found.spilled * found.stored),
        free=None if out is None else shutil.disk_usage(_existing(Path(out))).free,
        micro=max(smaller, default=None) if memory > room else None,
    )


@final
@attrs.frozen
class _Line:
    """``start`` + ``slope`` · n."""

    start: float
    slope: float

    def __call__(self, n: float) -> float:
        return self.start + self.slope * n

    @classmethod
    def through(cls, points: Sequence[tuple[float, float]]) -> _Line:
        """Least squares of relative errors, neither falling nor negative at 0."""
        weights = [1 / max(y, 1e-9) ** 2 for _, y in points]
        x0, y0 = (sum(w * p[i] for w, p in zip(weights, points, strict=True)) / sum(weights) for i in (0, 1))
        square = sum(w * (x - x0) ** 2 for w, (x, _) in zip(weights, points, strict=True))
        product = sum(w * (x - x0) * (y - y0) for w, (x, y) in zip(weights, points, strict=True))
        slope = min(max(product / square, 0.0), y0 / x0) if square > 0 else 0.0
        return cls(y0 - slope * x0, slope)


@final
@attrs.frozen(slots=False)
class _Estimate:
    """Lines through trials of more and more rows."""

    call: Call
    trials: tuple[Trial, ...]
    state: float = 0.0
    """Bytes of one stored state."""
    pieces: tuple[Trial, Trial, Trial] | None = None
    """As two micro-batches of n rows, four of n, and two of 2n."""

    @classmethod
    def of(cls, call: Call, room: int) -> _Estimate:
        """As many trials as patience allows, and as few as will do."""
        shared, micro = call.rows, call.given.get("micro")
        most = min(shared, micro) if isinstance(micro, int) else shared
        found = _growing(call, sorted({-(-most // 2**k) for k in range(max(0, most).bit_length())}))
        first = found[0]
        estimate = cls(call, found)
        if any(isinstance(value, Handover) for value in call.given.values()) and "pool" in call.given:
            kept = call.tried(first.rows, pools=2).kept
            estimate = attrs.evolve(estimate, state=max(0.0, (kept - first.kept) / first.pool))
        if "micro" in call.given and first.rows < shared and (most < shared or estimate.memory(shared) > room):
            n = max((t.rows for t in found if 4 * t.rows <= found[-1].rows), default=first.rows)
            pieces = call.tried(n, pieces=2), call.tried(n, pieces=4, patience=_PATIENCE), call.tried(2 * n, pieces=2)
            estimate = attrs.evolve(estimate, pieces=pieces)
        return estimate

    @property
    def stored(self) -> float:
        """Bytes of the whole pool."""
        return self.state * float(self.call.given.get("pool", 0))

    @property
    def spilled(self) -> bool:
        """Whether it lives on the disk."""
        return bool(self.call.given.get("spill", False)) and self.call.given.get("out") is not None

    @cached_property
    def waiting(self) -> float:
        """Seconds for one of the processor."""
        updates = [update for trial in self.trials for update in trial.updates]
        return sum(seconds for _, seconds in updates) / sum(processor for processor, _ in updates)

    def bytes(self, phase: Callable[[Trial], int]) -> _Line:
        """Of one phase, but for stored states, by rows."""
        return _Line.through([(t.rows, phase(t) - self.state * t.pool) for t in self.trials[-2:]])

    def memory(self, rows: int) -> int:
        """Bytes at most, with so many rows in the graph at a time."""
        shared, graph = self.call.rows, self.bytes(lambda t: t.graph)(rows)
        if rows < shared and self.pieces is not None:
            # A plane: for each row that is in the graph now, and for each of the batch.
            n = self.pieces[0].rows
            two, four, larger = (t.graph - self.state * t.pool for t in self.pieces)
            now, whole = max(0.0, (larger - four) / n), max(0.0, (four - two) / (2 * n))
            graph = two + now * (rows - n) + whole * (shared - 2 * n)
        together = shared if not self.state else min(_TOGETHER, self._share_of_pool())
        peaks = self.bytes(lambda t: t.before)(together), graph, self.bytes(lambda t: t.step)(shared)
        return int(max(peaks) + (0 if self.spilled else self.stored))

    def setup(self) -> float:
        """Seconds before the first update."""
        line = _Line.through([(t.rows, t.setup) for t in self.trials[-3:]])
        if not self.state:
            return self.waiting * line(self.call.rows)
        mine = self._share_of_pool()
        together = min(mine, _TOGETHER)
        return self.waiting * mine / together * line(together)

    def update(self, rows: int) -> float:
        """Seconds of one, with so many rows in the graph at a time."""
        gradient = self._gradient(rows)
        if rows < self.call.rows:
            gradient *= self.call.rows / rows
            if self.pieces is not None:
                four = self.pieces[1]
                gradient *= max(1.0, four.gradient / 4 / self._gradient(four.rows))
        return self.waiting * (gradient + self.trials[-1].stepping)

    def spread(self) -> float:
        """Of the updates that were measured, each over what is planned for it."""
        planned = [
            (seconds, self.waiting * (self._gradient(t.rows) + t.stepping)) for t in self.trials for _, seconds in t.updates
        ]
        shares = [seconds / plan for seconds, plan in planned]
        return max(shares) - min(shares)

    @property
    def _gradient(self) -> _Line:
        return _Line.through([(t.rows, t.gradient) for t in self.trials[-3:]])

    def _share_of_pool(self) -> int:
        return int(-(-self.call.given["pool"] // world()))


def _growing(call: Call, sizes: Sequence[int]) -> tuple[Trial, ...]:
    """Trials of so many rows each, as long as there is time and memory for more."""
    began, found = time.perf_counter(), list[Trial]()
    for rows in sizes:
        start = time.perf_counter()
        try:
            found.append(call.tried(rows, patience=_PATIENCE / 4))
        except (InputError, NumericalError) as error:
            if world() > 1 and isinstance(error, NumericalError):
                raise  # the others would wait for this process in their trial
            continue  # too few rows for this method; or the call is wrong, which is said below
        now = time.perf_counter()
        late = now - began + 2 * (now - start) > _PATIENCE
        large = 3 * max(found[-1].before, found[-1].graph, found[-1].step) > available(call.device)
        if float(summed(torch.tensor(float(len(found) > 1 and (late or large))))) > 0:  # all ranks go on, or none
            break
    if not found:
        call.as_it_is()
        found.append(call.tried(max(sizes, default=1), patience=_PATIENCE))
    return tuple(found)


def _existing(path: Path) -> Path:
    return next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())


def _bytes(size: float, remark: str = "") -> tuple[str, str]:
    unit, name = next(((u, n) for u, n in ((1e9, "GB"), (1e6, "MB")) if size >= u), (1e3, "kB"))
    return f"{size / unit:.3g}", f"{name} {remark}".rstrip()


def _duration(seconds: float, remark: str = "") -> tuple[str, str]:
    units = ((3600.0, "h", 7200.0), (60.0, "min", 120.0), (1.0, "s", 1.0))
    unit, name = next(((u, n) for u, n, least in units if seconds >= least), (1e-3, "ms"))
    return f"{seconds / unit:.3g}", f"{name} {remark}".rstrip()
