"""Frozen values as they print themselves: ``read("LayerTruncated(LastSteps(2), stages=1)", GradientStrategy)``.

Text from a command line is data.  It is parsed, never evaluated: calls of the classes listed here, numbers, texts, tuples,
``True``, ``False``, ``None`` and ``inf`` are all that it may hold.  For every such class ``read(repr(value), kind) == value``.
"""

from __future__ import annotations

import ast
import math
import types
from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs

from pirf import backprop, denoisers, regularizers, samplers, scaling, schedules, training
from pirf.errors import InputError

__all__ = ["CLASSES", "read"]

CLASSES: Mapping[str, type[Any]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            *(samplers.Ancestral, samplers.Euler, samplers.Heun, samplers.Multistep),
            *(schedules.EDM, schedules.Levels, schedules.Linear, schedules.Logarithmic),
            *(backprop.AdjointMatching, backprop.ContinuousTime, backprop.Full, backprop.KLPolicyGradient),
            *(backprop.LastSteps, backprop.LayerTruncated, backprop.LowVariance, backprop.NoiseHypernetwork),
            *(backprop.OneStep, backprop.PolicyGradient, backprop.RandomSteps, backprop.RewardDirectedQ),
            *(backprop.StochasticControl, backprop.ValueGradient, backprop.Windows, backprop.Fitted),
            *(regularizers.Distillation, regularizers.Together, regularizers.WeightAnchor),
            *(training.Constant, training.Cosine),
            *(denoisers.Matern, denoisers.SquaredExponential, scaling.Scaling),
        )
    }
)
"""What may be called, by name."""

_LONGEST = 10_000


def read(text: str, kind: type[Any]) -> Any:
    """The value that a text spells, an instance of ``kind``."""
    fitting = [name for name, known in CLASSES.items() if issubclass(known, kind)]
    try:
        if len(text) > _LONGEST:
            raise ValueError(f"it has {len(text)} characters")
        node = ast.parse(text.strip(), mode="eval").body
        value = _value(node)
    except InputError:
        raise
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InputError(
            f"a {kind.__name__} as code is needed",
            got=_short(text),
            why=f"it cannot be read: {getattr(error, 'msg', error)}",
            hint=f"'{fitting[0]}()'",
        ) from error
    if not isinstance(value, kind):
        raise InputError(
            f"a {kind.__name__} is needed", got=_short(text), why="that is something else", hint=" or ".join(fitting[:6])
        )
    return value


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Name(id="inf"):
            return math.inf
        case ast.Name(id=name):
            raise InputError("an instance is needed", got=name, why="a name alone is no value", hint=f"'{_known(name)}()'")
        case ast.Call(func=ast.Name(id=name), args=positional, keywords=named):
            return _called(_known(name), positional, named)
    raise InputError(
        "a call of a class with plain values is needed",
        got=_short(ast.unparse(node)),
        why="numbers, texts, tuples, True, False, None and such calls are all that is read",
        hint="'Heun(steps=20)'",
    )


def _known(name: str) -> str:
    if name not in CLASSES:
        close = get_close_matches(name, CLASSES, cutoff=0.5) or sorted(CLASSES)
        raise InputError("the name of a class is needed", got=name, why="there is no such class here", hint=", ".join(close))
    return name


def _called(name: str, positional: list[ast.expr], named: list[ast.keyword]) -> Any:
    kind = CLASSES[name]
    fields = {field.name: field for field in attrs.fields(kind) if field.init}
    order = [field.name for field in fields.values() if not field.kw_only]
    given = dict(zip(order, map(_value, positional), strict=False))
    twice = [word.arg for word in named if word.arg in given]
    unknown = [word.arg or "**" for word in named if word.arg not in fields]
    if unknown or twice or len(positional) > len(order):
        raise InputError(
            f"{name}({', '.join(fields)}) is what can be said of it",
            got=", ".join(unknown or map(str, twice)) or f"{len(positional)} values",
            why="it has no such part" if unknown else "a part is given once",
            hint=f"'{name}({', '.join(f'{field}=…' for field in fields)})'",
        )
    given |= {str(word.arg): _value(word.value) for word in named}
    hints = get_type_hints(kind)
    for field, value in given.items():
        if fields[field].converter is None and not _fits(value, hints[field]):
            raise InputError(
                f"{name}({field}=…) takes {_spoken(hints[field])}",
                got=repr(value),
                why="that is something else",
                hint=f"leaving {field} out, or what its class says",
            )
    try:
        return kind(**given)
    except InputError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        spelled = ", ".join(f"{field}={value!r}" for field, value in given.items())
        raise InputError(
            f"values that a {name} can have are needed", got=f"{name}({spelled})", why=str(error.args[0]), hint=f"'{name}()'"
        ) from error


def _fits(value: object, hint: Any) -> bool:
    """Whether a value is of the type that a field is declared with."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        each = [arguments[0]] * len(cast("tuple[object, ...]", value)) if arguments[1:] == (...,) else list(arguments)
        return isinstance(value, tuple) and len(value) == len(each) and all(map(_fits, value, each))
    if hint in (int, float):
        return isinstance(value, int | hint) and not isinstance(value, bool)
    return isinstance(value, hint)


def _spoken(hint: Any) -> str:
    return str(getattr(hint, "__name__", hint)).replace("typing.", "") if get_origin(hint) is None else str(hint)


def _short(text: str, most: int = 80) -> str:
    return text if len(text) <= most else f"{text[:most]}…"
