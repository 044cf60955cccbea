"""What is known of exchangeable ensembles holds for any M, correlated points and ties; what is wrong has a name."""

import inspect
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, assert_moment
from toys import normal

from pirf.calibration import calibration
from pirf.errors import InputError
from pirf.noise import Noise

SHAPE = (2, 3, 4)


def pools(truths, members, *, seed=0, common=0.7, shape=SHAPE):
    """Truth and M more of its kind, (truth, 1 + M, *shape): what all points of a field share, and what each has alone."""
    noise = Noise(seed)[range(truths)]
    shared = noise.fold("shared").normal((1 + members, *[1] * len(shape)), torch.float64)
    own = noise.fold("own").normal((1 + members, *shape), torch.float64)
    return math.sqrt(common) * shared + math.sqrt(1 - common) * own


def judge(pool, **options):
    return calibration(pool[:, 1:], pool[:, 0], **options)


@pytest.mark.parametrize("members", [2, 3, 5, 16, 33])
def test_exchangeable_ensembles_cover_what_they_should(members):
    found = judge(pools(500, members, seed=members))
    for r in (found.overall, *found.channels):
        assert max(abs(e.deviation) for e in (r.half, r.ninety, r.rank)) < 4.5
        assert r.spread == pytest.approx(1, abs=0.15)
    assert found.alarms() == ()
    assert found.overall.ninety.expected == pytest.approx({2: 1 / 3, 3: 0.5, 5: 2 / 3, 16: 15 / 17, 33: 30 / 34}[members])
    assert (found.members, found.truths) == (members, 500)


def test_standard_errors_are_right_for_one_truth_with_correlated_points():
    """(figure − expected)/error has mean 0 and variance 1."""
    figures = [judge(pool[None]).overall for pool in pools(400, 9, seed=1)]
    for name in ("half", "ninety", "rank"):
        deviations = torch.tensor([getattr(r, name).deviation for r in figures], dtype=torch.float64)
        assert_moment(deviations, 0.0)
        assert_moment(deviations.square(), 1.0)


@given(st.integers(2, 12), st.integers(0, 100), st.booleans())
def test_every_field_of_a_pool_in_turn_gives_the_expected_figures_on_average(members, seed, ties):
    (pool,) = pools(1, members, seed=seed)
    pool = (2 * pool).round() if ties else pool
    turns = [judge(pool.roll(j, 0)[None], where=torch.ones(SHAPE, dtype=torch.bool)) for j in range(members + 1)]
    # The unit is truth's own standard deviation: none of these figures knows it.
    for name in ("half", "ninety", "rank"):
        each = [getattr(turn.overall, name) for turn in turns]
        assert_close(sum(e.found for e in each) / len(each), each[0].expected)
        variance = sum((e.found - e.expected) ** 2 for e in each) / len(each)
        assert_close(torch.tensor([e.error**2 for e in each], dtype=torch.float64), variance, unit=1.0)
    ranks = torch.tensor([turn.overall.ranks for turn in turns], dtype=torch.float64)
    assert_close(ranks.sum(1), 1.0)
    assert_close(ranks.mean(0), 1 / (members + 1))


@pytest.mark.parametrize("members", [2, 7])
@pytest.mark.parametrize(("mean", "spread", "truth"), [(0.0, 1.0, 0.4), (0.3, 2.0, -1.5)])
def test_crps_is_unbiased(members, mean, spread, truth):
    """N(m, s²) against y: s (z (2Φ(z) − 1) + 2φ(z) − 1/√π) with z = (y − m)/s.  A constant truth has the unit 1."""
    z = torch.tensor((truth - mean) / spread, dtype=torch.float64)
    law = torch.distributions.Normal(torch.zeros_like(z), torch.ones_like(z))
    expected = spread * float(z * (2 * law.cdf(z) - 1) + 2 * law.log_prob(z).exp() - 1 / math.sqrt(math.pi))
    ensembles = mean + spread * pools(300, members, common=0.0)[:, 1:]
    y = torch.full(SHAPE, truth, dtype=torch.float64)
    assert_moment([calibration(x[None], y[None]).overall.crps for x in ensembles], expected)


def test_a_sharpened_ensemble_is_overconfident_and_a_blurred_one_the_reverse():
    pool = pools(20, 16, common=0.3)
    centre = pool[:, 1:].mean(1, keepdim=True)
    for factor, name in ((0.5, "overconfident"), (2.5, "underconfident")):
        found = calibration(centre + factor * (pool[:, 1:] - centre), pool[:, 0])
        assert found.overall.alarms() == (name,)
        assert name in str(found)
        assert found.overall.spread == pytest.approx(factor * judge(pool).overall.spread)
        assert found.overall.crps > judge(pool).overall.crps
    assert judge(pool).alarms() == ()


def test_one_truth_of_many_independent_points_is_enough_to_see_it():
    pool = pools(1, 16, common=0.0, shape=(1, 20, 20))
    centre = pool[:, 1:].mean(1, keepdim=True)
    assert "overconfident" in calibration(centre + 0.5 * (pool[:, 1:] - centre), pool[:, 0]).alarms()


