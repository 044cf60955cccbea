import inspect
import math

import pytest
import torch
from tolerances import assert_close
from toys import Tiny, normal, perturb, tiny_unet

import pirf
from pirf.denoisers import (
    Bound,
    ClassifierFree,
    FieldInput,
    Handover,
    ScalarInput,
    UNet,
    conditioned,
    inputs_for,
    low_rank,
    merged,
)
from pirf.denoisers.conditions import Told
from pirf.errors import InputError

KINDS = {
    "number": {"nu": ScalarInput(0.5, 2.0)},
    "field": {"a": FieldInput(2, 0.1, 3.0)},
    "both": {"nu": ScalarInput(), "a": FieldInput(2), "k": ScalarInput()},
}
LEVELS = {"one level": 0.3, "levels": [0.3, 2.0, 11.0]}


def told(inputs, count=3, seed=0, dtype=torch.float64):
    fields = {name: (count,) if isinstance(i, ScalarInput) else (count, i.channels, 8, 8) for name, i in inputs.items()}
    return {name: normal(*shape, seed=seed + i, dtype=dtype) for i, (name, shape) in enumerate(fields.items())}


def knowing(inputs, **options):
    """A network that has learned to use all of its conditions."""
    model = conditioned(tiny_unet(), inputs, **options)
    perturb(model.told, 0.7)
    return model


