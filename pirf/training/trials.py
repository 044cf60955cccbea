r"""A training method in small: its very call, for a few updates on a few rows, watched through the optimizer that it makes.

The optimizer's steps cut a run into phases: what comes before the first update, the gradients, and the steps themselves.  Every
trial is made twice, once for memory and once for time, because watching memory takes time.

*Two clocks.*  On a CPU that others use as well, wall-clock seconds of the same update may differ by a factor, processor seconds
hardly do: the latter are compared between trials, and how much longer the wall clock says is a matter of all of them together.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from statistics import fmean, median
from typing import Any, final

import attrs
import torch
from torch import Tensor, nn

from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.parallel import summed, world
from pirf.training.loop import MakeOptimizer
from pirf.training.meters import Meter, metered

__all__ = ["Call", "Trial"]

_LONGEST = 16
"""Updates after which a cycle of different ones is taken to be over."""


@final
@attrs.frozen
class Trial:
    """What the updates took, of one process; bytes are counted above what was taken before the call."""

    rows: int
    pieces: int
    pool: int
    weights: int
    """Numbers that are trained."""
    checkpoint: int
    """Bytes of one."""
    before: int
    """The most before the first update."""
    graph: int
    """The most while a gradient is made."""
    step: int
    """The most while the optimizer steps."""
    kept: int
    """From one update to the next."""
    evaluations: float | None
    setup: float = math.nan
    """Processor seconds before the first update; on a GPU, where there are none, seconds."""
    gradient: float = math.nan
    """Of an update but for the optimizer's step."""
    stepping: float = math.nan
    updates: tuple[tuple[float, float], ...] = ()
    """(Processor seconds, seconds) of every update, or the mean over a cycle of them."""


