"""What a card says and what is wanted: equal facts pass, every single difference is named, silence is no difference."""

import copy
import json

import attrs
import pytest
import torch
from toys import Tiny

import pirf
from pirf.denoisers.cards import Described, compare, fields_of, fit
from pirf.errors import InputError
from pirf.noise import Noise

AXIS = {"n": 8, "extent": 1.0, "layout": "cells"}
FACTS = {
    "problem": "darcy",
    "channels": ["a", "p"],
    "axes": [AXIS, AXIS],
    "constants": {"boundary": "Dirichlet(value=0.0)", "rate": 1.0},
    "units": {"shift": [7.5, 0.0], "scale": [9.0, 0.01]},
}


@attrs.frozen
class Told:
    """A problem as a card sees it."""

    facts: dict


def carded(fields=FACTS, model=None):
    model = model or Tiny((2, 8, 8), width=2)
    model.card = {} if fields is None else {"fields": fields}
    return model


def changed(**changes):
    return {**copy.deepcopy(FACTS), **changes}


DIFFERENT = {
    "another law": (changed(problem="darcy_lognormal"), "the law of darcy for that of darcy_lognormal"),
    "another order": (changed(channels=["p", "a"]), 'channels ["a", "p"] for ["p", "a"]'),
    "a finer grid": (
        changed(axes=[{**AXIS, "n": 16}] * 2),
        "axes 8 cells on 1 × 8 cells on 1 for 16 cells on 1 × 16 cells on 1",
    ),
    "a larger domain": (changed(axes=[AXIS, {**AXIS, "extent": 2.0}]), "for 8 cells on 1 × 8 cells on 2"),
    "another layout": (changed(axes=[AXIS, {**AXIS, "layout": "periodic"}]), "for 8 cells on 1 × 8 periodic on 1"),
    "another boundary": (
        changed(constants={**FACTS["constants"], "boundary": "Neumann(flux=0.0)"}),
        'boundary "Dirichlet(value=0.0)" for "Neumann(flux=0.0)"',
    ),
    "another constant": (changed(constants={**FACTS["constants"], "rate": 2.0}), "rate 1.0 for 2.0"),
    "another scale": (changed(units={"shift": [7.5, 0.0], "scale": [9.0, 0.02]}), "units"),
    "another shift": (changed(units={"shift": [7.5, 0.005], "scale": [9.0, 0.01]}), "units"),
    "fewer units": (changed(units={"shift": [7.5], "scale": [9.0]}), "units"),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_every_difference_is_refused_in_one_line_that_names_it(name):
    wanted, message = DIFFERENT[name]
    with pytest.raises(InputError, match=f"a model of {wanted['problem']} is needed: got a model of darcy with ") as refusal:
        fit(carded(), wanted)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert len(list(compare(FACTS, wanted))) == 1  # and it alone
    model = carded()
    del model.card["fields"]
    fit(model, wanted)  # as the message says


def test_differences_are_named_together():
    wanted = changed(channels=["K", "p"], constants={"boundary": "Neumann(flux=0.0)", "rate": 2.0})
    assert len(list(compare(FACTS, wanted))) == 3


@pytest.mark.parametrize("left_out", [*FACTS, *[(n, m) for n in FACTS for m in FACTS if n < m]], ids=str)
def test_what_either_side_leaves_out_is_not_compared(left_out):
    names = {left_out} if isinstance(left_out, str) else set(left_out)
    partial = {k: v for k, v in FACTS.items() if k not in names}
    assert not list(compare(partial, FACTS))
    assert not list(compare(FACTS, partial))
    fit(carded(None), FACTS)


def test_estimates_of_the_units_may_differ_a_little():
    close = changed(units={"shift": [7.9, 0.0004], "scale": [9.4, 0.0103]})
    fit(carded(), close)


def test_names_given_to_a_converted_checkpoint_are_free_and_their_order_is_not():
    wanted = {k: v for k, v in FACTS.items() if k == "channels"} | {"problem": "darcy"}
    fit(carded({"channels": ["K", "u"]}), wanted)
    with pytest.raises(InputError, match=r'got a model with channels \["p", "a"\] for \["a", "p"\];'):
        fit(carded({"channels": ["p", "a"]}), wanted)


def test_cards_are_found_through_whatever_stands_around_a_model():
    base, other = carded(), carded(changed(problem="heat"))
    wrapped = pirf.NoiseMap(pirf.Coloured(base, pirf.Matern(0.2)), 2)
    assert fields_of(wrapped) == [FACTS]
    mixed = pirf.Handover(base, other, below=0.5)
    with pytest.raises(InputError, match="got a model of heat"):
        fit(mixed, FACTS)
    fit(pirf.Handover(base, carded(), below=0.5), FACTS)


@pytest.mark.parametrize("damage", [7, [], None, "darcy"])
def test_an_entry_that_is_no_entry_says_nothing(damage):
    model = carded()
    model.card = {"fields": damage}
    fit(model, FACTS)


@pytest.mark.parametrize(
    "damage",
    [{"axes": 3}, {"axes": [{"n": 8}]}, {"units": None}, {"units": {"shift": 1}}, {"channels": {"a": 1}, "problem": "darcy"}],
    ids=str,
)
def test_damaged_entries_are_differences(damage):
    with pytest.raises(InputError, match="got a model") as refusal:
        fit(carded(damage), FACTS)
    assert "\n" not in str(refusal.value)


def test_loading_checks_the_card_against_the_problem(tmp_path):
    network = carded(model=pirf.UNet((2, 8, 8), channels=4))
    folder = pirf.save(network, tmp_path / "model")
    assert json.loads((folder / "card.json").read_text())["facts"]["fields"] == FACTS
    assert isinstance(Told(FACTS), Described)
    loaded = pirf.load(folder, Told(FACTS))
    assert loaded.card["fields"] == FACTS
    with pytest.raises(InputError, match=r"rate 1\.0 for 2\.0"):
        pirf.load(folder, Told(DIFFERENT["another constant"][0]))
    network.card = {}
    pirf.load(pirf.save(network, tmp_path / "silent"), Told(FACTS))


def test_a_wrappers_folder_keeps_what_the_network_inside_knows(tmp_path):
    inner = carded(model=pirf.UNet((2, 8, 8), channels=4))
    whole = pirf.Coloured(inner, pirf.Matern(0.2))
    whole.card = {"note": "mine"}
    loaded = pirf.load(pirf.save(whole, tmp_path / "model"))
    assert loaded.card == {"note": "mine", "fields": FACTS}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_precision_of_the_weights_is_kept(dtype, tmp_path):
    model = pirf.UNet((2, 8, 8), channels=4).to(dtype).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1e-3 * Noise(0).fold("weights").normal(p.shape, dtype)[0])
    back = pirf.load(pirf.save(model, tmp_path / "model"), device="cpu")
    assert {p.dtype for p in back.parameters()} == {dtype}
    x, sigma = Noise(0)[range(2)].normal(model.shape, dtype), torch.tensor(0.3, dtype=dtype)
    with torch.no_grad():
        assert torch.equal(back(x, sigma), model(x, sigma))
