r"""Many processes as one: a batch is cut into the shares of the ranks, :math:`\nabla L = \sum_r \tfrac{n_r}{n} \nabla L_r`.

``torchrun --nproc_per_node=4 script.py``, with ``with pirf.ranks():`` around what the script does; outside torchrun nothing
changes.  The engine is ``torch.distributed``: gloo between CPUs, NCCL between GPUs.  What a sample's noise is depends on its
address alone (:mod:`pirf.noise`), so that one, two or four ranks see the same numbers.
"""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch import distributed as dist

from pirf.errors import InputError

__all__ = ["averaged", "gathered", "meet", "rank", "ranks", "share", "summed", "world"]


@contextmanager
def ranks() -> Iterator[int]:
    """Join the processes that torchrun has started, for the time of the block; gives this one's rank, 0 without torchrun.

    Every process takes the GPU of its local rank, if there are any, as ``"cuda"``.  Only rank 0 logs what is no error.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or dist.is_initialized():  # some builds of torch have no processes to ask
        yield rank()
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    if rank():
        logging.getLogger("pirf").setLevel(logging.ERROR)
    yield rank()
    meet()  # not after an error: the others may be waiting, and it is torchrun that ends them
    gc.collect()  # a wrapped module that still lives would hold the connections until the interpreter is gone, and abort it
    dist.destroy_process_group()


def rank() -> int:
    """Of this process, 0 … world − 1."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """Processes that work together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def share(count: int) -> range:
    """What this rank does of ``count`` rows: consecutive ones, the shares in the order of the ranks."""
    if count < world():
        raise InputError(
            "at least one sample for every process is needed",
            got=f"{count} samples for {world()} processes",
            why="a process without work has no gradient to add",
            hint="a larger batch, or fewer processes",
        )
    return range(count * rank() // world(), count * (rank() + 1) // world())


def gathered(values: Tensor, dim: int = 0) -> Tensor:
    """The values of all ranks along ``dim``, in the order of the ranks; without their graph."""
    if world() == 1:
        return values
    mine = values.detach().movedim(dim, 0).contiguous()
    lengths = summed(torch.tensor([len(mine) if r == rank() else 0 for r in range(world())])).tolist()
    longest = max(lengths)
    padded = torch.cat([mine, mine.new_zeros(longest - len(mine), *mine.shape[1:])])
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)]).movedim(0, dim)


def meet() -> None:
    """Wait for all ranks."""
    if world() > 1:
        dist.barrier()


def summed(values: Tensor) -> Tensor:
    """The sum over all ranks, in place."""
    if world() > 1:
        dist.all_reduce(values)
    return values


def averaged(tensors: Sequence[Tensor | None], weight: float = 1.0) -> list[Tensor | None]:
    """The mean over all ranks of weight · tensor, in one message; a tensor that is None is None on every rank."""
    known = [t for t in tensors if t is not None]
    if world() == 1 or not known:
        return list(tensors)
    flat = summed(torch.cat([(weight / world()) * t.detach().flatten() for t in known]))
    parts = iter(torch.split(flat, [t.numel() for t in known]))
    return [None if t is None else next(parts).reshape(t.shape) for t in tensors]