@final
@attrs.frozen(eq=False, slots=False)
class Call:
    """A method and the arguments of a run."""

    method: Callable[..., object]
    args: tuple[Any, ...]
    options: Mapping[str, Any]

    @classmethod
    def of(cls, method: Callable[..., object], *args: Any, **options: Any) -> Call:
        """Refused where the method has no updates that could be watched."""
        known = inspect.signature(method).parameters if callable(method) else {}
        if missing := [f"{name}=" for name in ("batch", "steps", "optimizer") if name not in known]:
            raise _unwatchable(method, f"no {', '.join(missing)}")
        return cls(method, args, options)

    @property
    def name(self) -> str:
        """The method's."""
        method = getattr(self.method, "func", self.method)  # of a functools.partial
        return str(getattr(method, "__name__", repr(method)))

    @cached_property
    def given(self) -> Mapping[str, Any]:
        """All arguments by name."""
        return self._bound().arguments

    @property
    def device(self) -> torch.device:
        """Where the first denoiser among the arguments is; one that is made anew is on the CPU."""
        return next((a.like.device for a in self.given.values() if isinstance(a, Denoiser)), torch.device("cpu"))

    @property
    def rows(self) -> int:
        """Of the batch, in every process."""
        batch = self.given["batch"]
        return -(-batch // world()) if isinstance(batch, int) else 0

    @property
    def cycle(self) -> int:
        """Updates after which they cost the same again."""
        period = math.lcm(self.given.get("replay", 1), getattr(self.given.get("gradient"), "period", 1))
        return max(1, min(period, _LONGEST))

    def tried(self, rows: int, pieces: int = 1, pools: int = 1, patience: float = 0.0) -> Trial:
        """On ``pieces`` micro-batches of ``rows`` rows in every process and a pool of ``pools`` batches.

        Seconds are taken where there is any ``patience``; of a trial that takes longer, fewer updates.
        """
        batch = rows * pieces * world()
        enough = self.given.get("pool", batch) >= self.given["batch"]  # a pool that will be refused is refused here
        sizes = {"batch": batch, "micro": rows if pieces > 1 else None, "pool": pools * batch if enough else 0}
        began = time.perf_counter()
        trial = attrs.evolve(self._weighed(sizes), rows=rows, pieces=pieces, pool=pools * batch)
        if not patience:
            return trial
        slow = float(summed(torch.tensor(float(time.perf_counter() - began > patience)))) > 0  # all ranks make as many updates
        return attrs.evolve(trial, **self._timed(sizes, 1 if slow else 3))

    def as_it_is(self) -> None:
        """With the sizes of the run, for what the method has to say to them."""
        self._made(_Watch(self.given["optimizer"], self.device), {}, 1)

    def _weighed(self, sizes: Mapping[str, Any]) -> Trial:
        with metered(self.device) as meter:
            watch = _Watch(self.given["optimizer"], self.device, meter)
            made = self._made(watch, sizes, 1 + self.cycle)
        before, *peaks = watch.peaks
        trained = [p for group in watch.optimizer.param_groups for p in group["params"]]
        state = [v for entries in watch.optimizer.state.values() for v in entries.values() if isinstance(v, Tensor)]
        counted = [r["evaluations"] for r in getattr(made, "history", []) if "evaluations" in r]
        return Trial(
            rows=0,
            pieces=1,
            pool=0,
            weights=sum(p.numel() for p in trained),
            checkpoint=sum(2 * p.nbytes for p in trained) + sum(t.nbytes for t in state),  # weights, average, optimizer
            before=before,
            graph=max(peaks[0::2]),
            step=max(peaks[1::2]),
            kept=watch.kept,
            evaluations=fmean(counted) if counted else None,
        )

    def _timed(self, sizes: Mapping[str, Any], groups: int) -> dict[str, Any]:
        watch, n = _Watch(self.given["optimizer"], self.device), self.cycle
        self._made(watch, sizes, n * (1 + groups))
        began, ready, *marks = watch.clock
        starts, ends = marks[0::2], marks[1::2]
        # The first cycle warms up, and its start is not known.
        cycles = [(ends[i - 1], ends[i + n - 1]) for i in range(n, len(ends), n)]
        updates = tuple(((b[0] - a[0]) / n, (b[1] - a[1]) / n) for a, b in cycles)
        step = median(end[0] - start[0] for start, end in zip(starts[n:], ends[n:], strict=True))
        gradient = median(processor for processor, _ in updates) - step
        return {"setup": ready[0] - began[0], "gradient": gradient, "stepping": step, "updates": updates}

    def _made(self, watch: _Watch, sizes: Mapping[str, Any], updates: int) -> object:
        quiet = {"steps": updates, "seconds": None, "out": None, "spill": False, "progress": False, "optimizer": watch}
        call = self._bound()
        call.arguments.update({name: v for name, v in {**quiet, **sizes}.items() if name in self.given})
        made = self.method(*call.args, **call.kwargs)
        if len(watch.clock) < 2 + 2 * updates:
            raise _unwatchable(self.method, f"{len(watch.clock) // 2 - 1} of {updates} steps of its optimizer")
        return made

    def _bound(self) -> inspect.BoundArguments:
        bound = inspect.signature(self.method).bind(*self.args, **self.options)
        bound.apply_defaults()
        return bound


@final
class _Watch:
    """Makes the optimizer, which then says when its steps begin and end."""

    def __init__(self, make: MakeOptimizer, device: torch.device, meter: Meter | None = None) -> None:
        self._make, self._device, self._meter = make, device, meter
        self.peaks: list[int] = []
        self.kept = 0
        self.clock: list[tuple[float, float]] = []
        self._look()

    def __call__(self, parameters: Sequence[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        self.optimizer = self._make(parameters, lr)
        self._note()
        self.optimizer.register_step_pre_hook(lambda *_: self._note())
        self.optimizer.register_step_post_hook(lambda *_: self._note())
        return self.optimizer

    def _note(self) -> None:
        self._look()
        if self._meter is not None:
            self.peaks.append(self._meter.most())
            self.kept = self._meter.held()

    def _look(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        self.clock.append((now if self._device.type == "cuda" else time.process_time(), now))


def _unwatchable(method: object, found: str) -> InputError:
    return InputError(
        "a method that trains is needed",
        got=f"{getattr(method, '__name__', repr(method))} with {found}",
        why="it is called for a few updates on a few rows, and its optimizer is watched",
        hint="plan(pirf.finetune, base, reward, ...), or pretrain, pidm, pbfm, pg_diffusion",
    )
