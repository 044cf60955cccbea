import json
import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pirf.errors import InputError, NumericalError
from pirf.training import Tuning, tune

KNOBS = {"observed": (1e-2, 1e2), "weight": (1e-4, 1e-1)}


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


def test_it_ends_where_no_further_value_can_be_told_from_those_tried():
    """Values a relative 1e-9 apart are the same; a budget beyond that is not spent, and does not hang."""
    found = tune(lambda v: math.log(v / 3.3e-3) ** 2, 1e-4, 1e-1, 400)
    assert len(found.trials) < 400
    assert abs(math.log(found.best / 3.3e-3)) < 1e-8
    values = sorted(v for v, _ in found.trials)
    assert all(math.log(b / a) > 0.99e-9 for a, b in pairwise(values))


@pytest.mark.parametrize("bad", [(0.0, 1.0, 9), (1.0, 1.0, 9), (-1.0, 1.0, 9), (0.1, 1.0, 2), (0.1, math.inf, 9)])
def test_an_impossible_search_is_refused(bad):
    with pytest.raises(InputError, match="at least three trials are needed: got low="):
        tune(lambda v: v, *bad)


# Several knobs.


@given(st.floats(-4, -1), st.integers(3, 20), st.floats(0, 3))
def test_one_named_knob_is_searched_as_one_value(exponent, trials, ripple):
    """The same trials in the same order, whether the knob has a name or not."""

    def objective(v):
        return math.log(v / 10**exponent) ** 2 + ripple * math.sin(3 * math.log(v))

    alone, named = (
        tune(objective, 1e-4, 1e-1, trials),
        tune(lambda weight: objective(weight), {"weight": (1e-4, 1e-1)}, trials=trials),
    )
    assert named == Tuning({"weight": alone.best}, alone.loss, tuple(({"weight": v}, loss) for v, loss in alone.trials))


@given(st.floats(-2, 2), st.floats(-4, -1), st.integers(5, 30))
def test_knobs_that_do_not_interact_are_each_found(observed, weight, trials):
    """Every knob within half a cell of its grid, within a quarter of one once both sides were refined; each trial is new."""
    optimum = {"observed": 10**observed, "weight": 10**weight}

    def objective(**knobs):
        return sum(math.log(knobs[name] / optimum[name]) ** 2 for name in KNOBS)

    found = tune(objective, KNOBS, trials=trials)
    assert len(found.trials) == trials == len({tuple(values.values()) for values, _ in found.trials})
    assert all(loss == objective(**values) for values, loss in found.trials)
    assert (found.best, found.loss) == min(found.trials, key=lambda trial: trial[1])
    size = max(1 + (math.ceil(2 * trials / 3) - 1) // 2, 3)
    refined = trials - (2 * size - 1) >= 4
    for name, (low, high) in KNOBS.items():
        cell = math.log(high / low) / (size - 1)
        assert abs(math.log(found.best[name] / optimum[name])) <= cell / (4 if refined else 2) + 1e-9


@pytest.mark.parametrize(("coupling", "first", "second"), [(-0.8, 1.3, -0.4), (0.3, 0.2, 0.7), (0.8, -1.1, 0.9)])
def test_knobs_that_interact_are_descended_one_at_a_time(coupling, first, second):
    """A convex quadratic of the logarithms: with trials enough, its only minimum to a hundredth of a decade."""

    def objective(a, b):
        off = math.log10(a) - first, math.log10(b) - second
        return off[0] ** 2 + off[1] ** 2 + coupling * off[0] * off[1]

    found = tune(objective, {"a": (0.01, 100.0), "b": (0.01, 100.0)}, trials=240).best
    assert math.hypot(math.log10(found["a"]) - first, math.log10(found["b"]) - second) < 0.01


def test_every_knob_stays_in_its_range():
    found = tune(lambda observed, weight: math.log(observed) - math.log(weight), KNOBS, trials=15)
    for name, (low, high) in KNOBS.items():
        assert all(low * (1 - 1e-12) <= values[name] <= high * (1 + 1e-12) for values, _ in found.trials)
    assert found.best["observed"] == pytest.approx(KNOBS["observed"][0], rel=1e-9)
    assert found.best["weight"] == pytest.approx(KNOBS["weight"][1], rel=1e-9)


def test_the_record_is_json_and_reads_as_a_line():
    named = tune(lambda observed, weight: math.nan if observed > 10 else observed + weight, KNOBS, trials=5)
    record = json.loads(json.dumps(named.as_dict(), allow_nan=False))
    assert record["best"] == named.best
    assert record["loss"] == named.loss
    assert record["trials"] == [[values, loss if math.isfinite(loss) else None] for values, loss in named.trials]
    assert sum(loss is None for _, loss in record["trials"]) == 1
    assert str(named) == "observed = 0.01, weight = 0.0001: loss 0.0101, best of 5 trials"
    alone = tune(lambda v: v, 0.5, 2.0, 3)
    assert json.loads(json.dumps(alone.as_dict())) == {"best": 0.5, "loss": 0.5, "trials": [[0.5, 0.5], [2.0, 2.0], [1.0, 1.0]]}
    assert str(alone) == "0.5: loss 0.5, best of 3 trials"


def test_a_search_without_a_finite_loss_says_so():
    with pytest.raises(NumericalError, match="none of 5 trials gave a finite loss: observed = "):
        tune(lambda observed, weight: math.inf, KNOBS, trials=5)


@pytest.mark.parametrize(
    ("knobs", "trials", "told"),
    [
        ({}, 9, "got no knobs, trials=9"),
        (KNOBS, 4, "at least 5 trials are needed: got observed: (0.01, 100.0), weight: (0.0001, 0.1), trials=4"),
        ({"weight": (1.0, 1.0)}, 9, "got weight: (1.0, 1.0)"),
        ({"weight": (0.0, 1.0)}, 9, "got weight: (0.0, 1.0)"),
        ({"weight": (1.0, math.inf)}, 9, "got weight: (1.0, inf)"),
    ],
)
def test_impossible_ranges_are_refused(knobs, trials, told):
    with pytest.raises(InputError, match=re.escape(told)):
        tune(lambda **values: 0.0, knobs, trials=trials)


def test_a_mapping_has_its_upper_ends_inside():
    with pytest.raises(InputError, match=r"high=1\.0"):
        tune(lambda weight: weight, {"weight": (0.1, 1.0)}, high=1.0)
