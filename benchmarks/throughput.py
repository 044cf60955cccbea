"""Cost of one sample of every reference solver, beside the published figures: ``python benchmarks/throughput.py``.

Batches are amortised and one core is used; what counts is processor time.  Machines differ, and others who work on the same
one cost it caches and clock: each figure is also given in real Fourier transforms of one field of the same size, timed
between its repetitions.  The spread of those, and wall time over processor time, say how quiet the machine was.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before anything starts threads

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import fft

import pirf
from pirf.operators import Dirichlet, solve_flux_divergence
from pirf.reference import burgers, darcy, kolmogorov, poisson, random_fields

RESULTS = Path(__file__).parent / "results" / "throughput.json"
SIZES = (32, 64, 128)
BUDGET = 4.0  # seconds for each figure, wall
PUBLISHED = {  # milliseconds per sample at 32, 64, 128, on one core of another machine
    "GRF-N": (0.015, 0.085, 0.28),
    "Poisson, DST-II": (0.011, 0.075, 0.21),
    "Darcy, sparse LU": (1.3, 5.4, 26.0),
    "Darcy, preconditioned CG": (2.0, 6.1, 22.0),
    "Burgers, Crank–Nicolson": (12.5, 29.0, 61.0),
    "Kolmogorov, one step": (0.53, 0.91, 2.7),
}
STEPS = 8


def cases(n: int) -> dict[str, tuple[int, Callable[[], object]]]:
    """Name → (samples per call, the call)."""
    noise = random_fields.white((n, n), range(64), 0)
    field = random_fields.colour(noise)
    rock = darcy.two_phase(field[: 16 if n < 128 else 4])
    grid, tensor = pirf.Grid.square(n), torch.from_numpy(rock)[:, None]
    u0 = burgers.initial_condition(random_fields.white((2, burgers.MODES), range(64), 0), n)
    vorticity = 3 * kolmogorov.random_vorticity(noise)
    together = max(1, 2**13 // n**2)  # as many as the solver itself takes at once
    return {
        "GRF-N": (64, lambda: random_fields.colour(noise)),
        "Poisson, DST-II": (64, lambda: poisson.solve(field)),
        "Darcy, sparse LU": (len(rock), lambda: darcy.solve(rock)),
        "Darcy, preconditioned CG": (
            len(rock),
            lambda: solve_flux_divergence(tensor, torch.ones_like(tensor), grid, Dirichlet(0.0)),
        ),
        "Burgers, Crank–Nicolson": (64, lambda: burgers.solve(u0, n)),
        "Kolmogorov, one step": (together * STEPS, lambda: kolmogorov.advance(vorticity[:together], 100.0, 0.1, STEPS)),
    }


def seconds(call: Callable[[], object]) -> float:
    """Processor time of one call."""
    began = time.process_time()
    call()
    return time.process_time() - began


def calibration(n: int) -> float:
    """Seconds for the real Fourier transform of one field, the best of a few: the unit of this machine, at this moment."""
    fields = np.ones((max(1, 2**13 // n**2), n, n))

    def several() -> None:
        for _ in range(10):
            fft.rfft2(fields, workers=1)

    return min(seconds(several) for _ in range(3)) / (10 * len(fields))


def measure(n: int, name: str, samples: int, call: Callable[[], object]) -> tuple[dict[str, Any], list[float]]:
    """The figure, and the calibrations around it."""
    call()
    times: list[float] = []
    units, began = [calibration(n)], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - began < BUDGET:
        times.append(seconds(call))
        units.append(calibration(n))
        if len(times) >= 50:
            break
    cost, published = 1e3 * min(times) / samples, PUBLISHED[name][SIZES.index(n)]
    row = {
        "solver": name,
        "n": n,
        "ms": _short(cost),
        "median_ms": _short(1e3 * float(np.median(times)) / samples),
        "published_ms": published,
        "ratio": _short(cost / published),
        "transforms": _short(1e-3 * cost / min(units)),
    }
    return row, units


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def main() -> None:
    """Measure, print, save."""
    torch.set_num_threads(1)
    rows, noise = [], []
    print("| solver | n | ms | published | ratio | transforms |\n" + "|---" * 6 + "|")
    wall, processor = time.perf_counter(), time.process_time()
    for n in SIZES:
        for name, (samples, call) in cases(n).items():
            row, units = measure(n, name, samples, call)
            rows.append(row)
            noise.append(float(np.median(units)) / min(units))
            print("| {solver} | {n} | {ms:g} | {published_ms:g} | {ratio:.2f} | {transforms:g} |".format(**row), flush=True)
    waiting = _short((time.perf_counter() - wall) / (time.process_time() - processor))
    spread = _short(max(noise))
    quiet = waiting < 1.1 and spread < 1.3
    state = "quiet" if quiet else "busy"
    print(f"wall over processor time {waiting:g}, median over best calibration {spread:g}: a {state} machine")
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "waiting": waiting, "spread": spread, "quiet": quiet}
    RESULTS.parent.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine, "rows": rows}, indent=1, ensure_ascii=False)
    RESULTS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
