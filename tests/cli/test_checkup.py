"""``pirf doctor``: every line is a measurement, and one that fails is an exit code."""

import json

import pytest
import torch

from pirf.backprop import Full
from pirf.cli import checkup, self_tests


@pytest.fixture(autouse=True)
def one_model(monkeypatch):
    monkeypatch.setattr(checkup.storage, "shipped", lambda: ("poisson-32",))


def findings(done):
    return {finding["name"]: finding for finding in json.loads(done.out)["findings"]}


def test_a_sound_installation_passes(call):
    done = call("doctor", "--json")
    assert done.code == 0, done.out
    found = findings(done)
    assert {"python", "torch", "typer", "GPU", "processes", "model poisson-32", "an update on the oracle"} <= found.keys()
    assert all(finding["verdict"] != "FAIL" for finding in found.values())
    assert torch.__version__ in found["torch"]["found"]
    lines = call("doctor").out.splitlines()
    assert lines[-1] in ("OK", "WARN")
    assert len(lines) == len(found) + 1


def test_a_dependency_out_of_bounds_fails(call, monkeypatch):
    asked = ["torch>=99", "nothing-such>=1", "mypy; extra == 'test'"]
    monkeypatch.setattr(checkup.importlib.metadata, "requires", lambda _: asked)
    done = call("doctor", "--json")
    assert done.code == 1
    found = findings(done)
    assert found["torch"]["verdict"] == "FAIL"
    assert found["nothing-such"]["found"] == "missing, >=1 is needed"
    assert "mypy" not in found


def test_a_wrong_gradient_is_found(monkeypatch):
    right = Full.loss

    def wrong(self, *arguments):
        outcome = right(self, *arguments)
        outcome.value.register_hook(lambda gradient: 1.01 * gradient)
        return outcome

    assert self_tests.update()[0] == "OK"
    monkeypatch.setattr(Full, "loss", wrong)
    assert self_tests.update()[0] == "FAIL"


def test_a_model_that_has_forgotten_is_found(monkeypatch):
    right = checkup.storage.load

    def worn(name):
        model = right(name)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.1
        return model

    monkeypatch.setattr(checkup.storage, "load", worn)
    finding = checkup._guarded("model", lambda: self_tests.model_figure("poisson-32"))
    assert finding.verdict == "FAIL"


def test_what_raises_is_a_line_like_the_others():
    def broken():
        raise OSError("no\nroom")

    assert checkup._guarded("disk", broken) == checkup.Finding("disk", "FAIL", "OSError: no room")
