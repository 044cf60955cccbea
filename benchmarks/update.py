"""What one fine-tuning update costs: every strategy beside a plain loop like the released one.

``python benchmarks/update.py [--size 32 64 128] [--device cuda]`` prints a table per size and writes
``benchmarks/results/update-<cpu|cuda>.json``.  ``--quick`` takes 32² and half the batch, finishes within a minute on two cores
and exits with 1 where a ratio of ``TARGETS`` falls short.

A run replaces the sizes it measures.  How good the gradients of the approximate rows are is ``benchmarks/cosines.py``'s matter.

The plain loop and its network are written here once more, from their description and with nothing of the package but the
weights and the reward: Heun with N = 20, the first N − K steps without gradient, the last K with, float32, default memory
layout.  Its gradient is what all others are compared with.  Rows are measured in turn, in one process; ratios are medians
over the turns.  With one CPU thread a second is one of that thread's own time; with more it is wall-clock time.  The learning
rate is 0: the optimizer works, the weights stay.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import gc
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import mean, median
from typing import Any
from unittest.mock import patch

import attrs
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import pirf
from pirf.backprop import GradientStrategy
from pirf.denoisers import Denoiser, low_rank
from pirf.denoisers.base import lay_out
from pirf.experiments import hardware
from pirf.noise import Noise
from pirf.problems import Problem
from pirf.samplers import Chain, Sampler
from pirf.training.prefixes import Prefixes

RESULTS = Path(__file__).parent / "results"
N = 20
# Batch and options: 1.75, 7.0 and 54.4 million parameters.  Only the last is the released network; the smaller ones have its
# blocks, norms and attention at 16², two blocks a level, and a first level that is as wide as the stem.
NETWORKS: Mapping[int, tuple[int, Mapping[str, Any]]] = {
    32: (16, {"channels": 32, "multipliers": (1, 2, 2), "blocks": 2}),
    64: (4, {"channels": 64, "multipliers": (1, 2, 2), "blocks": 2}),
    128: (1, {"channels": 128, "multipliers": (2, 2, 2), "blocks": 4}),
}
PARTS = ("prefix", "forward", "backward", "optimizer")
NOISE = Noise(0).fold("update", 0)


# The released loop, plainly.


def plain_resample(x: Tensor, direction: int) -> Tensor:
    """By the filter (1, 1) in each direction, one group per channel."""
    if not direction:
        return x
    kernel = torch.full((x.shape[1], 1, 2, 2), 0.25 if direction < 0 else 1.0, dtype=x.dtype, device=x.device)
    if direction < 0:
        return F.conv2d(x, kernel, stride=2, groups=x.shape[1])
    return F.conv_transpose2d(x, kernel, stride=2, groups=x.shape[1])


def plain_attention(layer: Any, x: Tensor) -> Tensor:
    q, k, v = layer.qkv(plain_norm(layer.norm, x)).reshape(len(x), x.shape[1], 3, -1).unbind(2)
    weights = torch.einsum("bcq,bck->bqk", q, k / math.sqrt(q.shape[1])).softmax(2)
    mixed = torch.einsum("bqk,bck->bcq", weights, v).reshape(x.shape)
    out: Tensor = (x + layer.proj(mixed)) * math.sqrt(0.5)
    return out


def plain_norm(layer: Any, x: Tensor) -> Tensor:
    return F.group_norm(x, layer.num_groups, layer.weight, layer.bias, layer.eps)


def plain_block(block: Any, x: Tensor, embedding: Tensor) -> Tensor:
    direction = block.resample.direction
    h: Tensor = block.conv0(plain_resample(F.silu(plain_norm(block.norm0, x)), direction))
    h = h + block.affine(embedding)[:, :, None, None]
    h = block.conv1(F.silu(plain_norm(block.norm1, h)))
    h = (h + block.skip(plain_resample(x, direction))) * math.sqrt(0.5)
    if isinstance(block.attention, nn.Identity):
        return h
    return plain_attention(block.attention, h)


def plain_denoiser(network: Any, x: Tensor, sigma: float, s: float = 0.5) -> Tensor:
    """The U-Net's function, from its weights."""
    total = sigma**2 + s**2
    embedding = network.embedding(torch.full((len(x),), math.log(sigma) / 4, dtype=x.dtype, device=x.device))
    h: Tensor = network.stem(x / math.sqrt(total))
    skips = [h]
    for stage in network.down:
        for block in stage:
            h = plain_block(block, h, embedding)
            skips.append(h)
    for stage in network.up:
        for block in stage:
            wider = block.conv0.in_channels > h.shape[1]
            h = plain_block(block, torch.cat([h, skips.pop()], 1) if wider else h, embedding)
    h = network.out(F.silu(plain_norm(network.out_norm, h)))
    return s**2 / total * x + sigma * s / math.sqrt(total) * h


