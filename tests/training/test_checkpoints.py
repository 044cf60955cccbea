import json
import logging

import pytest
import torch
from toys import Tiny, normal, perturb, tiny_unet

from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.training import checkpoints


def trained(steps=3):
    """Weights, average and Adam state after some updates."""
    network = Tiny()
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=0.1)
    for step in range(steps):
        for i, p in enumerate(parameters):
            p.grad = normal(*p.shape, seed=100 * step + i)
        optimizer.step()
    return parameters, [p.detach() + 1 for p in parameters], optimizer


def write(out, *steps, identity="me"):
    for step in steps:
        checkpoints.save(out, identity, step, 1.5, *trained(step), [{"step": step, "loss": 0.25}])


def test_what_is_written_comes_back_bit_for_bit(tmp_path):
    parameters, average, optimizer = trained()
    checkpoints.save(tmp_path, "me", 3, 1.5, parameters, average, optimizer, [{"step": 3, "loss": 0.1}])
    fresh = list(perturb(Tiny()).parameters())
    mean = [torch.zeros_like(p) for p in fresh]
    other = torch.optim.Adam(fresh, lr=0.1)
    step, seconds, history = checkpoints.latest(tmp_path, "me").restore(fresh, mean, other)
    assert (step, seconds, history) == (3, 1.5, [{"step": 3, "loss": 0.1}])
    for a, b in zip((*parameters, *average), (*fresh, *mean), strict=True):
        assert torch.equal(a.detach(), b.detach())
    for a, b in zip(optimizer.state_dict()["state"].values(), other.state_dict()["state"].values(), strict=True):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) for k in a)


class Counting(torch.optim.Optimizer):
    """Descent that slows down: it counts in plain numbers, per tensor and per group."""

    def __init__(self, parameters, lr):
        super().__init__(parameters, {"lr": lr, "calls": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["calls"] += 1
            for p in group["params"]:
                state = self.state[p]
                state["speed"] = 0.5 * state.get("speed", 1.0)
                state["unused"] = None
                p.sub_(p.grad, alpha=group["lr"] * state["speed"] / group["calls"])


def test_numbers_of_an_optimizer_come_back_as_numbers(tmp_path):
    def descended(steps, resumed=None):
        parameters = list(Tiny().parameters())
        average, optimizer = [p.detach().clone() for p in parameters], Counting(parameters, 0.1)
        start = 0 if resumed is None else resumed.restore(parameters, average, optimizer)[0]
        for step in range(start, steps):
            for i, p in enumerate(parameters):
                p.grad = normal(*p.shape, seed=100 * step + i)
            optimizer.step()
        return parameters, average, optimizer

    checkpoints.save(tmp_path, "me", 3, 1.5, *descended(3), [])
    whole, resumed = descended(5), descended(5, checkpoints.latest(tmp_path, "me"))
    assert all(torch.equal(a, b) for a, b in zip(whole[0], resumed[0], strict=True))
    assert whole[2].state_dict() == resumed[2].state_dict()


def test_an_optimizer_with_another_kind_of_state_is_refused(tmp_path):
    parameters, average, optimizer = trained()
    optimizer.state[parameters[0]]["queue"] = [1.0]
    with pytest.raises(InputError, match="an optimizer whose state is tensors and numbers is needed: got queue"):
        checkpoints.save(tmp_path, "me", 3, 1.5, parameters, average, optimizer, [])


def test_the_last_two_are_kept(tmp_path):
    write(tmp_path, 1, 2, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000000002", "step-000000003"]
    assert checkpoints.latest(tmp_path, "me").state["step"] == 3


def truncate(folder):
    path = folder / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


def flip(folder):
    path = folder / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def edit(folder):
    path = folder / "state.json"
    path.write_text(path.read_text().replace('"step": 2', '"step": 9'))


@pytest.mark.parametrize("damage", [
    truncate, flip, edit,
    lambda folder: (folder / "manifest.json").unlink(),
    lambda folder: (folder / "manifest.json").write_text("{"),
    lambda folder: (folder / "manifest.json").write_text("{}"),
    lambda folder: (folder / "state.json").unlink(),
    lambda folder: (folder / "tensors.safetensors").unlink(),
])  # fmt: skip
def test_a_damaged_one_is_named_and_the_one_before_is_used(tmp_path, caplog, damage):
    write(tmp_path, 1, 2)
    damage(tmp_path / "step-000000002")
    with caplog.at_level(logging.WARNING):
        assert checkpoints.latest(tmp_path, "me").state["step"] == 1
    assert "step-000000002 is unreadable" in caplog.text
    truncate(tmp_path / "step-000000001")
    assert checkpoints.latest(tmp_path, "me") is None


def test_another_run_is_refused(tmp_path):
    write(tmp_path, 1)
    with pytest.raises(InputError, match="holds a checkpoint of another run: got you… against me…"):
        checkpoints.latest(tmp_path, "you")


def test_the_refusal_shows_where_two_runs_part(tmp_path):
    first, second = (f"({', '.join(['Heun(steps=20)'] * 30)}, Budget(steps={n}, seconds=None), 'ab')" for n in (5, 8))
    write(tmp_path, 1, identity=first)
    with pytest.raises(InputError) as refusal:
        checkpoints.latest(tmp_path, second)
    assert "got … Budget(steps=8, seconds=None), 'ab')… against … Budget(steps=5, seconds=None), 'ab')…;" in str(refusal.value)


@pytest.mark.parametrize("survived", range(5))
def test_a_save_that_dies_leaves_what_was_there(tmp_path, monkeypatch, survived):
    """Killed at any fsync of the second save, the first checkpoint, or already the second, is whole."""
    write(tmp_path, 1)
    calls = []

    def fragile(path):
        calls.append(path)
        if len(calls) > survived:
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "_sync", fragile)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 2)
    assert checkpoints.latest(tmp_path, "me").state["step"] == (1 if survived < 4 else 2)
    monkeypatch.undo()
    write(tmp_path, 3)
    assert checkpoints.latest(tmp_path, "me").state["step"] == 3
    assert not list(tmp_path.glob(".partial*"))


def test_there_may_be_none(tmp_path):
    assert checkpoints.latest(tmp_path, "me") is None
    assert checkpoints.latest(tmp_path / "nowhere", "me") is None


def test_no_pickle_is_written(tmp_path):
    write(tmp_path, 1)
    (folder,) = tmp_path.iterdir()
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]
    assert json.loads((folder / "state.json").read_text())["step"] == 1


def test_a_fingerprint_is_of_the_weights_and_of_the_configuration():
    assert checkpoints.fingerprint(Tiny()) == checkpoints.fingerprint(Tiny())
    different = [Tiny(), perturb(Tiny(), 1e-12), Tiny(width=4), Handover.split(Tiny(), 1.0), Handover.split(Tiny(), 2.0),
                 Handover.split(Tiny(), 1.0, (1,)), GaussianDenoiser((2, 3)), tiny_unet(), tiny_unet(sigma_data=0.7),
                 Tiny(scaling=Scaling((0.1, 0.2), (1.0, 2.0)))]  # fmt: skip
    assert len({checkpoints.fingerprint(d) for d in different}) == len(different)
