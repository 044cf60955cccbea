"""The one way to refuse bad input: what was asked, what came, why that cannot work, what to try, in one line."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

__all__ = ["InputError", "NumericalError", "instance", "numbers", "whole"]


class InputError(ValueError):
    """The caller's input cannot work.  Raised before anything has been changed; the command line exits with 2."""

    def __init__(self, what: str, *, got: object, why: str, hint: str) -> None:
        super().__init__(" ".join(f"{what}: got {got}; {why}. Try {hint}.".split()))


class NumericalError(ArithmeticError):
    """A NaN or infinity appeared.  Raised before the update that would have spread it."""


def instance(what: str, value: object, kind: type[Any] | tuple[type[Any], ...], *, hint: str) -> None:
    """Refuse what is not of this kind; the class itself in place of an instance is the usual slip."""
    if isinstance(value, kind):
        return
    got, why = f"{type(value).__name__} {_short(value)}".strip(), "it is none"
    if isinstance(value, type):
        got, why = f"the class {value.__name__}", "a class is no instance: it is called first"
    raise InputError(f"{what} is needed", got=got, why=why, hint=hint)


def numbers(hint: str, **values: object) -> None:
    """Refuse what is not a real number, by the name of its argument."""
    for name, value in values.items():
        if not isinstance(value, Real) or isinstance(value, bool):
            raise InputError(
                f"a number as {name}= is needed", got=f"{name}={value!r}", why="it is compared with numbers", hint=hint
            )


def whole(hint: str, **values: object) -> None:
    """Refuse what is not a whole number, by the name of its argument."""
    for name, value in values.items():
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise InputError(f"a whole number as {name}= is needed", got=f"{name}={value!r}", why="it counts", hint=hint)


def _short(value: object, most: int = 60) -> str:
    text = repr(value) if isinstance(value, str | int | float | list | tuple | dict) else ""
    return text if len(text) <= most else f"{text[:most]}…"