def plain_step(network: Any, x: Tensor, now: float, then: float) -> Tensor:
    slope = (x - plain_denoiser(network, x, now)) / now
    ahead = x + (then - now) * slope
    if then == 0:
        return ahead
    return x + (then - now) * 0.5 * (slope + (ahead - plain_denoiser(network, ahead, then)) / then)


def plain_loss(
    network: Denoiser, problem: Problem, z: Tensor, last: int, prefix: Callable[[], None], with_state: bool = False
) -> Tensor:
    """Minus the mean reward; ``prefix`` is called where gradients begin, ``with_state`` asks for one of the state there."""
    levels = [(80 ** (1 / 7) + i / (N - 1) * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7 for i in range(N)] + [0.0]
    x = levels[0] * z
    with torch.no_grad():
        for k in range(N - last):
            x = plain_step(network, x, levels[k], levels[k + 1])
    prefix()
    x = x.requires_grad_(with_state)
    for k in range(N - last, N):
        x = plain_step(network, x, levels[k], levels[k + 1])
    return -problem.reward(problem.scaling.physical(x)).mean()


# One update, in parts.


@attrs.define(eq=False)
class Watch:
    """Seconds, and where the prefix of the current update ended."""

    device: torch.device
    began: float = 0.0
    prefix: float = 0.0

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        elif torch.get_num_threads() == 1:
            return time.thread_time()
        return time.perf_counter()

    def split(self) -> None:
        self.prefix = self.now() - self.began

    @contextmanager
    def on_departures(self) -> Iterator[None]:
        """The package's prefixes end where a chain has departed."""
        plain = Chain.depart

        def depart(chain: Chain, step: int) -> Any:
            out = plain(chain, step)
            self.split()
            return out

        with patch.object(Chain, "depart", depart):
            yield


@attrs.frozen(eq=False)
class Row:
    """A kind of update: its loss, what it trains, the K of the plain loop that it stands beside."""

    name: str
    beside: int
    loss: Callable[[], Tensor]
    trained: Sequence[nn.Parameter]
    names: Sequence[str]
    optimizer: torch.optim.Optimizer
    share: int = 1
    """Updates that one prefix serves."""
    slow: bool = False
    """Measured once."""


def parts(row: Row, watch: Watch) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Seconds of one update by part, and its gradient by the name of the weight."""
    watch.prefix, watch.began = 0.0, watch.now()
    value = row.loss()
    forward = watch.now()
    gradients = torch.autograd.grad(value, row.trained, allow_unused=True)
    backward = watch.now()
    for parameter, gradient in zip(row.trained, gradients, strict=True):
        parameter.grad = gradient
    row.optimizer.step()
    end = watch.now()
    for parameter in row.trained:
        parameter.grad = None
    prefix = watch.prefix
    seconds = (prefix / row.share, forward - watch.began - prefix, backward - forward, end - backward)
    found = {name: g.detach() for name, g in zip(row.names, gradients, strict=True) if g is not None}
    return dict(zip(PARTS, seconds, strict=True)), found


def network(n: int, problem: Problem, device: torch.device, **smaller: Any) -> pirf.UNet:
    """Random weights, those that start near zero of ordinary size: no gradient vanishes by construction."""
    options = {**NETWORKS[n][1], **smaller}
    made = pirf.UNet(problem.shape, problem.scaling, attention=(16,), norm=True, **options).eval()
    with torch.no_grad():
        for index, parameter in enumerate(made.parameters()):
            if parameter.ndim > 1 and float(parameter.std()) < 1e-4:
                spread = 1 / math.sqrt(parameter[0].numel())
                parameter.copy_(spread * Noise(0).fold("weights", index).normal(parameter.shape)[0])
    return made.to(device)


def rows_of(
    problem: Problem,
    base: pirf.UNet,
    batch: int,
    watch: Watch,
    *,
    few: bool = False,
    compiled: bool = False,
    only: str | None = None,
) -> list[Row]:
    """All rows on one network, the few that have targets, or one; the plain ones come first."""
    samples = NOISE[range(batch)]
    z = samples.fold("initial").normal(problem.shape, torch.float32, watch.device)
    heun = pirf.Heun(N)
    rows: list[Row] = []
    states: dict[int, Prefixes] = {}

    def add(
        name: str, beside: int, loss: Callable[[], Tensor], model: nn.Module, trained: Sequence[nn.Parameter], **more: Any
    ) -> None:
        known = {id(p): key.removeprefix("tuned.") for key, p in model.named_parameters()}
        for p in model.parameters():
            p.requires_grad_(False)
        for p in trained:
            p.requires_grad_(True)
        rows.append(
            Row(name, beside, loss, trained, [known[id(p)] for p in trained], torch.optim.Adam(trained, lr=0.0), **more)
        )

    def plain(name: str, last: int, truncated: bool = False) -> None:
        if only not in (None, name):
            return
        model = copy.deepcopy(base)
        lay_out(model, torch.contiguous_format)
        trained = model.last_stages(1) if truncated else list(model.parameters())
        add(name, last, lambda: plain_loss(model, problem, z, last, watch.split, truncated), model, trained)

    def ours(
        name: str,
        beside: int,
        strategy: GradientStrategy,
        *,
        model: Denoiser | None = None,
        sampler: Sampler = heun,
        stored: int | None = None,
        autocast: bool = False,
        **more: Any,
    ) -> None:
        if only not in (None, name):
            return
        model = copy.deepcopy(base) if model is None else model
        options = {key: more.pop(key) for key in ("quick", "precision") if key in more}
        add(name, beside, lambda: loss(), model, strategy.trainable(model), **more)
        chain = Chain(sampler, model, samples, **options)
        if stored is not None:
            stop = strategy.first_graded(chain)
            if stop not in states:
                states[stop] = Prefixes.compute(chain, stop, samples, batch, features=0, progress=False)
            known = strategy.prepare(attrs.evolve(chain, prefixes=states[stop]))
            prefixes = Prefixes.compute(known, stop, samples, batch, features=stored, progress=False)
            chain = attrs.evolve(chain, prefixes=prefixes)
        state = strategy.init(chain, problem.reward, samples)

        def loss() -> Tensor:
            with torch.autocast(watch.device.type, torch.bfloat16, enabled=autocast):
                return strategy.loss(chain, problem.reward, samples, state).value

    def split(last: int) -> Denoiser:
        handover = pirf.Handover.split(base, heun.before_last(last))
        handover.base.requires_grad_(False)
        return handover

    one, two = pirf.LastSteps(1), pirf.LastSteps(2)
    cheap: dict[str, Any] = {"quick": pirf.Multistep(N)}
    half: dict[str, Any] = {"precision": torch.bfloat16}
    plain("released, K=1", 1)
    plain("released, K=2", 2)
    ours("LastSteps(1)", 1, one)
    ours("LastSteps(2)", 2, two)
    ours("LastSteps(1), Multistep prefix", 1, one, **cheap)
    ours("LayerTruncated(LastSteps(1))", 1, pirf.LayerTruncated(one))
    ours("Handover, stored, K=1", 1, one, model=split(1), stored=0)
    ours("Handover, stored, K=2", 2, two, model=split(2), stored=0)
    ours("Handover, stored, K=1, last stage", 1, pirf.LayerTruncated(one), model=split(1), stored=0)
    ours("Handover, stored, K=1, last stage, features", 1, pirf.LayerTruncated(one), model=split(1), stored=2**33)
    if few:
        return rows
    plain("released, K=1, last stage", 1, truncated=True)
    ours("LastSteps(1), bfloat16 prefix", 1, one, **half)
    ours("LastSteps(1), Multistep and bfloat16 prefix", 1, one, **cheap, **half)
    ours("LastSteps(2), Multistep prefix", 2, two, **cheap)
    ours("LastSteps(2), Multistep and bfloat16 prefix", 2, two, **cheap, **half)
    ours("LastSteps(1), bfloat16 throughout", 1, one, **half, autocast=True)
    ours("LastSteps(1), replay=4", 1, one, share=4)
    nchw = copy.deepcopy(base)
    lay_out(nchw, torch.contiguous_format)
    ours("LastSteps(1), default layout", 1, one, model=nchw)
    if compiled:
        fast = copy.deepcopy(base)
        fast.compile()
        ours("LastSteps(1), compiled", 1, one, model=fast)
    ours("LayerTruncated(LastSteps(2))", 2, pirf.LayerTruncated(two))
    ours("LayerTruncated(LastSteps(2)), preconditioner path", 2, pirf.LayerTruncated(two, state_path="preconditioner"))
    ours("LastSteps(1), low rank 4", 1, one, model=low_rank(base, 4))
    ours("LowVariance(2)", 1, pirf.LowVariance(2))
    ours("OneStep(5)", 1, pirf.OneStep(5))
    depth = pirf.RandomSteps().draw(Chain(heun, base, samples))
    ours(f"RandomSteps, K={depth}", 1, pirf.RandomSteps(), slow=True)
    ours("Windows(4), coarsest", 1, pirf.Windows(4), slow=True)
    ours("Windows(4), finest", 1, pirf.Windows(4, window=3), slow=True)
    ours("AdjointMatching", 1, pirf.AdjointMatching(), sampler=pirf.Ancestral(N), slow=True)
    ours(f"Full(segments={N})", 1, pirf.Full(segments=N), slow=True)
    return rows


# What an update keeps, and what it reaches.


def saved(row: Row) -> tuple[int, float]:
    """Bytes of the distinct storages that the graph saves, weights not counted, and the operations of the update."""
    ours = {t.untyped_storage().data_ptr() for group in row.optimizer.param_groups for t in group["params"]}
    found: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, nn.Parameter) and storage.data_ptr() not in ours:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            value = row.loss()
        torch.autograd.grad(value, row.trained, allow_unused=True)
    return sum(found.values()), float(counter.get_total_flops())


def blocks_go_back(at_once: bool = False) -> None:
    """What has been freed is the system's again; ``at_once``, every block of 64 KiB or more is a map of its own from now on."""
    libc = ctypes.CDLL("libc.so.6")
    if at_once:
        libc.mallopt(-3, 2**16)  # M_MMAP_THRESHOLD
        libc.mallopt(-4, 2**20)  # M_MMAP_MAX
        libc.mallopt(-1, 0)  # M_TRIM_THRESHOLD
    libc.malloc_trim(0)


def resident(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return 1024 * int(line.split()[1])


def peak(row: Row, watch: Watch) -> int | None:
    """High-water mark of one update above what was there before: of the allocator on a GPU, of the resident set on Linux."""
    for parameter in row.trained:
        parameter.grad = torch.zeros_like(parameter)
    row.optimizer.step()  # its state is there before, and stays
    gc.collect()
    if watch.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        parts(row, watch)
        return int(torch.cuda.max_memory_allocated() - before)
    try:
        blocks_go_back(at_once=True)
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
    except OSError:
        return None
    parts(row, watch)
    return resident("VmHWM") - before


def peak_elsewhere(name: str, n: int, batch: int) -> int | None:
    """The peak of one row in a fresh process: in this one, what has been freed would be used again, and count as free."""
    command = [sys.executable, __file__, "--device", "cpu", "--peak", name, "--size", str(n), "--batch", str(batch)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **threads})
    found: int | None = json.loads(done.stdout)
    return found


def convolution_rate(n: int, batch: int, watch: Watch) -> float:
    """FLOP/s of a 3×3 convolution at the full resolution and twice the stem's width, in the better of the two layouts."""
    width, best = 2 * NETWORKS[n][1]["channels"], 0.0
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.ones(batch, width, n, n, device=watch.device).to(memory_format=layout)
        w = torch.ones(width, width, 3, 3, device=watch.device).to(memory_format=layout)
        taken = []
        for _ in range(6):
            began = watch.now()
            F.conv2d(x, w, padding=1)
            taken.append(watch.now() - began)
        best = max(best, 2 * 9 * width * x.numel() / median(taken))
    return best


def gap(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    """Relative distance of gradient ``a`` from ``b``, over the weights that both have."""
    keys = [key for key in a if key in b]
    if not keys:
        return math.nan
    x, y = (torch.cat([g[key].double().cpu().flatten() for key in keys]) for g in (a, b))
    return float((x - y).norm() / y.norm())


# Targets and tables.

TARGETS: tuple[tuple[str, str, float], ...] = (
    ("LastSteps(1)", "ratio", 1.5),
    ("LastSteps(2)", "ratio", 1.5),
    ("LastSteps(1), Multistep prefix", "ratio", 2.5),
    ("Handover, stored, K=1", "ratio", 8.0),
    ("Handover, stored, K=2", "ratio", 3.5),
    ("Handover, stored, K=1, last stage", "ratio", 14.0),
    ("Handover, stored, K=1, last stage, features", "ratio", 25.0),
    ("LayerTruncated(LastSteps(1))", "saved", 0.5),
    ("LayerTruncated(LastSteps(1))", "backward", 0.5),
    ("LayerTruncated(LastSteps(1))", "gap", 1e-4),
    (f"Full(segments={N})", "peak", 2.0),
)


def shortfalls(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The targets that were measured and missed; ratios to beat, and shares of ``LastSteps(1)`` not to exceed."""
    known = {row["row"]: row for row in rows}
    missed = []
    for name, column, bound in TARGETS:
        if name not in known or known[name].get(column) is None:
            continue
        value = known[name][column]
        if column in ("saved", "backward", "peak"):
            value /= known["LastSteps(1)"][column]
        if not (value >= bound if column == "ratio" else value <= bound):
            missed.append(f"{name}: {column} {value:.3g}, where {bound:g} is the target")
    return missed


def measure(n: int, device: torch.device, options: argparse.Namespace) -> dict[str, Any]:
    problem, watch = pirf.problems.poisson(n), Watch(device)
    batch = NETWORKS[n][0] // 2 if options.quick else NETWORKS[n][0]
    base = network(n, problem, device)
    few = options.quick or (n == 128 and device.type == "cpu")
    rows = rows_of(problem, base, batch, watch, few=few, compiled=options.compile)
    taken: dict[str, list[dict[str, float]]] = {row.name: [] for row in rows}
    exact: dict[str, dict[str, Tensor]] = {}  # of the plain loops
    gaps: dict[str, float] = {}
    began = time.perf_counter()
    with watch.on_departures():
        for turn in range(options.repeats):
            blocks_go_back()
            if turn and time.perf_counter() - began > options.seconds * turn / (turn + 1):
                break
            for row in rows:
                if turn and row.slow:
                    continue
                seconds, gradient = parts(row, watch)
                if row.name.startswith("released"):
                    exact[row.name] = gradient
                gaps[row.name] = gap(gradient, exact[f"released, K={row.beside}"])
                taken[row.name].append(seconds)
                del gradient
                print(f"{n}², turn {turn + 1}, {row.name}: {sum(seconds.values()):.3f} s", file=sys.stderr, flush=True)
    totals = {name: [sum(turn.values()) for turn in turns] for name, turns in taken.items()}
    rate = convolution_rate(n, batch, watch)
    table = []
    for row in rows:
        beside = f"released, K={row.beside}"
        counted = not options.quick or any(row.name == name for name, column, _ in TARGETS if column == "saved")
        # torch's counter cannot follow a backward pass inside the loss.
        countable = not row.name.startswith("Adjoint") and (counted or row.name == "LastSteps(1)")
        kept, flops = saved(row) if countable else (None, math.nan)
        line: dict[str, Any] = {"row": row.name, "beside": beside}
        line |= {part: median(turn[part] for turn in taken[row.name]) for part in PARTS}
        line["total"] = median(totals[row.name])
        line["ratio"] = median(a / b for a, b in zip(totals[beside], totals[row.name], strict=False))
        # What a checkpoint recomputes is saved out of the hooks' sight.
        line["saved"] = None if row.name.startswith("Full") else kept
        line["share"] = None if row.share > 1 or math.isnan(flops) else flops / line["total"] / rate
        line["gap"] = gaps[row.name]
        table.append(line)
    sizes: dict[str, Any] = {
        "n": n,
        "batch": batch,
        "parameters": sum(p.numel() for p in base.parameters()),
        "convolution": rate,
    }
    sizes["last_stage"] = sum(p.numel() for p in base.last_stages(1))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    sizes |= {"hardware": hardware(), "threads": torch.get_num_threads(), "cores": cores}
    if device.type == "cuda":
        for row, line in zip(rows, table, strict=True):
            line["peak"] = peak(row, watch)
    return {**sizes, "turns": len(totals["LastSteps(1)"]), "rows": table}


def add_peaks(found: dict[str, Any], quick: bool) -> None:
    """On the CPU, one fresh process per row; ``quick``, the two rows that a target compares."""
    known = {line["row"]: line for line in found["rows"]}
    names = ("LastSteps(1)", f"Full(segments={N})") if quick else tuple(known)
    for name in names:
        if name not in known:
            found["rows"].append(known.setdefault(name, {"row": name}))
        known[name]["peak"] = peak_elsewhere(name, found["n"], found["batch"])


COLUMNS = (
    "update",
    "prefix, s",
    "forward",
    "backward",
    "optimizer",
    "total",
    "faster",
    "saved, MB",
    "peak, MB",
    "of conv rate",
    "cosine",
)


def table(found: Mapping[str, Any], quality: Mapping[str, Sequence[float]]) -> str:
    """``quality``: cosines by row, from ``benchmarks/cosines.py``."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    for row in found["rows"]:
        if "total" not in row:
            continue
        megabytes = ["—" if row.get(key) is None else f"{row[key] / 1e6:.0f}" for key in ("saved", "peak")]
        share = "—" if row["share"] is None else f"{row['share']:.2f}"
        cells = [row["row"], *(f"{row[part]:.3f}" for part in (*PARTS, "total")), f"×{row['ratio']:.2f}", *megabytes, share]
        close = f"{mean(quality[row['row']]):.3f}" if row["row"] in quality else "equal" if row["gap"] < 1e-4 else "—"
        lines.append("| " + " | ".join([*cells, close]) + " |")
    return "\n".join(lines)


def keep(found: Mapping[str, Any], device: torch.device) -> None:
    """Beside the other sizes, in place of an older run of this one."""
    path = RESULTS / f"update-{device.type}.json"
    others = json.loads(path.read_text())["sizes"] if path.exists() else []
    sizes = sorted([kept for kept in others if kept["n"] != found["n"]] + [found], key=lambda size: int(size["n"]))
    path.write_text(json.dumps({"device": device.type, "steps": N, "dtype": "float32", "sizes": sizes}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=("cpu", "cuda"))
    parser.add_argument("--size", type=int, nargs="+", default=[32, 64], choices=sorted(NETWORKS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=900.0, help="no further turn where one more would not fit, per size")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--compile", action="store_true", help="a row with torch.compile; needs a C++ compiler and a minute")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peak", help="print the peak memory of this row, at one size, and nothing else")
    parser.add_argument("--batch", type=int, default=1, help="for --peak")
    options = parser.parse_args(arguments)
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.quick:
        options.size, options.repeats, options.seconds = [32], 3, 16.0
    device = torch.device(options.device)
    if options.peak is not None:
        blocks_go_back(at_once=True)  # before anything is freed
        problem, (n,) = pirf.problems.poisson(options.size[0]), options.size
        (row,) = rows_of(problem, network(n, problem, device), options.batch, Watch(device), compiled=True, only=options.peak)
        print(json.dumps(peak(row, Watch(device))))
        return 0
    sizes = []
    for n in options.size:
        found = measure(n, device, options)
        sizes.append(found)
        gc.collect()
        blocks_go_back()
        if not options.quick:
            keep(found, device)  # the peaks take as long again
        if device.type == "cpu":
            add_peaks(found, options.quick)
        if not options.quick:
            keep(found, device)
        print(f"\n{n}², batch {found['batch']}, {found['parameters'] / 1e6:.2f} M parameters\n\n{table(found, {})}")
    missed = [f"{found['n']}²: {line}" for found in sizes for line in shortfalls(found["rows"])]
    print("\n" + ("\n".join(missed) or "every target is met"))
    return 1 if missed and options.quick else 0


if __name__ == "__main__":
    sys.exit(main())
