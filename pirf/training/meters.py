r"""What a computation holds in memory: the bytes of all tensors that it has made and that are still alive, now and at most.

On a GPU the allocator counts them.  On the CPU nobody does, so every operation is watched: a storage counts from the operation
that gives it until nothing refers to it.  What was there before does not count, and the scratch space of a kernel is not seen.
"""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Meter", "available", "metered"]

# Of the group that a container puts its processes into, by generation of Linux: limit, use, and what of it are files' copies.
_LIMITS = (
    ("/sys/fs/cgroup/memory.max", "memory.current", "inactive_file "),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
)


@runtime_checkable
class Meter(Protocol):
    """Bytes that are held, and the most that were since they were last looked at."""

    def held(self) -> int:
        """Now."""

    def most(self) -> int:
        """Since this was asked before, or since the beginning."""


@contextmanager
def metered(device: torch.device) -> Iterator[Meter]:
    """A meter of what is made within the block."""
    if device.type == "cuda":
        yield _Allocator(device)
        return
    ledger = _Ledger()
    with ledger:
        yield ledger


def available(device: torch.device) -> int:
    """Bytes that this process could still take: free ones and, on the CPU, those that the system would give back."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    free = _free() // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's: the processes of one machine share it
    return max(0, free)


@final
class _Ledger(TorchDispatchMode):
    """Every storage that an operation makes, for as long as it lives."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self._living: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        self._held = self._most = 0

    def held(self) -> int:
        return self._held

    def most(self) -> int:
        most, self._most = self._most, self._held
        return most

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: object, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        given = {id(t.untyped_storage()) for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if id(storage) not in given and id(storage) not in self._living:
                    self._add(storage)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        self._living[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self._held += size
        self._most = max(self._most, self._held)

    def _forget(self, key: int, size: int) -> None:
        del self._living[key]
        self._held -= size


@final
class _Allocator:
    """What CUDA's caching allocator has handed out, above what it had before."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)

    def held(self) -> int:
        return int(torch.cuda.memory_allocated(self._device) - self._before)

    def most(self) -> int:
        most = int(torch.cuda.max_memory_allocated(self._device) - self._before)
        torch.cuda.reset_peak_memory_stats(self._device)
        return most


def _free() -> int:
    """On the CPU, within the limits of a container."""
    found = [_below(Path(limit), used, files) for limit, used, files in _LIMITS if Path(limit).exists()]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")))
    except (OSError, StopIteration):  # not Linux: all there is
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found)


def _below(limit: Path, used: str, files: str) -> int:
    """Bytes up to the limit; copies of files that nobody reads make room."""
    if limit.read_text().strip() == "max":
        return sys.maxsize
    lines = limit.with_name("memory.stat").read_text().splitlines()
    given_back = sum(int(line.split()[1]) for line in lines if line.startswith(files))
    return int(limit.read_text()) - int(limit.with_name(used).read_text()) + given_back
