"""Random batches of a set on disk: ``python benchmarks/data_path.py --gigabytes 20``.

A set of random numbers is written (real bytes, in files of a gigabyte), read, and deleted, with samples of 2×32² and of 2×128².
Three ways to read batches of 32 in the order of an epoch: ``pirf.Stored``, a plain fancy index into memory maps of the same
files, and as the ceiling the same amount of bytes in one sequential run.  *Cold* means that the kernel has been asked to drop
the files from its cache; how much then came from the disk, per byte wanted, says that it had, and how much a way of reading
fetches in vain.  *Warm* are the same batches once more.  The ways take turns, each time with other batches, and the fastest
counts.  Then what the training loop does around it: the whole draw of an update, with its noise, the same with the next batch
read ahead by a thread, and one update of the default network.
"""

from __future__ import annotations

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before anything starts threads

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

import pirf
from pirf.data import Stored
from pirf.data.epochs import Epochs
from pirf.training.loop import Budget
from pirf.training.matching import Matching

RESULTS = Path(__file__).parent / "results" / "data_path.json"
BATCH = 32
SEED = 5
TURNS = 3
FILE = 1e9  # bytes
Read = Callable[[int], object]


def write(folder: Path, shape: tuple[int, ...], gigabytes: float) -> list[Path]:
    """Files of at most ``FILE`` bytes, on disk when this returns."""
    size, generator = 4 * int(np.prod(shape)), np.random.default_rng(0)
    paths: list[Path] = []
    left, whole = int(gigabytes * 1e9) // size, int(FILE) // size
    while left > 0:
        count = min(left, whole)
        paths.append(folder / f"part{len(paths):03d}.npy")
        array = np.lib.format.open_memmap(paths[-1], "w+", np.float32, (count, *shape))
        for first in range(0, count, 1024):
            block = array[first : first + 1024]
            generator.random(out=block, dtype=np.float32)
        array.flush()
        left -= count
    return paths


def forget(paths: Sequence[Path]) -> None:
    """Have the kernel drop these files from its cache; what is mapped or not yet written stays."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def fetched() -> int:
    """Bytes that this process has had fetched from the disk."""
    return int(
        next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("read_bytes")).split()[1]
    )


def resident(kind: str = "RssAnon") -> float:
    """Megabytes of memory of this process; ``RssAnon`` is without the pages of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(kind)).split()[1]) / 1024


def timed(batches: Sequence[int], read: Read, wanted: int) -> dict[str, float]:
    """Figures of reading these batches, which want so many bytes each."""
    before, began, processor = fetched(), time.perf_counter(), time.process_time()
    for index in batches:
        read(index)
    seconds, busy = time.perf_counter() - began, time.process_time() - processor
    return {
        "ms": 1e3 * seconds / len(batches),
        "processor_ms": 1e3 * busy / len(batches),
        "samples": BATCH * len(batches) / seconds,
        "gigabytes": 1e-9 * len(batches) * wanted / seconds,
        "fetched": (fetched() - before) / (len(batches) * wanted),
    }


