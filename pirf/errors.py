"""The one way to refuse bad input: what was asked, what came, why that cannot work, what to try, in one line."""

from __future__ import annotations

__all__ = ["InputError", "NumericalError"]


class InputError(ValueError):
    """The caller's input cannot work.  Raised before anything has been changed; the command line exits with 2."""

    def __init__(self, what: str, *, got: object, why: str, hint: str) -> None:
        super().__init__(" ".join(f"{what}: got {got}; {why}. Try {hint}.".split()))


class NumericalError(ArithmeticError):
    """A NaN or infinity appeared.  Raised before the update that would have spread it."""
