import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pirf.errors import InputError
from pirf.training import tune


@given(st.floats(-4, -1), st.integers(5, 20))
def test_it_finds_the_minimum_of_a_log_quadratic(exponent, trials):
    """Within half a cell of the coarse grid, and within a quarter of one as soon as two trials refine each side."""
    optimum = 10**exponent
    found = tune(lambda v: math.log(v / optimum) ** 2, 1e-4, 1e-1, trials)
    assert len(found.trials) == trials
    assert len({v for v, _ in found.trials}) == trials
    assert found.loss == min(loss for _, loss in found.trials) == math.log(found.best / optimum) ** 2
    cell = math.log(1e3) / (math.ceil(2 * trials / 3) - 1)
    assert abs(math.log(found.best / optimum)) <= cell / (4 if trials >= 9 else 2) + 1e-9


@given(st.floats(-3, 3), st.integers(3, 20), st.floats(-6, 0), st.floats(0.1, 5))
def test_every_trial_lies_in_the_range(slope, trials, low, width):
    """A monotone objective has its minimum on the edge, which the search must not leave."""
    low, high = 10**low, 10 ** (low + width)
    found = tune(lambda v: slope * math.log(v), low, high, trials)
    assert all(low * (1 - 1e-12) <= v <= high * (1 + 1e-12) for v, _ in found.trials)
    if abs(slope) > 1e-3:
        assert abs(math.log(found.best / (low if slope > 0 else high))) < 1e-9


def test_non_finite_losses_rank_last():
    found = tune(lambda v: float("nan") if v > 1e-2 else (-math.inf if v < 1e-3 else math.log(v / 5e-3) ** 2), 1e-4, 1e-1, 12)
    assert 1e-3 <= found.best <= 1e-2
    assert math.isfinite(found.loss)
    assert sum(loss == math.inf for _, loss in found.trials) > 0


def test_more_trials_come_closer():
    def distance(trials):
        return abs(math.log(tune(lambda v: math.log(v / 3.3e-3) ** 2, 1e-4, 1e-1, trials).best / 3.3e-3))

    assert distance(30) < distance(9) < distance(4)


@pytest.mark.parametrize("bad", [(0.0, 1.0, 9), (1.0, 1.0, 9), (-1.0, 1.0, 9), (0.1, 1.0, 2)])
def test_an_impossible_search_is_refused(bad):
    with pytest.raises(InputError, match="at least three trials are needed: got low="):
        tune(lambda v: v, *bad)
