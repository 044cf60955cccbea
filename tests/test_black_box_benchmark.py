"""benchmarks/black_box.py: its intervals, its reward, and one cell of a few seconds."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

import pirf

spec = importlib.util.spec_from_file_location("black_box", Path(__file__).parents[1] / "benchmarks" / "black_box.py")
U = importlib.util.module_from_spec(spec)
spec.loader.exec_module(U)


def test_intervals_are_students():
    values = [0.1, 0.4, 0.2, 0.25, 0.3]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert U.interval(values) == f"+{np.mean(values):.3f} ± {(high - low) / 2:.3f}"


def test_the_reward_is_the_error_of_the_solved_field_in_decades():
    fields = U.PROBLEM.sample(2, seed=1).double()
    wrong = fields.clone()
    wrong[:, 1] *= 1.01
    assert torch.allclose(U.REWARD(wrong), torch.full((2,), 2.0, dtype=torch.float64), atol=1e-6)
    assert not U.REWARD.differentiable


@pytest.mark.parametrize("row", ["PolicyGradient(group=8)", "SVDD(count=4), nothing trained"])
def test_a_cell_says_what_it_cost(row, monkeypatch):
    monkeypatch.setattr(U, "SAMPLES", 8)
    found = U.cell(pirf.load("poisson-32"), U.ROWS[row], 0, 0.5)
    assert found["evaluations"] == (5 if found["updates"] else 1 + 4 * 4)
    assert "±" not in U.summary({row: {"0": found}})
    assert U.summary({row: {"0": found, "1": {**found, "gain": found["gain"] + 1}}}).count("±") == 1
