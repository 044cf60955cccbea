"""Ctrl-C and SIGTERM between two updates: the one that runs is finished and kept, then the loop ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, final

import attrs

__all__ = ["Interrupted", "Request", "listening"]


@final
class Interrupted(KeyboardInterrupt):
    """Training was asked to stop after ``step`` updates; what it had learned is in ``out``, or lost where that is None."""

    def __init__(self, step: int, out: Path | None) -> None:
        kept = f"the same call goes on from {out}" if out is not None else "nothing is kept without out="
        super().__init__(f"stopped after update {step}: {kept}")
        self.step, self.out = step, out


@final
@attrs.define(eq=False)
class Request:
    """Whether somebody wants the loop to end."""

    made: bool = False


@contextmanager
def listening() -> Iterator[Request]:
    """The first signal is a request, the second acts at once; elsewhere than in the main thread nothing is heard.

    A signal that is ignored (SIGINT of a background job, say), or handled by something else than Python, stays so.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    found = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = {number: handler for number, handler in found.items() if handler not in (None, signal.SIG_IGN)}

    def hear(number: int, frame: FrameType | None) -> None:
        request.made = True
        _restore(before)

    for number in before:
        signal.signal(number, hear)
    try:
        yield request
    finally:
        _restore(before)


def _restore(before: Mapping[signal.Signals, Any]) -> None:
    for number, handler in before.items():
        signal.signal(number, handler)
