"""What a frozen value prints is what the command line reads, and nothing else is."""

import inspect
import math
import struct
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pirf
from pirf import backprop, denoisers, regularizers, samplers, schedules, training
from pirf.cli.spelling import CLASSES, read
from pirf.errors import InputError
from pirf.scaling import Colour

KINDS = (pirf.Sampler, pirf.Schedule, pirf.GradientStrategy, pirf.Value, pirf.Regularizer, pirf.Rate, Colour)
NOT_SPOKEN = {"Known"}  # it holds a function
EXAMPLES = {
    "Levels": [schedules.Levels((10.0, 0.5, 0.0))],
    "LayerTruncated": [pirf.LayerTruncated(pirf.Full(2), 2, "preconditioner"), pirf.LayerTruncated(pirf.LastSteps(2))],
    "Together": [pirf.Together((pirf.WeightAnchor(1e-3, "squared"), pirf.Distillation(0.1))), pirf.Together(())],
    "Heun": [pirf.Heun(steps=3, schedule=schedules.Levels((4.0, 2.0, 1.0, 0.0)))],
    "PolicyGradient": [pirf.PolicyGradient(clip=math.inf, dimensions="mean", window=(1, 4))],
    "Windows": [pirf.Windows(2, inner=pirf.PolicyGradient(window=(0, 3)))],
    "ContinuousTime": [pirf.ContinuousTime(value=pirf.Fitted(width=8, lr=3e-5), form="gradient")],
    "Scaling": [pirf.Scaling((0.0, -1e-9), (0.5, 2e20), pirf.Matern((0.1, 0.3), periodic=(True, False)))],
    "Matern": [pirf.Matern((0.1, 0.3), smoothness=2.5, periodic=(True, False), floor=1e-4)],
}


def values(kind):
    """The default, given examples, and every number of the class at another value that it may have."""
    known = list(EXAMPLES.get(kind.__name__, []))
    if all(field.default is not attrs.NOTHING for field in attrs.fields(kind) if field.init):
        known.append(kind())
    for value in known[:]:
        for field in attrs.fields(kind):
            old = getattr(value, field.name)
            if type(old) in (int, float) and math.isfinite(old) and field.init:
                for new in (old + 1, old * 0.75 if type(old) is float else old + 2):
                    try:
                        known.append(attrs.evolve(value, **{field.name: new}))
                    except ValueError:  # a share, say, of which there is no 1 + x
                        continue
            if type(old) is bool:
                known.append(attrs.evolve(value, **{field.name: not old}))
    return known


@pytest.mark.parametrize("name", CLASSES)
def test_what_is_printed_is_read(name):
    kind = CLASSES[name]
    found = values(kind)
    assert len(found) > 1 or not [f for f in attrs.fields(kind) if type(f.default) in (int, float)]
    for value in found:
        assert type(value) is kind
        assert read(repr(value), kind) == value


def test_every_frozen_choice_of_the_package_is_known():
    public = {
        name: kind
        for room in (backprop, denoisers, regularizers, samplers, schedules, training)
        for name, kind in vars(room).items()
        if inspect.isclass(kind) and issubclass(kind, KINDS) and attrs.has(kind) and not inspect.isabstract(kind)
    }
    final = {name: kind for name, kind in public.items() if getattr(kind, "__final__", False)}
    assert final.keys() - NOT_SPOKEN <= CLASSES.keys()
    assert len(final) > 25


@given(st.floats(min_value=0, allow_nan=False))
def test_floats_arrive_with_every_bit(value):
    read_back = read(f"WeightAnchor({value!r})", pirf.Regularizer).strength
    assert struct.pack("d", read_back) == struct.pack("d", value)


def test_spaces_do_not_matter():
    assert read("  Heun ( steps = 7 ) ", pirf.Sampler) == pirf.Heun(7)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("Huen(steps=3)", pirf.Sampler, r"got Huen; there is no such class here. Try Heun"),
        ("Heun", pirf.Sampler, r"got Heun; a name alone is no value. Try 'Heun\(\)'"),
        ("LastSteps(2)", pirf.Sampler, r"a Sampler is needed: got LastSteps\(2\).* Try Ancestral or Euler or Heun"),
        ("Heun(stepps=3)", pirf.Sampler, r"got stepps; it has no such part"),
        ("Heun(3, steps=4)", pirf.Sampler, r"got steps; a part is given once"),
        ("Heun(1, 2, 3)", pirf.Sampler, r"got 3 values; a part is given once"),
        ("Heun(steps=2.5)", pirf.Sampler, r"Heun\(steps=…\) takes int: got 2.5"),
        ("Heun(steps=True)", pirf.Sampler, r"takes int: got True"),
        ("Heun(steps=-1)", pirf.Sampler, r"at least one step: got steps=-1"),
        ("Heun(schedule=3)", pirf.Sampler, r"takes Schedule: got 3"),
        ("Heun(**{'steps': 3})", pirf.Sampler, r"got \*\*; it has no such part"),
        ("Ancestral(eta=2.0)", pirf.Sampler, r"values that a Ancestral can have .* must be <= 1"),
        ("LayerTruncated(3)", pirf.GradientStrategy, r"takes GradientStrategy: got 3"),
        ("LayerTruncated(Heun())", pirf.GradientStrategy, r"takes GradientStrategy: got Heun"),
        ("Together((3,))", pirf.Regularizer, r"takes tuple"),
        ("LayerTruncated()", pirf.GradientStrategy, r"missing 1 required"),
        ("RandomSteps('gamma')", pirf.GradientStrategy, r"got 'gamma'"),
        ("Heun(steps=", pirf.Sampler, r"cannot be read: '\(' was never closed"),
        ("", pirf.Sampler, r"cannot be read"),
        ("Heun(steps=\0)", pirf.Sampler, r"cannot be read"),
        ("(" * 500 + ")" * 500, pirf.Sampler, r"cannot be read"),
        ("Heun(" + "1" * 20_000 + ")", pirf.Sampler, r"it has 20006 characters"),
        ("Scaling((), (0.0,))", pirf.Scaling, r"one shift and one positive scale per channel"),
        ("Scaling(3, 4)", pirf.Scaling, r"values that a Scaling can have"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, kind, says):
    with pytest.raises(InputError, match=says) as refusal:
        read(text, kind)
    assert len(str(refusal.value).splitlines()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch hacked')",
        "open('hacked', 'w')",
        "Heun(steps=len('abc'))",
        "Heun(steps=1 + 1)",
        "Heun(steps=2 ** 9 ** 9)",
        "Heun.__init__(3)",
        "(lambda: Heun())()",
        "[Heun() for _ in (1,)][0]",
        "Heun(steps=(x := 3))",
        "Heun() if True else Euler()",
        "f'{Heun()}'",
        "Heun(*(3,))",
        "{'a': Heun()}",
        "Heun(steps=b'3')",
        "Heun(steps=3j)",
        "Heun(steps=...)",
        "-Heun()",
    ],
)
def test_nothing_is_evaluated(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        read(text, pirf.Sampler)
    assert not list(Path().iterdir())
