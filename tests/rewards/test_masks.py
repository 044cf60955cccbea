"""Masks hold what they say, more sensors contain the fewer, and noise has the law and the address it should."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, assert_moment
from toys import normal

from pirf.errors import InputError
from pirf.rewards import Points, Weights
from pirf.rewards.masks import lines, observe, region, sensors

SHAPE = (2, 6, 10)
TRUTH = normal(*SHAPE)


def test_regions_are_channels_and_frames():
    assert torch.equal(region(SHAPE), torch.ones(SHAPE, dtype=torch.bool))
    assert region(SHAPE, 1).nonzero()[:, 0].unique().tolist() == [1]
    assert torch.equal(region(SHAPE, 0) | region(SHAPE, (1,)), region(SHAPE, (0, 1)))
    assert torch.equal(~region(SHAPE, frames=slice(0, 2)), region(SHAPE, frames=slice(2, None)))
    assert region(SHAPE, 1, -1).nonzero()[:, 1].unique().tolist() == [5]
    assert int(region(SHAPE, 1, -1).sum()) == 10


@given(st.integers(1, 60), st.integers(0, 5))
def test_sensors_are_as_many_as_asked_inside_and_nested(count, seed):
    within = region(SHAPE, 1)
    few = sensors(within, count, seed=seed)
    assert int(few.sum()) == count
    assert not bool((few & ~within).any())
    assert not bool((few & ~sensors(within, min(60, count + 1), seed=seed)).any())
    assert torch.equal(few, sensors(within, share=count / 60, seed=seed))


def test_sensors_are_uniform():
    draws = torch.stack([sensors(region(SHAPE), 12, seed=s) for s in range(400)]).double().flatten(1)
    for point in draws.T:
        assert_moment(point, 0.1)


def test_lines_are_whole_and_even():
    within = region((1, 6, 10))
    chosen = lines(within, axis=1, count=5)
    assert chosen[0].all(0).nonzero().flatten().tolist() == [1, 3, 5, 7, 9]
    assert int(chosen.sum()) == 30
    assert lines(within, axis=0, count=2)[0].all(1).nonzero().flatten().tolist() == [1, 4]
    assert torch.equal(lines(within, axis=0, count=6), within)
    drawn = lines(within, axis=1, count=3, seed=1)
    assert (int(drawn.sum()), int(drawn[0].all(0).sum())) == (18, 3)
    assert not torch.equal(drawn, lines(within, axis=1, count=3, seed=2))
    past = lines(region((1, 6, 10), frames=slice(0, 2)), axis=1, count=5)
    assert torch.equal(past, chosen & region((1, 6, 10), frames=slice(0, 2)))


def test_noise_has_the_deviation_of_its_channel_and_no_memory_of_other_sensors():
    mask = region(SHAPE)
    draws = torch.stack([observe(TRUTH, mask, (0.1, 3.0), seed=s).values for s in range(200)]) - TRUTH[mask]
    for part, tau in ((draws[:, :60], 0.1), (draws[:, 60:], 3.0)):
        assert_moment(part / tau, 0.0)
        assert_moment((part / tau).square(), 1.0)
    few, many = sensors(mask, 7), sensors(mask, 20)
    shared = observe(TRUTH, many, (0.1, 3.0)).values[few[many]]
    assert torch.equal(observe(TRUTH, few, (0.1, 3.0)).values, shared)


def test_without_noise_truth_is_measured():
    mask = sensors(region(SHAPE), 9)
    assert torch.equal(observe(TRUTH, mask).values, TRUTH[mask])
    assert observe(TRUTH[None], mask) == observe(TRUTH, mask) == observe(TRUTH, Points(mask))
    assert observe(TRUTH, mask, 0.1, seed=1) == observe(TRUTH, mask, 0.1, seed=1) != observe(TRUTH, mask, 0.1, seed=2)
    assert_close(observe(TRUTH.float(), mask).values, TRUTH.float().double()[mask])


def test_functionals_have_noise_by_row():
    weights = Weights(normal(4, *SHAPE, seed=3))
    tau = torch.tensor([0.1, 1.0, 2.0, 0.0], dtype=torch.float64)
    draws = torch.stack([observe(TRUTH, weights, tau, seed=s).values for s in range(300)]) - weights.measure(TRUTH[None])
    assert_close(draws[:, 3], 0.0, unit=1.0)
    for row, deviation in zip(draws.T[:3], tau, strict=False):
        assert_moment((row / deviation).square(), 1.0)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: region(SHAPE, 2), "channels and frames of a field .* got channels=2"),
    (lambda: region(SHAPE, ()), r"got channels=\(\)"),
    (lambda: region(SHAPE, frames=slice(9, None)), "got channels=None, frames=slice"),
    (lambda: region(SHAPE, frames=6), "frames=6"),
    (lambda: sensors(region(SHAPE, 1), 61), "between 1 and 60 sensors.* got count=61"),
    (lambda: sensors(region(SHAPE, 1), 0), "got count=0"),
    (lambda: sensors(region(SHAPE, 1)), "got count=None, share=None"),
    (lambda: sensors(region(SHAPE, 1), 3, share=0.1), "got count=3, share=0.1"),
    (lambda: sensors(region(SHAPE, 1), share=2.0), "share=2.0"),
    (lambda: lines(region(SHAPE), 2, 1), "an axis among 0 … 1.* got axis=2"),
    (lambda: lines(region(SHAPE), 0, 7), "got axis=0, count=7"),
    (lambda: observe(TRUTH, region((1, 6, 10))), r"fields of shape \(sample, 1, 6, 10\) are needed"),
    (lambda: observe(normal(3, *SHAPE), region(SHAPE)), r"got \(1, 3, 2, 6, 10\)"),
    (lambda: observe(TRUTH, region(SHAPE).double()), "boolean"),
    (lambda: observe(TRUTH, region(SHAPE), -1.0), "a noise of 0 or more"),
    (lambda: observe(torch.where(region(SHAPE, 1, 0), torch.nan, TRUTH), region(SHAPE)), "got nan in 10 of 120"),
])  # fmt: skip
def test_bad_calls_get_one_line(call, message):
    with pytest.raises(InputError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)
