"""Cells are measured once, by what they are; intervals are Student's, differences paired."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from toys import Tiny

import pirf
from pirf.errors import InputError
from pirf.sweeps import Interval, interval, paired, sweep

GRID = [
    {"sampler": s, "k": k, "seed": seed}
    for s, k, seed in itertools.product([pirf.Heun(steps=2), pirf.Euler(steps=2)], [1, 2], [0, 1])
]


class Counting:
    def __init__(self, fail_at=None):
        self.calls, self.fail_at = 0, fail_at

    def __call__(self, sampler, k, seed):
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        self.calls += 1
        return {"value": 10.0 * k + seed + (type(sampler).__name__ == "Heun")}


def test_a_sweep_that_was_stopped_goes_on(tmp_path):
    first, second = Counting(fail_at=3), Counting()
    with pytest.raises(KeyboardInterrupt):
        sweep(first, GRID, tmp_path, progress=False)
    assert len(sweep(Counting(), GRID, tmp_path, known_only=True, progress=False)) == 3
    rows = sweep(second, GRID, tmp_path, progress=False)
    assert (first.calls, second.calls) == (3, 5)
    assert [r["value"] for r in rows] == [Counting()(**cell)["value"] for cell in GRID]
    assert rows[0]["sampler"] == pirf.Heun(steps=2)
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".json"]


def test_another_identity_is_measured_again_and_another_cell_is_another_file(tmp_path):
    sweep(Counting(), GRID, tmp_path, identity="a", progress=False)
    again, more = Counting(), Counting()
    sweep(again, GRID, tmp_path, identity="b", progress=False)
    sweep(more, [{**cell, "k": 3} for cell in GRID[:1]], tmp_path, identity="b", progress=False)
    assert (again.calls, more.calls) == (8, 1)
    assert len(list(tmp_path.iterdir())) == 9


def test_figures_that_are_not_json_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(InputError, match="figures that are JSON"):
        sweep(lambda **_: {"value": object()}, GRID, tmp_path, progress=False)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("choice", [Tiny(), torch.zeros(3), lambda: None], ids=["network", "tensor", "function"])
def test_choices_that_another_could_be_taken_for_are_refused(choice, tmp_path):
    """Two networks print alike; a function prints its address, which another process gives to something else."""
    with pytest.raises(InputError, match="choices that say by their repr what they are"):
        sweep(lambda **_: {"value": 1.0}, [{"choice": choice}], tmp_path, progress=False)
    assert not any(tmp_path.iterdir())


def test_intervals():
    values = [0.1, 0.4, 0.2, 0.25, 0.3]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    found = interval(values)
    assert math.isclose(found.mean - found.half, low)
    assert math.isclose(found.mean + found.half, high)
    assert str(interval([2.0])) == "2"
    assert [str(Interval(12.34, h, 5)) for h in (0.234, 12.3, 345.6)] == ["12.3 ± 0.2", "12.3 ± 12", "12.3 ± 346"]
    with pytest.raises(InputError, match="at least one value"):
        interval([])


def test_pairing_removes_what_seeds_share():
    ours = {0: 1.0, 1: 11.0, 2: 101.0, 3: 0.0}
    theirs = {0: 2.0, 1: 12.1, 2: 101.9}
    found = paired(ours, theirs)
    assert found.count == 3
    assert math.isclose(found.mean, -1.0)
    assert found.excludes_zero
    assert not interval(list(ours.values())).excludes_zero
