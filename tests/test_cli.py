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
    monkeypatch.setattr(cli, "catalogue", {"plain": lambda n: attrs.evolve(poisson(n), published={})})
    with pytest.raises(InputError, match="one of the published residuals of poisson is needed: got 'pirf'"):
        cli.verify("plain", n=8, released=True)


def test_published_residuals_are_asked_for_by_the_name_of_their_method(capsys):
    with pytest.raises(typer.Exit) as stop:
        cli.verify("darcy_lognormal", n=16, published="pidm")
    assert stop.value.exit_code == 1
    assert capsys.readouterr().out.startswith("PIDMDarcy(grid=Grid.square(16)")
    with pytest.raises(InputError, match=r"published residuals of darcy is needed: got 'pidm'.* Try pirf or diffusionpde"):
        cli.verify("darcy", n=16, published="pidm")


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


FILE = """
import attrs
import pirf

@attrs.frozen
class Mine(pirf.PDEReward):
    grid: pirf.Grid

    def residual(self, x):
        return pirf.operators.laplacian(x[:, 1:], self.grid, pirf.Dirichlet(0.0)) - {factor} * x[:, :1]

def same(n):
    return Mine(pirf.Grid.square(n))

def truth(n):
    return pirf.problems.poisson(n).sample(32)

solve = pirf.problems.poisson(8).solve

def exact(n):
    return same(n), pirf.problems.poisson(8).manufactured(pirf.Grid.square(n))

problem = pirf.problems.poisson
number = 3.0

class More(Mine):
    def __init__(self, grid, other): ...
"""


@pytest.mark.parametrize(
    ("name", "factor", "code"), [("Mine", 1.0, 0), ("same", 1.0, 0), ("problem", 1.0, 0), ("Mine", 1.1, 1)]
)
def test_a_reward_in_a_file_of_ones_own_is_certified(tmp_path, capsys, name, factor, code):
    (tmp_path / "mine.py").write_text(FILE.format(factor=factor))
    with pytest.raises(typer.Exit) as stop:
        cli.verify(f"{tmp_path / 'mine.py'}:{name}", n=16)
    assert stop.value.exit_code == code
    assert ("PASS" if code == 0 else "FAIL") in capsys.readouterr().out.splitlines()[0]


def test_what_is_not_in_the_file_is_refused(tmp_path):
    (tmp_path / "mine.py").write_text(FILE.format(factor=1.0))
    with pytest.raises(InputError, match="there is no such file"):
        cli.verify("nowhere.py:Mine", n=16)
    with pytest.raises(InputError, match=r"a name in .* is needed: got 'Yours'"):
        cli.verify(f"{tmp_path / 'mine.py'}:Yours", n=16)
    with pytest.raises(InputError, match=r"More\(grid\) must be all that makes a reward: got"):
        cli.verify(f"{tmp_path / 'mine.py'}:More", n=16)
    with pytest.raises(
        InputError, match="a reward with a residual, a problem or a function of n that makes one is needed: got number = float"
    ):
        cli.verify(f"{tmp_path / 'mine.py'}:number", n=16)
