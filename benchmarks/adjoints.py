"""Closed-form adjoints against autograd through the same formula: time and memory, on the CPU or a GPU.

``python benchmarks/adjoints.py [--device cuda]`` prints the table and writes ``benchmarks/results/adjoints-<cpu|cuda>.json``.
Forward and backward passes of the two alternate and the median of the ratios is reported: other work on the machine slows
both.  On the CPU it is one thread's own time, without that of others.  Memory is what stands between the two passes: on the CPU
the bytes of distinct tensors that autograd saves, the input included, on a GPU the peak above what was there before.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

import pirf
from pirf.experiments import hardware
from pirf.grids import Axis, Grid
from pirf.operators import adjoints
from pirf.rewards import PDEReward

SIZES = ((64, 32), (16, 64), (8, 128))  # batch, points per axis
COLUMNS = (
    "problem",
    "batch",
    "n",
    "closed form, ms",
    "autograd, ms",
    "time",
    "closed form, fields",
    "autograd, fields",
    "memory",
)


def rewards(n: int) -> Mapping[str, PDEReward]:
    cells, torus = Grid.square(n), Grid.square(n, 2 * math.pi, "periodic")
    return {
        "Poisson": pirf.Poisson(cells),
        "Helmholtz": pirf.Helmholtz(cells),
        "Darcy": pirf.Darcy(cells),
        "Burgers": pirf.Burgers(Grid((Axis(n, 1.0, "nodes"), Axis(n, 1.0, "periodic")))),
        "Kolmogorov, Lobatto": pirf.Kolmogorov(torus, 200.0),
    }


def fields(name: str, batch: int, n: int, device: torch.device) -> Tensor:
    channels = {"Burgers": 1, "Kolmogorov, Lobatto": 3}.get(name, 2)
    noise = pirf.Noise(0)[range(batch)].normal((channels, n, n), torch.float32)
    return (noise.exp() if name == "Darcy" else noise).to(device).requires_grad_()


@contextmanager
def recorded() -> Iterator[None]:
    """Every formula is recorded by autograd, none has a rule of its own."""
    with patch.object(adjoints, "plain", lambda: True):
        yield


def passes(reward: PDEReward, x: Tensor, weight: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(reward.residual(x), x, weight)
    return gradient


def seconds(call: Callable[[], object], device: torch.device) -> float:
    if device.type == "cpu":
        began = time.thread_time()
        call()
        return time.thread_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def memory(reward: PDEReward, x: Tensor, weight: Tensor) -> float:
    """In fields of the size of x."""
    if x.is_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        passes(reward, x, weight)
        peak = torch.cuda.max_memory_allocated() - before
        return peak / (x.numel() * x.element_size())
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.nbytes() * x.shape[1] >= x.nbytes // 2:  # no matrices, no symbols
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        kept = reward.residual(x)
    del kept
    return sum(saved.values()) / (x.numel() * x.element_size())


def compare(name: str, reward: PDEReward, x: Tensor, repeats: int) -> dict[str, Any]:
    weight = torch.randn_like(reward.residual(x), requires_grad=False)
    ours = passes(reward, x, weight)
    closed_memory = memory(reward, x, weight)
    with recorded():
        theirs = passes(reward, x, weight)
        recorded_memory = memory(reward, x, weight)
    gap = float((ours - theirs).norm() / theirs.norm())
    taken: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * repeats):
        closed = turn % 4 in (0, 3)  # each goes first in every other pair: the second finds its data in the cache
        with nullcontext() if closed else recorded():
            taken[closed].append(seconds(lambda: passes(reward, x, weight), x.device))
    return {
        "problem": name,
        "batch": len(x),
        "n": x.shape[-1],
        "closed_ms": 1e3 * median(taken[True]),
        "autograd_ms": 1e3 * median(taken[False]),
        "time": median(a / b for a, b in zip(taken[True], taken[False], strict=True)),
        "closed_fields": closed_memory,
        "autograd_fields": recorded_memory,
        "gap": gap,
    }


def table(rows: list[dict[str, Any]]) -> str:
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in rows:
        less = f"{row['closed_fields'] / row['autograd_fields']:.2f}" if row["autograd_fields"] else "—"
        cells = [row["problem"], row["batch"], row["n"], f"{row['closed_ms']:.2f}", f"{row['autograd_ms']:.2f}"]
        cells += [f"{row['time']:.2f}", f"{row['closed_fields']:.1f}", f"{row['autograd_fields']:.1f}", less]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def keep_pages() -> None:
    """Glibc gives large blocks back to the system and fetches them anew, page by page: that would be timed instead."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    libc.mallopt(-4, 0)  # M_MMAP_MAX: no maps
    libc.mallopt(-1, 2**30)  # M_TRIM_THRESHOLD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=101)
    options = parser.parse_args()
    keep_pages()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    rows = []
    for batch, n in SIZES:
        for name, reward in rewards(n).items():
            rows.append(compare(name, reward, fields(name, batch, n, device), options.repeats))
            print(rows[-1], flush=True)
    path = Path(__file__).parent / "results" / f"adjoints-{device.type}.json"
    head = {"device": device.type, "dtype": "float32", "repeats": options.repeats, "hardware": hardware()}
    path.write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
