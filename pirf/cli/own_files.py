"""Names in a file of the user's, ``file.py:name``."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.rewards import Reward

__all__ = ["made_for", "named_in"]


def named_in(place: str) -> tuple[Any, dict[str, Any]]:
    """What ``file.py:name`` names, and all else in the file, which is run."""
    path, _, name = place.rpartition(":")
    if not Path(path).is_file():
        raise InputError(
            "file.py:name is needed", got=place, why="there is no such file", hint="its path from here, ./rewards.py:Mine"
        )
    try:
        module = runpy.run_path(path)
    except Exception as error:
        raise InputError(
            f"a file that runs is needed at {path}",
            got=f"{type(error).__name__}: {error}",
            why="the name is looked up after running it",
            hint=f"python {path}",
        ) from error
    if name not in module:
        raise InputError(f"a name in {path} is needed", got=repr(name), why="the file has none", hint="file.py:name")
    return module[name], module


def made_for(name: str, subject: Any, n: int) -> Any:
    """A class, called with a grid, or a function of n, called; anything else as it is."""
    if isinstance(subject, type):
        try:
            return subject(Grid.square(n))
        except TypeError as error:
            raise InputError(
                f"{name}(grid) must be all that makes a reward",
                got=str(error),
                why="the grid is all that is known",
                hint="a function of n",
            ) from error
    return subject(n) if callable(subject) and not isinstance(subject, Reward) else subject
