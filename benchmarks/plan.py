"""What ``pirf.plan`` says of a run beside the run: ``python benchmarks/plan.py``.

Every row plans a run of 32² fields with a shipped model, makes updates of it for some seconds, at most 30, and compares seconds
per update (and before the first one) and memory.  Seconds are those of the processor: on a machine that others use, the wall
clock of one update differs from the next one's by more than a plan errs.

The memory of the run is twice its own: *tensors*, the bytes of all living tensors, counted while it goes; *resident*, the
high-water mark of a fresh process (Linux) above what was there before.  Ratios are plan over run.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before anything starts threads

import torch

import pirf
from pirf.experiments import hardware
from pirf.training.meters import metered
from pirf.training.plan import plan

RESULTS = Path(__file__).parent / "results" / "plan.json"
BUDGET = 5.0  # seconds of updates, for each row
UPDATES = 30
LONG = {"progress": False, "seed": 0}
ADAM = {"optimizer": torch.optim.Adam, "lr": 1e-4}


def runs() -> dict[str, Callable[..., Any]]:
    """Row → what makes the run, or its plan: a function of the maker, which is called like the method itself."""
    problem, base, heun = pirf.problems.darcy(32), pirf.load("darcy-32"), pirf.Heun(20)
    handed = pirf.Handover.split(base, heun.before_last(1))

    def tuned(gradient: Any, batch: int, **more: Any) -> Callable[..., Any]:
        options = {"sampler": heun, "gradient": gradient, "batch": batch, **more}
        return lambda make, **o: make(pirf.finetune, base, problem.reward, **options, **o)

    def trained(batch: int) -> Callable[..., Any]:
        return lambda make, **o: make(pirf.pretrain, problem, base, batch=batch, **ADAM | o)

    def informed(batch: int) -> Callable[..., Any]:
        options = {"source": problem, "sampler": heun, "weight": 1e-3, "estimate": "sample", "batch": batch, **ADAM}
        return lambda make, **o: make(pirf.pidm, base, problem.reward, **options | o)

    def stored(batch: int, pool: int) -> Callable[..., Any]:
        return lambda make, **o: make(pirf.finetune, handed, problem.reward, sampler=heun, batch=batch, pool=pool, **o)

    return {
        "LastSteps(1)": tuned(pirf.LastSteps(1), 32),
        "LastSteps(1), micro=8": tuned(pirf.LastSteps(1), 32, micro=8),
        "LastSteps(2)": tuned(pirf.LastSteps(2), 32),
        "Full(segments=20)": tuned(pirf.Full(segments=20), 8),
        "LayerTruncated(LastSteps(1))": tuned(pirf.LayerTruncated(pirf.LastSteps(1)), 32),
        "Handover, stored": stored(32, 128),
        "pretrain": trained(64),
        "pidm, sample estimate": informed(32),
    }


class Watch:
    """Makes the run's optimizer, and notes the processor time of its steps."""

    def __init__(self) -> None:
        self.began, self.setup, self.marks = time.process_time(), 0.0, list[float]()

    def __call__(self, parameters: Sequence[torch.nn.Parameter], lr: float) -> torch.optim.Optimizer:
        self.setup = time.process_time() - self.began
        method = torch.optim.Adam(parameters, lr)
        method.register_step_post_hook(lambda *_: self.marks.append(time.process_time()))
        return method


def called(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    return method(*args, **options)


def resident(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def peaks(name: str) -> tuple[int, int | None]:
    """Bytes of living tensors and of the resident set, at most, in two updates of a run."""
    libc = ctypes.CDLL("libc.so.6")
    for option, value in ((-3, 2**16), (-4, 2**20), (-1, 0)):  # what is freed goes back to the system at once
        libc.mallopt(option, value)
    run = runs()[name]
    small = {"batch": 1, "pool": 1}
    run(lambda method, *a, **o: method(*a, **o | {name: v for name, v in small.items() if name in o}), steps=1, **LONG)
    libc.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before: int | None = resident("VmRSS")
    except OSError:
        before = None
    run(called, steps=2, **LONG)
    high = None if before is None else resident("VmHWM") - before
    with metered(torch.device("cpu")) as meter:
        run(called, steps=2, **LONG)
        return meter.most(), high


def elsewhere(name: str) -> tuple[int, int | None]:
    """The same in a fresh process."""
    done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
    tensors, high = json.loads(done.stdout)
    return tensors, high


def compared(name: str, run: Callable[..., Any]) -> dict[str, Any]:
    """The plan, the run, and their ratios."""
    began = time.perf_counter()
    planned = run(plan, steps=10_000)
    took = time.perf_counter() - began
    steps = max(3, min(UPDATES, int(BUDGET / planned.update)))
    watch = Watch()
    run(called, steps=steps, optimizer=watch, **LONG)
    first, *_, last = watch.marks
    update = (last - first) / (steps - 1)
    tensors, high = elsewhere(name)
    row = {"row": name, "batch": planned.batch, "planning": took, "updates": steps, "spread": planned.spread}
    row |= {"update": update, "update_ratio": planned.update / planned.waiting / update, "waiting": planned.waiting}
    if planned.pool:
        row |= {"setup": watch.setup, "setup_ratio": planned.setup / planned.waiting / watch.setup}
    row |= {"tensors": tensors, "tensors_ratio": planned.memory / tensors}
    return row if high is None else {**row, "resident": high, "resident_ratio": planned.memory / high}


MEASURED = ("s per update", "s before", "tensors, MB", "resident, MB")
HEAD = "| run | batch | plan took |" + "".join(f" {name} | plan/run |" for name in MEASURED)
RULE = "|" + "---|" * (3 + 2 * len(MEASURED))


def line(row: Mapping[str, Any]) -> str:
    """A row of the table."""

    def pair(key: str, unit: float = 1.0) -> list[str]:
        return [f"{row[key] / unit:.3g}", f"{row[f'{key}_ratio']:.2f}"] if key in row else ["—", "—"]

    figures = [*pair("update"), *pair("setup"), *pair("tensors", 1e6), *pair("resident", 1e6)]
    return "| " + " | ".join([row["row"], str(row["batch"]), f"{row['planning']:.0f} s", *figures]) + " |"


def main() -> None:
    """Measure, print, save; with the name of a row, print its peaks alone."""
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        print(json.dumps(peaks(sys.argv[1])))
        return
    began = time.perf_counter()
    print(HEAD + "\n" + RULE)
    rows = []
    for name, run in runs().items():
        rows.append(compared(name, run))
        print(line(rows[-1]), flush=True)
    worst = {key: max(max(r[key], 1 / r[key]) for r in rows if key in r) for key in ("update_ratio", "tensors_ratio")}
    print(f"\nworst factors: {worst}; {time.perf_counter() - began:.0f} s in all")
    RESULTS.write_text(
        json.dumps({"hardware": hardware(), "rows": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
