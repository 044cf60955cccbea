r"""Scores without a gradient: :math:`r(x) = f(x)` with any function f of physical fields, a compiled solver or a count.

The function sees copies and is asked for values only.  Strategies and guidance that would differentiate it refuse it; those
that only score take it as they take any reward.

*Identity.*  ``repr`` names the function by module and name, or by its own repr where it is a frozen value with a
``__call__``: it is the same in every process and is what a checkpoint remembers of it.  A lambda or a function made inside
another has no such name and is refused: its parameters belong into the fields of a frozen class.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, final

import attrs
import numpy as np
import torch
from torch import Tensor

from pirf.errors import InputError, NumericalError
from pirf.rewards.base import Reward
from pirf.tensors import Condition, Field, Score

__all__ = ["BlackBox"]


def _code(function: Any) -> str:
    name = None if inspect.ismethod(function) else getattr(function, "__qualname__", None)
    return repr(function) if name is None else f"{function.__module__}.{name}"


@final
@attrs.frozen
class BlackBox(Reward):
    """``function`` maps a batch of fields to one score per sample: a tensor, an array or a list of numbers.

    With ``samplewise`` it is called sample by sample, on NumPy arrays ``(channel, *grid)``, and returns one number.
    The condition of a conditional model does not enter.
    """

    function: Callable[[Any], Any] = attrs.field(repr=_code)
    samplewise: bool = False

    @function.validator
    def _nameable(self, _: object, function: object) -> None:
        if not callable(function) or "<" in _code(function):
            raise InputError(
                "a function with a name of its own is needed",
                got=_code(function),
                why="the name is how a checkpoint knows the reward again",
                hint="a def at the top of a module, or an attrs.frozen class with __call__ that holds the parameters",
            )

    @property
    def differentiable(self) -> bool:
        """No: there are scores only."""
        return False

    def __call__(self, x: Field, condition: Condition | None = None) -> Score:
        """The function's scores, in the dtype of the fields and on their device."""
        fields = x.detach().clone()  # a copy: what the function does to its argument stays there
        with torch.no_grad():
            found = [self.function(one) for one in fields.cpu().numpy()] if self.samplewise else self.function(fields)
        scores = self._numbers(found, len(x)).to(x)
        bad = (~torch.isfinite(scores)).nonzero().flatten().tolist()
        if bad:
            raise NumericalError(
                f"{self!r} gave {float(scores[bad[0]])} for sample(s) {bad} of {len(x)}; nothing was changed."
                " Try a finite score for what it cannot judge."
            )
        return scores

    def _numbers(self, found: Any, count: int) -> Tensor:
        try:
            scores = found.detach() if isinstance(found, Tensor) else np.asarray(found)
        except (TypeError, ValueError):  # a ragged list
            scores = np.empty(0, object)
        real = not scores.is_complex() if isinstance(scores, Tensor) else scores.dtype.kind in "fiub"
        if not real or tuple(scores.shape) != (count,):
            raise InputError(
                f"{self!r} must return one real number per sample, shape ({count},)",
                got=f"{type(found).__name__} of {scores.dtype} and shape {tuple(scores.shape)}",
                why="a score ranks samples",
                hint="samplewise=True for a function of one sample",
            )
        return scores if isinstance(scores, Tensor) else torch.from_numpy(scores.astype(np.float64))
