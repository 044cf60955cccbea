"""``pirf verify``: certificates by name, of published residuals and of rewards in files; their verdicts are exit codes."""

import json

import attrs
import pytest

import pirf
from pirf.cli import choices

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


def test_verify_passes_and_prints_json(call):
    done = call("verify", "poisson", "--n", 16, "--json")
    assert done.code == 0
    assert json.loads(done.out)["verdict"] == "PASS"


def test_released_is_the_published_residual_of_pirf_and_fails(call, monkeypatch):
    done = call("verify", "helmholtz", "--n", 16, "--released")
    assert done.code == 1
    assert done.out.startswith("ReleasedHelmholtz(grid=Grid.square(16), k=1.0) on pirf.problems.helmholtz")
    assert ": FAIL" in done.out.splitlines()[0]
    monkeypatch.setattr(choices, "catalogue", {"plain": lambda n: attrs.evolve(pirf.problems.poisson(n), published={})})
    done = call("verify", "plain", "--n", 8, "--released")
    assert done.code == 2
    assert "one of the published residuals of poisson is needed: got 'pirf'" in done.err


def test_published_residuals_are_asked_for_by_the_name_of_their_method(call):
    done = call("verify", "darcy_lognormal", "--n", 16, "--published", "pidm")
    assert done.code == 1
    assert done.out.startswith("PIDMDarcy(grid=Grid.square(16)")
    done = call("verify", "darcy", "--n", 16, "--published", "pidm")
    assert done.code == 2
    assert "got 'pidm'; no other is reproduced for it. Try pirf or diffusionpde" in done.err


def test_what_is_not_checked_is_neither_a_pass_nor_a_failure(call, tmp_path):
    (tmp_path / "bare.py").write_text(FILE.format(factor=1.0).replace("def truth", "def other"))
    done = call("verify", "bare.py:Mine", "--n", 16)
    assert done.code == 3
    assert "PARTIAL" in done.out.splitlines()[0]


@pytest.mark.parametrize(
    ("name", "factor", "code"), [("Mine", 1.0, 0), ("same", 1.0, 0), ("problem", 1.0, 0), ("Mine", 1.1, 1)]
)
def test_a_reward_in_a_file_of_ones_own_is_certified(call, tmp_path, name, factor, code):
    (tmp_path / "mine.py").write_text(FILE.format(factor=factor))
    done = call("verify", f"mine.py:{name}", "--n", 16)
    assert done.code == code
    assert ("PASS" if code == 0 else "FAIL") in done.out.splitlines()[0]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere.py:Mine", "there is no such file"),
        ("mine.py:Yours", "a name in mine.py is needed: got 'Yours'"),
        ("mine.py:More", "More(grid) must be all that makes a reward: got"),
        (
            "mine.py:number",
            "a reward with a residual, a problem or a function of n that makes one is needed: got number = float",
        ),
    ],
)
def test_what_is_not_in_the_file_is_refused(call, tmp_path, place, says):
    (tmp_path / "mine.py").write_text(FILE.format(factor=1.0))
    done = call("verify", place, "--n", 16)
    assert done.code == 2
    assert says in done.err
