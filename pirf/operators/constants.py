"""Tensors that depend on sizes alone, matrices and symbols: built once, or traced where a compiler looks on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, ParamSpec, TypeVar

import torch

__all__ = ["constant"]

P = ParamSpec("P")
T = TypeVar("T")


def constant(build: Callable[P, T]) -> Callable[P, T]:
    """``build`` of hashable values, remembered.  Sizes may be symbols to a compiler, which therefore gets the formula."""
    remembered: Any = lru_cache(maxsize=64)(build)

    @wraps(build)
    def look_up(*args: P.args, **kwargs: P.kwargs) -> T:
        if torch.compiler.is_compiling():
            return build(*args, **kwargs)
        with torch.inference_mode(False):  # a remembered inference tensor would poison a later backward pass
            kept: T = remembered(*args, **kwargs)
            return kept

    return look_up
