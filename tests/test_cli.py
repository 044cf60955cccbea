"""Verbs are thin: exit codes, one line for bad input, no traceback."""

import json
import subprocess
import sys

import attrs
import pytest
import typer

from pirf import cli
from pirf.errors import InputError
from pirf.problems import poisson


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "pirf", *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_verify_passes_and_prints_json():
    done = run("verify", "poisson", "--n", "16", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "PASS"


def test_verify_of_the_released_residual_exits_with_1():
    done = run("verify", "poisson", "--n", "16", "--released")
    assert done.returncode == 1
    assert ": FAIL" in done.stdout.splitlines()[0]


def test_released_is_the_residual_that_the_problem_names(capsys, monkeypatch):
    with pytest.raises(typer.Exit) as stop:
        cli.verify("helmholtz", n=16, released=True)
    assert stop.value.exit_code == 1
    assert capsys.readouterr().out.startswith("ReleasedHelmholtz(grid=Grid.square(16), k=1.0) on pirf.problems.helmholtz")
    monkeypatch.setattr(cli, "catalogue", {"plain": lambda n: attrs.evolve(poisson(n), released=None)})
    with pytest.raises(InputError, match="a problem with a published residual is needed: got"):
        cli.verify("plain", n=8, released=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", "poison"),
        ("verify", "poisson", "--n", "2"),
        ("compare", "poisson", "--model", "no-such-model"),
        ("pretrain", "poisson", "--n", "48", "--out", "x"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "got" in done.stderr
    assert "Traceback" not in done.stderr


def test_unknown_options_exit_with_2():
    assert run("verify", "poisson", "--sise", "3").returncode == 2