def turns(
    ways: dict[str, Callable[[], Read]], paths: Sequence[Path], batches: int, wanted: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Way → cold and warm figures of its fastest turn.  Every turn has a reader of its own, as what is mapped stays cached."""
    best: dict[str, dict[str, dict[str, float]]] = {way: {} for way in ways}
    for turn in range(TURNS):
        for way, made in ways.items():
            forget(paths)
            read = made()
            for state in ("cold", "warm"):
                found = timed(range(turn * batches, (turn + 1) * batches), read, wanted)
                if state not in best[way] or found["ms"] < best[way][state]["ms"]:
                    best[way][state] = found
            del read
    return best


class Mapped:
    """The plain way: an index into memory maps."""

    def __init__(self, paths: Sequence[Path], epochs: Epochs) -> None:
        self.epochs, self.maps = epochs, [np.load(path, mmap_mode="r") for path in paths]

    def sample(self, index: int) -> Tensor:
        """The same samples as ``Stored``."""
        rows, each = self.epochs.rows(BATCH, SEED, index * BATCH), len(self.maps[0])
        out = np.empty((BATCH, *self.maps[0].shape[1:]), np.float32)
        for k in np.unique(rows // each):
            mine = rows // each == k
            out[mine] = self.maps[k][rows[mine] - k * each]
        return torch.from_numpy(out)


class Ahead:
    """A source whose next batch is read by a thread."""

    def __init__(self, source: Stored) -> None:
        self.source, self.shape, self.scaling = source, source.shape, source.scaling
        self.pool, self.next = ThreadPoolExecutor(1), dict[int, Future[Tensor]]()

    def sample(self, count: int, seed: int = 0, start: int = 0) -> Tensor:
        """The batch asked for, while the next is read."""
        found = self.next.pop(start, None)
        batch = self.source.sample(count, seed, start) if found is None else found.result()
        self.next[start + count] = self.pool.submit(self.source.sample, count, seed, start + count)
        return batch


@attrs.define
class Sequential:
    """The files as one, in batches one after another."""

    paths: Sequence[Path]
    buffer: bytearray

    def read(self, index: int) -> None:
        """As many bytes as a batch has."""
        each = self.paths[0].stat().st_size // len(self.buffer)
        with self.paths[index // each % len(self.paths)].open("rb", buffering=0) as file:
            file.seek(index % each * len(self.buffer))
            file.readinto(self.buffer)


def measure(n: int, gigabytes: float, folder: Path, batches: int) -> dict[str, Any]:
    """Everything about one size of samples."""
    shape = (2, n, n)
    wanted = 4 * BATCH * int(np.prod(shape))
    began = time.perf_counter()
    paths = write(folder, shape, gigabytes)
    written = time.perf_counter() - began
    forget(paths)
    before, began = resident(), time.perf_counter()
    source = Stored(paths)
    opening = time.perf_counter() - began
    began = time.perf_counter()
    repr(source)
    naming = time.perf_counter() - began
    began = time.perf_counter()
    epochs = Epochs(len(source))
    epochs.rows(BATCH, SEED, 0)
    permuting = time.perf_counter() - began
    batches = min(batches, len(source) // (TURNS * BATCH))
    if not torch.equal(Mapped(paths, epochs).sample(0), source.sample(BATCH, SEED)):
        raise SystemExit("the ways of reading do not agree")
    ways: dict[str, Callable[[], Read]] = {
        "Stored": lambda: lambda i: source.sample(BATCH, SEED, i * BATCH),
        "memory map": lambda: Mapped(paths, epochs).sample,
        "sequential": lambda: Sequential(paths, bytearray(wanted)).read,
    }
    found = turns(ways, paths, batches, wanted)
    memory = resident() - before
    model = pirf.UNet(shape, source.scaling)
    matching = Matching(Budget(steps=1), batch=BATCH, seed=SEED)
    drawn: dict[str, Callable[[], Read]] = {
        "plain": lambda: partial(matching.draw, model, source),
        "ahead": lambda: partial(matching.draw, model, Ahead(source)),
    }
    draws = turns(drawn, paths, min(batches, 100), wanted)
    few = matching.draw(model, source, 0)[:8]
    for _ in range(2):  # the second counts
        began = time.perf_counter()
        torch.autograd.backward(matching.loss(matching.estimate(model, few), few))
        update = 1e3 * (time.perf_counter() - began) * BATCH / 8
    for path in paths:
        path.unlink()
    return {
        "n": n,
        "samples": len(source),
        "gigabytes": 1e-9 * len(source) * wanted / BATCH,
        "files": len(paths),
        "batches": batches,
        "seconds": {"write": written, "open": opening, "name": naming, "permutation": permuting},
        "memory_mb": memory,
        "ways": found,
        "draws": draws,
        "update_ms": update,
    }


def short(value: Any) -> Any:
    """Three digits."""
    if isinstance(value, dict):
        return {key: short(item) for key, item in value.items()}
    if isinstance(value, list):
        return [short(item) for item in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def table(found: dict[str, Any]) -> str:
    """What was measured of one size."""
    lines = ["| read | samples/s, cold | GB/s | from disk | samples/s, warm | GB/s | processor |", "|---" * 7 + "|"]
    for way, figures in found["ways"].items():
        cold, warm = figures["cold"], figures["warm"]
        lines.append(
            f"| {way} | {cold['samples']:,.0f} | {cold['gigabytes']:.2g} | {cold['fetched']:.3g}× "
            f"| {warm['samples']:,.0f} | {warm['gigabytes']:.2g} | {warm['processor_ms']:.2g} ms |"
        )
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of each set; one is deleted before the next is written")
    parser.add_argument("--size", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--folder", type=Path, default=None, help="where the sets are written; the system's temporary folder")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sizes = []
    for n in options.size:
        folder = Path(tempfile.mkdtemp(prefix="pirf-data-path-", dir=options.folder))
        try:
            if shutil.disk_usage(folder).free < 1.1e9 * options.gigabytes:
                raise SystemExit(f"{options.gigabytes:g} GB do not fit into {folder.parent}; try --folder or fewer --gigabytes")
            sizes.append(short(measure(n, options.gigabytes, folder, options.batches)))
        finally:
            shutil.rmtree(folder)
        print(f"\n2×{n}², {sizes[-1]['gigabytes']:g} GB in {sizes[-1]['files']} files\n\n{table(sizes[-1])}", flush=True)
        print({key: value for key, value in sizes[-1].items() if key != "ways"}, flush=True)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    text = json.dumps(
        {"machine": {"cores": os.cpu_count(), "memory_gb": short(memory)}, "sizes": sizes}, indent=1, ensure_ascii=False
    )
    options.results.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