def test_one_truth_whose_points_are_all_alike_proves_nothing():
    pool = pools(1, 16, common=1.0)
    pool[:, 0] = 100.0  # outside every interval, at every point: one field in seventeen has to be the largest
    assert judge(pool).overall.ninety.found == 0
    assert judge(pool).overall.ninety.deviation == pytest.approx(-15 / math.sqrt(30))


def test_a_shift_is_seen_where_it_is():
    pool = pools(40, 16, common=0.3)
    pool[:, 1:, 1] += 1.0
    found = judge(pool)
    assert found.channels[0].alarms() == ()
    assert "biased" in found.channels[1].alarms()
    assert "biased: channel 1" in found.alarms()
    assert not any("channel 0" in alarm for alarm in found.alarms())
    assert found.channels[1].rank.found < 0.35
    assert found.channels[1].ranks[0] > 3 / 17


def test_significant_is_not_yet_large():
    """Hundreds of truths see a spread that is seven per cent too small; it raises no alarm."""
    pool = pools(800, 16, common=0.0)
    found = calibration(0.93 * pool[:, 1:], pool[:, 0])
    assert found.overall.ninety.deviation < -4.5
    assert found.alarms() == ()


def test_order_does_not_matter():
    pool = pools(3, 6, seed=4)
    whole = judge(pool)
    shuffled = torch.cat([pool[:, :1], pool[:, 1:].flip(1).roll(2, 1)], 1)
    for other in (shuffled, pool.flip(0), pool.flip(-1), pool.transpose(-1, -2)):
        assert_same(judge(other), whole)


def test_figures_have_no_units():
    pool = pools(3, 6, seed=4)
    unit = torch.tensor([0.01, 300.0], dtype=torch.float64).reshape(-1, 1, 1)
    assert_same(judge(unit * pool), judge(pool))


def test_points_outside_the_mask_and_channels_without_points_do_not_count():
    pool, where = pools(3, 6), torch.zeros(SHAPE, dtype=torch.bool)
    where[1, :, ::2] = True
    found = judge(pool, where=where)
    assert found.channels[0] is None
    assert found.channels[1] == found.overall
    # The unit of a channel is that of all its points.
    other = torch.where(where, pool, torch.cat([pool[:, :1], 1 + 9 * normal(3, 6, *SHAPE, seed=8)], 1))
    assert_same(judge(other, where=where), found)
    by_truth = torch.stack([where, where.flip(-1), where])
    alone = [judge(p[None], where=w).overall.rank.found for p, w in zip(pool, by_truth, strict=True)]
    assert_close(judge(pool, where=by_truth).overall.rank.found, sum(alone) / 3)


def test_what_everybody_knows_is_a_tie():
    """A boundary value differs by rounding only; that truth is not among the samples there says nothing."""
    pool = pools(4, 16)
    pool[:, :, :, 0] = 2.0
    pool[:, 0, :, 0] += 1e-9
    r = judge(pool).overall
    assert abs(r.ninety.deviation) < 3
    pool[:, 0, :, 0] += 1.0
    assert judge(pool).overall.ninety.found < r.ninety.found - 0.1


def test_posteriors_in_place_of_their_fields_are_refused():
    with pytest.raises(InputError, match=r"got object; .* Try \[p.fields for p in posteriors\]"):
        inspect.unwrap(calibration)([object(), object()], normal(2, *SHAPE))  # as callers without a type checker do


def assert_same(found, expected):
    for a, b in zip((found.overall, *found.channels), (expected.overall, *expected.channels), strict=True):
        if b is None:
            assert a is None
            continue
        figures = [[*r.ranks, *(v for e in (r.half, r.ninety, r.rank) for v in (e.found, e.error))] for r in (a, b)]
        assert_close(*torch.tensor(figures, dtype=torch.float64))
        figures = [[r.crps, r.spread, r.error] for r in (a, b)]
        assert_close(*torch.tensor(figures, dtype=torch.float64))


@pytest.mark.parametrize(("change", "message"), [
    ({"ensembles": normal(1, 1, *SHAPE)}, r"two samples or more .* got \(1, 1, 2, 3, 4\)"),
    ({"ensembles": normal(2, 4, *SHAPE)}, "as many truths are needed"),
    ({"ensembles": normal(1, 4, 2, 3, 3)}, r"got \(1, 4, 2, 3, 3\) and \(1, 2, 3, 4\)"),
    ({"ensembles": [normal(4, *SHAPE), normal(5, *SHAPE)]}, r"of one shape .* got \(4, 2, 3, 4\), \(5, 2, 3, 4\)"),
    ({"ensembles": []}, "ensembles of one shape .* got none"),
    ({"truth": torch.full((1, *SHAPE), torch.nan, dtype=torch.float64)}, "NaN or infinity in 1 of 1"),
    ({"where": torch.zeros(SHAPE, dtype=torch.bool)}, "a point to judge is needed: got torch.bool .* 0 point"),
    ({"where": torch.ones(2, 3, 3, dtype=torch.bool)}, r"a mask of shape \(2, 3, 4\)"),
])  # fmt: skip
def test_bad_calls_get_one_line(change, message):
    with pytest.raises(InputError, match=message) as refused:
        calibration(**({"ensembles": normal(1, 4, *SHAPE), "truth": normal(1, *SHAPE, seed=1)} | change))
    assert "\n" not in str(refused.value)
