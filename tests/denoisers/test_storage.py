"""What is saved is what is loaded, and nothing else is."""

import json
import time

import pytest
import torch

import pirf
from pirf.noise import Noise


@pytest.fixture
def network():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(3)
        return pirf.UNet((2, 8, 8), pirf.Scaling((0.1, 0.0), (2.0, 0.5)), channels=8, multipliers=(1, 2), attention=(4,))


def same(a, b, level):
    x = Noise(0)[range(2)].normal(a.shape)
    with torch.no_grad():
        return torch.equal(a(x, torch.tensor(level)), b(x, torch.tensor(level)))


def test_round_trip_is_bit_equal(network, tmp_path):
    network.card, network.history = {"problem": "toy"}, [{"step": 1.0, "loss": 0.5}]
    back = pirf.load(pirf.save(network, tmp_path / "model"))
    assert same(network.eval(), back, 0.3)
    assert (back.scaling, back.shape, back.card, back.history) == (
        network.scaling,
        network.shape,
        network.card,
        network.history,
    )


def test_handovers_keep_both_networks_and_their_levels(network, tmp_path):
    split = pirf.Handover.split(network, below=0.5, channels=(1,), reads=(0,), floor=2.0)
    with torch.no_grad():
        for p in split.tuned.parameters():
            p.mul_(1.1)
    split.levels = (0.3, 0.1)
    back = pirf.load(pirf.save(split, tmp_path / "model"))
    assert isinstance(back, pirf.Handover)
    assert (back.below, back.channels, back.levels) == (0.5, (1,), (0.3, 0.1))
    assert (back.reads, back.floor) == ((0,), 2.0)
    assert same(split.eval(), back, 0.3)
    assert same(split, back, 2.0)


def test_a_shared_trunk_is_written_once_and_shared_again(network, tmp_path):
    split = pirf.Handover.split(network, below=0.5, channels=(1,), stages=1)
    with torch.no_grad():
        for p in split.tunable():
            p.mul_(1.1)
    back = pirf.load(pirf.save(split, tmp_path / "model"))
    assert same(split.eval(), back, 0.3)
    assert len(list(back.parameters())) == len(list(network.parameters())) + len(back.tunable())
    one, own = (sum(p.numel() for p in ps) for ps in (network.parameters(), split.tunable()))
    assert (tmp_path / "model" / "weights.safetensors").stat().st_size < 4 * (one + own) + 20_000


def test_long_histories_are_thinned_to_their_end(network, tmp_path):
    network.history = [{"step": float(i)} for i in range(1000)]
    kept = pirf.load(pirf.save(network, tmp_path / "model")).history
    assert len(kept) == 200
    assert kept[-1] == {"step": 999}


@pytest.mark.parametrize(
    "damage", ["missing", "no weights", "truncated", "not json", "other format", "no facts", "no history", "other shape"]
)
def test_damaged_folders_are_refused_in_one_line(network, tmp_path, damage):
    folder = pirf.save(network, tmp_path / "model")
    weights, card = folder / "weights.safetensors", folder / "card.json"
    if damage == "missing":
        folder = tmp_path / "nowhere"
    elif damage == "no weights":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "not json":
        card.write_text("{")
    elif damage == "other format":
        card.write_text(json.dumps({**json.loads(card.read_text()), "format": "else"}))
    elif damage in ("no facts", "no history"):
        card.write_text(json.dumps({**json.loads(card.read_text()), damage.removeprefix("no "): 3}))
    else:
        content = json.loads(card.read_text())
        content["architecture"]["config"]["channels"] = 16
        card.write_text(json.dumps(content))
    with pytest.raises(pirf.InputError, match="got") as refused:
        pirf.load(folder)
    assert "\n" not in str(refused.value)


def test_models_that_no_card_describes_are_refused(tmp_path):
    with pytest.raises(pirf.InputError, match="GaussianDenoiser"):
        pirf.save(pirf.GaussianDenoiser((1, 4, 4)), tmp_path)


def test_what_is_no_model_folder_is_named_as_it_was_asked_for(tmp_path):
    (file := tmp_path / "fields.npy").touch()
    for name, why in (("runs/none", "no such folder, and no model of this name"), (file, "that is a file")):
        with pytest.raises(pirf.InputError, match=why) as refusal:
            pirf.load(name)
        assert "Errno" not in str(refusal.value)


def test_a_card_cannot_ask_for_more_than_its_weights_fill(network, tmp_path):
    pirf.save(network, tmp_path)
    card = json.loads((tmp_path / "card.json").read_text())
    card["architecture"]["config"]["channels"] = 8192  # tens of gigabytes
    (tmp_path / "card.json").write_text(json.dumps(card))
    began = time.perf_counter()
    with pytest.raises(pirf.InputError, match=r"the card describes networks of \d+ weights, and \d+ are there"):
        pirf.load(tmp_path)
    assert time.perf_counter() - began < 5
