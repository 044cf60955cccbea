"""Measurements as a reward: linear algebra of the functionals, likelihood, identity, refusals."""

import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf.errors import InputError
from pirf.rewards import Observation, Points, Stacked, Weights
from pirf.testing import check_reward

SHAPE = (2, 4, 6)


def mask(seed=0, share=0.3):
    return normal(*SHAPE, seed=seed) > 1 - 2 * share


def functionals(seed=0):
    points, weights = Points(mask(seed)), Weights(normal(3, *SHAPE, seed=seed + 1))
    return [points, weights, Stacked((points, weights, points))]


@given(st.integers(0, 1000), st.integers(0, 2))
def test_adjoint_and_gram(seed, which):
    """⟨Hf, v⟩ = ⟨f, Hᵀv⟩ and H diag(c²) Hᵀ column by column."""
    h = functionals(seed)[which]
    f, v = normal(3, *SHAPE, seed=seed), normal(3, h.rows, seed=seed + 1)
    assert_close((h.measure(f) * v).flatten(1).sum(1), (f * h.adjoint(v)).flatten(1).sum(1))
    scale = torch.tensor([0.5, 3.0], dtype=torch.float64)
    gram = h.gram(scale)
    unit = torch.eye(h.rows, dtype=torch.float64)
    dense = h.measure(scale.square().reshape(-1, 1, 1) * h.adjoint(unit))
    assert_close(torch.diag(gram) if gram.ndim == 1 else gram, dense)


def test_the_score_is_the_log_likelihood():
    """−½ Σ (H f − y)²/τ² is half the number of rows times the score."""
    operator, f = functionals()[2], normal(5, *SHAPE)
    y, tau = normal(operator.rows), 0.1 + normal(operator.rows, seed=3).abs()
    reward = Observation(operator, y, tau)
    law = torch.distributions.Normal(operator.measure(f), tau)
    expected = (law.log_prob(y) + torch.log(tau) + 0.5 * math.log(2 * math.pi)).sum(1)
    assert_close(0.5 * operator.rows * reward(f), expected)
    check_reward(Observation(torch.ones(SHAPE, dtype=torch.bool), y[0] * torch.ones(SHAPE), 0.1), f)


def test_values_may_come_as_a_field_with_gaps():
    field, where = normal(*SHAPE), mask()
    flat = Observation(where, field[where], 0.1)
    assert torch.equal(Observation(where, torch.where(where, field, torch.nan), 0.1).values, flat.values)
    assert Observation(where, field, 0.1) == flat


def test_noise_for_all_for_each_channel_for_each_row():
    where = mask()
    of = where.nonzero()[:, 0]
    per_channel = Observation(where, normal(*SHAPE), (0.1, 2.0)).deviations
    assert torch.equal(per_channel, torch.tensor([0.1, 2.0], dtype=torch.float64)[of])
    assert torch.equal(Observation(where, normal(*SHAPE), per_channel).deviations, per_channel)
    half = torch.ones(3, *SHAPE, dtype=torch.float64)
    assert_close(
        Observation(Weights(half), normal(3), (3.0, 4.0)).deviations, torch.full((3,), math.sqrt(12.5), dtype=torch.float64)
    )


def test_an_observation_is_a_value_by_its_content():
    where, field = mask(), normal(*SHAPE)
    one, same = Observation(where, field, 0.1), Observation(where.clone(), field.clone(), 0.1)
    assert one == same
    assert hash(one) == hash(same)
    assert pickle.loads(pickle.dumps(one)) == one
    others = [Observation(where, field + 1, 0.1), Observation(where, field, 0.2), Observation(~where, field, 0.1)]
    assert len({repr(o) for o in [one, *others]}) == 4


def test_a_row_without_noise_counts_in_physical_units():
    where, field, f = mask(), normal(*SHAPE), normal(2, *SHAPE, seed=9)
    assert_close(Observation(where, field).residuals(f), f[:, where] - field[where])
    assert Observation(where, field).exact


def test_exact_rows_that_repeat_each_other_are_fine_and_those_that_contradict_are_refused():
    h = functionals()[2]  # the same points twice
    y = h.measure(normal(1, *SHAPE))[0]
    Observation(h, y)
    y[0] += 0.1
    with pytest.raises(InputError, match=r"exact measurements that can hold together are needed: got a contradiction of 0\.0"):
        Observation(h, y)
    Observation(h, y, 0.1)


def test_casts_of_a_network_do_not_reach_what_is_measured():
    h, fields = Weights(normal(3, *SHAPE, dtype=torch.float32)), normal(2, *SHAPE, dtype=torch.float32)
    rows = h.measure(fields)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(h.measure(fields), rows)
        assert torch.equal(h.adjoint(rows), h.adjoint(rows).float())
    assert rows.dtype == torch.float32


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Observation(torch.zeros(SHAPE, dtype=torch.bool), normal(*SHAPE)), "at least one measured point.*no point"),
    (lambda: Observation(torch.ones(SHAPE), normal(*SHAPE)), "boolean and of shape .*got torch.float32"),
    (lambda: Points(mask().numpy()), "boolean and of shape .*got a ndarray, which is no tensor"),
    (lambda: Points(mask().tolist()), "got a list, which is no tensor"),
    (lambda: Observation(mask(), normal(2, 4, 4)), r"measured value\(s\), or a field of shape \(2, 4, 6\).*got \(2, 4, 4\)"),
    (lambda: Observation(mask(), torch.full(SHAPE, torch.nan)), "finite measurements are needed: got nan"),
    (lambda: Observation(mask(), normal(*SHAPE), -0.1), "a noise of 0 or more.*got -0.1"),
    (lambda: Observation(mask(), normal(*SHAPE), (0.1, 0.2, 0.3)), r"got \[0.1, 0.2, 0.3\]"),
    (lambda: Observation(mask(), normal(*SHAPE), torch.nan), "got nan"),
    (lambda: Weights(torch.zeros(1, *SHAPE)), "no row of zeros"),
    (lambda: Weights(torch.full((1, *SHAPE), torch.inf)), "with NaN or infinity"),
    (lambda: Stacked((Points(mask()), Weights(normal(1, 2, 3, 3)))), "functionals of the same field"),
    (lambda: Stacked((mask(), mask())), "functionals of the same field are needed: got a Tensor, a Tensor"),
    (lambda: Observation(mask(), normal(*SHAPE))(normal(1, 2, 8, 8)), r"fields of .*2, 4, 6.*got \(1, 2, 8, 8\)"),
])  # fmt: skip
def test_bad_observations_get_one_line(make, message):
    with pytest.raises(InputError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)