@pytest.mark.parametrize("inputs", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("level", LEVELS.values(), ids=LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_has_just_been_given_conditions_ignores_them_to_the_last_bit(inputs, level, dtype):
    base, x = tiny_unet(dtype=dtype), normal(3, 2, 8, 8, dtype=dtype)
    sigma, model = torch.tensor(level, dtype=dtype), conditioned(base, inputs)
    for mode in (torch.enable_grad, torch.no_grad):
        with mode():
            for condition in (None, told(inputs), told(inputs, seed=9)):
                assert torch.equal(model(x, sigma, condition), base(x, sigma))


@pytest.mark.parametrize("inputs", KINDS.values(), ids=KINDS)
def test_it_learns_from_the_first_update_on(inputs):
    """The last layers have a gradient at once, the others as soon as these have moved: nothing is dead."""
    model, x, sigma = conditioned(tiny_unet(), inputs), normal(3, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    parameters = list(model.told.parameters())
    for turn in range(2):
        out = (model(x, sigma, told(inputs)) * normal(3, 2, 8, 8, seed=5)).sum()
        gradients = torch.autograd.grad(out, parameters)
        moving = [float(g.abs().max()) > 0 for g in gradients]
        assert sum(moving) == (len(moving) if turn else len(moving) // 2)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(0.1 * g)


@pytest.mark.parametrize("inputs", KINDS.values(), ids=KINDS)
def test_nothing_told_contributes_nothing(inputs):
    model, x, sigma = knowing(inputs), normal(3, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(model(x, sigma), tiny_unet()(x, sigma))
    for name in inputs:
        condition = told(inputs)
        other = {**condition, name: condition[name] + 1}
        assert float((model(x, sigma, condition) - model(x, sigma, other)).detach().abs().max()) > 1e-4


@pytest.mark.parametrize("inputs", KINDS.values(), ids=KINDS)
def test_every_sample_is_told_its_own(inputs):
    model, x, sigma = knowing(inputs), normal(3, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    condition = told(inputs)
    whole = model(x, sigma, condition).detach()
    for i in range(3):
        assert_close(model(x[[i]], sigma, {name: value[[i]] for name, value in condition.items()}), whole[[i]])
    assert_close(model(x, sigma.expand(3), condition), whole)


def test_conditions_are_standardised():
    x, sigma = normal(3, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    raw = {"nu": ScalarInput(4.0, 0.5), "a": FieldInput(1, -1.0, 3.0)}
    plain = {"nu": ScalarInput(), "a": FieldInput(1)}
    seen = told(plain)
    shifted = {"nu": 4.0 + 0.5 * seen["nu"], "a": -1.0 + 3.0 * seen["a"]}
    assert_close(knowing(raw)(x, sigma, shifted), knowing(plain)(x, sigma, seen).detach())


def test_inputs_are_made_for_what_is_told():
    condition = {"nu": 3.0 + 2.0 * normal(400), "a": normal(400, 2, 4, 4)}
    inputs = inputs_for(condition)
    assert inputs["nu"] == ScalarInput(float(condition["nu"].mean()), float(condition["nu"].std()))
    assert inputs["a"] == FieldInput(2, float(condition["a"].mean()), float(condition["a"].std()))
    assert inputs_for({"same": torch.ones(3)}) == {"same": ScalarInput(1.0, 1.0)}


def test_a_share_of_the_samples_is_told_nothing_while_training():
    """Number and field of a sample are dropped together; the share is binomial."""
    condition, x = told(KINDS["both"], 2000), normal(2000, 2, 8, 8)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        maps = perturb(Told(KINDS["both"], 4, 4, drop=0.3).double(), 1.0)
        row, plane = maps(condition, x)
    dropped = (row == 0).all(1)
    assert torch.equal(dropped, (plane == 0).flatten(1).all(1))
    assert abs(float(dropped.double().mean()) - 0.3) < 4.5 * math.sqrt(0.3 * 0.7 / 2000)
    row, plane = maps.eval()(condition, x)
    assert not bool((row == 0).all(1).any() or (plane == 0).flatten(1).all(1).any())


@pytest.mark.parametrize("drop", [0.0, 1.0])
def test_never_dropped_and_always_dropped(drop):
    model, condition = knowing(KINDS["both"], drop=drop), told(KINDS["both"])
    x, sigma = normal(3, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    expected = model.eval()(x, sigma, condition if drop == 0 else None)
    with torch.random.fork_rng(devices=()):
        assert_close(model.train()(x, sigma, condition), expected.detach())


def test_conditions_do_not_change_what_a_seed_makes():
    plain, other = (UNet((2, 8, 8), channels=4, seed=3, conditions=inputs) for inputs in (None, KINDS["both"]))
    weights = dict(other.named_parameters())
    assert all(torch.equal(p, weights[name]) for name, p in plain.named_parameters())
    assert plain.told is None
    assert "conditions" not in plain.config


def test_the_maps_belong_to_the_first_stage():
    model = knowing(KINDS["both"])
    owned = [id(p) for name in model.stages for p in model.stage_parameters(name)]
    assert sorted(owned) == sorted(id(p) for p in model.parameters())
    assert {id(p) for p in model.told.parameters()} <= {id(p) for p in model.stage_parameters("down0")}


@pytest.mark.parametrize("inputs", KINDS.values(), ids=KINDS)
def test_a_trunk_out_of_the_graph_remembers_what_it_was_told(inputs):
    model, x, sigma = knowing(inputs), normal(3, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    condition, frozen = told(inputs), model.frozen_trunk(2)
    known = frozen.remember(x, sigma, condition)
    assert all(len(k) == 3 for k in known)
    assert_close(frozen.recall(x, sigma, condition, known), model(x, sigma, condition).detach())
    with torch.no_grad():
        assert torch.equal(frozen(x, sigma, condition), model(x, sigma, condition))


def test_bound_tells_whoever_asks_without_a_condition():
    model, x, sigma = knowing(KINDS["both"]), normal(3, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    condition = told(KINDS["both"])
    bound = Bound(model, condition)
    assert torch.equal(bound(x, sigma), model(x, sigma, condition))
    assert torch.equal(bound(x, sigma, told(KINDS["both"], seed=7)), model(x, sigma, told(KINDS["both"], seed=7)))
    split = Bound(Handover.split(model, 0.5), condition)
    assert split.for_step(0.3).inner is split.inner.tail
    assert torch.equal(split.for_step(0.3)(x, sigma), model(x, sigma, condition))


BAD = {
    "lacks one": ({"nu": torch.zeros(2)}, "a condition with nu, a, k is needed: got one with nu"),
    "none of them": ({}, "got one with no entry"),
    "unknown": ({"re": torch.zeros(2)}, "got one with re"),
    "too many": ({"nu": torch.zeros(3)}, r"the condition 'nu' needs the shape \(2,\): got \(3,\)"),
    "a field for a number": ({"nu": torch.zeros(2, 1, 8, 8)}, r"the condition 'nu' needs the shape \(2,\)"),
    "other channels": ({"a": torch.zeros(2, 1, 8, 8)}, r"the condition 'a' needs the shape \(2, 2, 8, 8\)"),
    "other grid": ({"a": torch.zeros(2, 2, 4, 8)}, r"the condition 'a' needs the shape \(2, 2, 8, 8\)"),
    "nan": ({"nu": torch.tensor([0.0, float("nan")])}, "a finite condition 'nu' is needed: got 1 of 2 entries that are not"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_other_conditions_are_refused_in_one_line(change, message):
    partial = "needs" in message or "finite" in message
    condition = {**told(KINDS["both"], 2), **change} if partial else change
    with pytest.raises(InputError, match=message):
        knowing(KINDS["both"])(normal(2, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64), condition)


@pytest.mark.parametrize(
    "base",
    [lambda: Tiny(), lambda: low_rank(tiny_unet()), lambda: knowing(KINDS["field"])],
    ids=["no UNet", "adapters", "conditional"],
)
def test_only_unconditional_networks_are_given_conditions(base):
    with pytest.raises(InputError, match="an unconditional UNet with plain weights"):
        conditioned(base(), KINDS["number"])
    conditioned(merged(low_rank(tiny_unet())), KINDS["number"])


@pytest.mark.parametrize("drop", [-0.1, 1.5])
def test_a_drop_that_is_no_share_is_refused(drop):
    with pytest.raises(InputError, match="a share between 0 and 1"):
        conditioned(tiny_unet(), KINDS["number"], drop)


@pytest.mark.parametrize("told", [ScalarInput, 3.0])
def test_an_input_that_is_none_is_refused(told):
    """As callers without a type checker give it: a network that ignored it would be built otherwise."""
    with pytest.raises(InputError, match=r"a ScalarInput or a FieldInput for every condition is needed: got {'nu'"):
        inspect.unwrap(Told.__init__)(Told.__new__(Told), {"nu": told}, 4, 4, 0.1)


WRAPPED = {
    "itself": lambda model: model,
    "handover": lambda model: Handover.split(model, 0.5, channels=(1,), stages=1),
    "guided": lambda model: ClassifierFree(model, 0.7),
    "guided handover": lambda model: ClassifierFree(Handover.split(model, 0.5, channels=(1,), stages=1), 0.7),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_what_is_saved_is_what_is_loaded(wrap, tmp_path):
    model = perturb(UNet((2, 8, 8), channels=4, attention=(), conditions=KINDS["both"], drop=0.25))
    model = wrap(model).eval()
    back = pirf.load(pirf.save(model, tmp_path))
    x, sigma, condition = normal(3, 2, 8, 8, dtype=torch.float32), torch.tensor(0.3), told(KINDS["both"], dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(back(x, sigma, condition), model(x, sigma, condition))
    assert repr(back) == repr(model)


def test_models_without_conditions_load_as_before():
    model = pirf.load("poisson-32")
    assert model.told is None
    assert "told" not in repr(model)
