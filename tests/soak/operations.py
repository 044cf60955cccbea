"""The calls into the operating system that a block of Python makes, one after the other, and a stop before any of them."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

MODULES = {"posix", "io", "_io", "safetensors._safetensors_rust"}
IDLE = {"fspath", "getpid", "text_encoding", "stat", "lstat"}  # they change nothing on the disk
ALLOCATING = {"mkdir", "open", "write", "serialize_file", "fsync", "rename", "replace", "link"}


class Operations:
    """Counts them while a block runs; before number ``at`` (of those called ``only``) it does ``act``."""

    def __init__(self, at: int | None = None, act: Callable[[], None] | None = None, only: set[str] | None = None):
        self.at, self.act, self.only, self.count = at, act, only, 0

    def __enter__(self):
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)

    def _event(self, frame, event, called):
        if event != "c_call" or called.__name__ in IDLE:
            return
        if getattr(called, "__module__", None) not in MODULES and type(called.__self__).__module__ not in MODULES:
            return
        if called.__qualname__ == "setprofile" or (self.only is not None and called.__name__ not in self.only):
            return
        self.count += 1
        if self.count == self.at:
            sys.setprofile(None)
            self.act()


def tear(folder: Path) -> None:
    """Cut the largest file of a checkpoint that is being written in half: what a write leaves behind that was not finished."""
    parts = [p for entry in folder.iterdir() if entry.name.startswith(".partial") for p in entry.rglob("*") if p.is_file()]
    if parts:
        largest = max(parts, key=lambda p: p.stat().st_size)
        os.truncate(largest, largest.stat().st_size // 2)


def die(torn: Path | None = None) -> None:
    """SIGKILL to this process, after a write was torn in this folder."""
    if torn is not None and torn.is_dir():
        tear(torn)
    os.kill(os.getpid(), signal.SIGKILL)
