"""The command line inside this process: ``call("verify", "poisson")`` gives its exit code and what it printed."""

from typing import NamedTuple

import pytest

import pirf
from pirf.cli import main


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def call(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Outcome(stop.value.code, printed.out, printed.err)

    return run


@pytest.fixture(scope="session")
def problem():
    return pirf.problems.poisson(8)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, problem):
    """The folder of a model of Poisson on 8² points that has learned nothing."""
    model = pirf.UNet(problem.shape, problem.scaling, channels=4, multipliers=(1, 1), attention=())
    model.card = {"fields": dict(problem.facts)}
    return pirf.save(model, tmp_path_factory.mktemp("models") / "tiny")
