"""When memory runs out: the same rows, half as many at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

__all__ = ["by_pieces", "out_of_memory", "release"]

T = TypeVar("T")

_log = logging.getLogger(__name__)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation has failed, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def release() -> None:
    """Give back what a GPU's allocator holds for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def by_pieces(rows: range, size: int, evaluate: Callable[[range], T]) -> Iterator[tuple[range, T]]:
    """(piece, ``evaluate(piece)``) for at most ``size`` rows at a time; where memory does not suffice, for half as many."""
    first = rows.start
    while first < rows.stop:
        piece = range(first, min(first + size, rows.stop))
        found = _tried(evaluate, piece)
        if found:
            yield piece, found[0]
            first = piece.stop
        else:  # outside the handler, whose traceback holds the tensors that were too many
            release()
            size = len(piece) // 2
            _log.warning("out of memory: %d rows at a time from now on", size)


def _tried(evaluate: Callable[[range], T], piece: range) -> tuple[T] | None:
    try:
        return (evaluate(piece),)
    except (RuntimeError, MemoryError) as error:
        if len(piece) == 1 or not out_of_memory(error):
            raise
        return None
