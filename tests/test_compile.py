"""``torch.compile(fullgraph=True)`` takes every reward whole and changes neither its scores nor their gradients.

Here without generating code; ``python tests/compiled.py inductor`` does that too, in about ten minutes on one slow core.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import NAMES
from compiled import BEYOND, missing
from toys import normal

from pirf.operators import elliptic, equilibrium

CHECKS = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")


def test_no_reward_of_the_package_is_left_out():
    assert not missing()


@pytest.mark.parametrize("names", [NAMES, tuple(BEYOND)], ids=["catalogue", "beyond"])
def test_one_graph_gives_the_same(names):
    run("aot_eager", *names)


def run(*arguments):
    script = Path(__file__).with_name("compiled.py")
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "Warning" not in done.stderr, done.stderr


def test_one_call_takes_grids_of_several_sizes():
    run("aot_eager", "sizes")


@pytest.mark.parametrize("walls", [True, False])
def test_the_solve_is_an_operator_that_graphs_can_hold(walls):
    """Schema, shapes without data, its derivative in a graph: torch's own checks."""
    a, f = normal(2, 1, 3, 4).exp().requires_grad_(), normal(2, 1, 3, 4, seed=1).requires_grad_()
    with torch.random.fork_rng(devices=()):
        torch.library.opcheck(elliptic._opaque, (a, f, [1.0, 2.0], walls), test_utils=CHECKS)


def test_the_elastic_solve_is_one_as_well():
    modulus, f = normal(2, 1, 3, 4).exp().requires_grad_(), normal(2, 2, 3, 4, seed=1).requires_grad_()
    with torch.random.fork_rng(devices=()):
        torch.library.opcheck(equilibrium._opaque, (modulus, f, [1.0, 2.0], 0.3), test_utils=CHECKS)
