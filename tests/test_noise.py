import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_moment

from pirf.noise import Noise

addresses = st.lists(st.one_of(st.integers(0, 99), st.sampled_from(["initial", "update", "pool"])), max_size=4).map(tuple)


@given(st.integers(0, 2**63), addresses, st.lists(st.integers(0, 2**40), min_size=1, max_size=6), st.randoms())
def test_numbers_belong_to_the_sample(seed, address, samples, random):
    noise = Noise(seed).fold(*address)
    whole = noise[samples].normal((2, 3), torch.float64)
    order = list(range(len(samples)))
    random.shuffle(order)
    assert torch.equal(noise[[samples[i] for i in order]].normal((2, 3), torch.float64), whole[order])
    for row, sample in enumerate(samples):
        assert torch.equal(noise[sample].normal((2, 3), torch.float64)[0], whole[row])


@given(st.integers(1, 20), st.integers(0, 20))
def test_a_batch_split_anywhere_is_the_batch(count, cut):
    noise, cut = Noise(3).fold("initial"), min(cut, count)
    parts = [noise[range(cut)], noise[range(cut, count)]]
    assert torch.equal(torch.cat([p.normal((4,)) for p in parts if len(p)]), noise[range(count)].normal((4,)))


@given(st.tuples(st.integers(0, 5), addresses), st.tuples(st.integers(0, 5), addresses))
def test_streams_differ_exactly_when_their_addresses_do(a, b):
    draws = [Noise(seed).fold(*path).normal((4,), torch.float64) for seed, path in (a, b)]
    assert torch.equal(*draws) == (a == b)


def test_a_name_is_not_a_number_and_a_fold_is_one_level():
    assert not torch.equal(Noise(0).fold("1").normal((3,)), Noise(0).fold(1).normal((3,)))
    assert not torch.equal(Noise(0).fold(1, 2).normal((3,)), Noise(0).fold(12).normal((3,)))
    assert torch.equal(Noise(0).fold(1, 2).normal((3,)), Noise(0).fold(1).fold(2).normal((3,)))


def test_streams_are_uncorrelated():
    a = Noise(0).fold("a")[range(200)].normal((50,), torch.float64)
    b = Noise(0).fold("b")[range(200)].normal((50,), torch.float64)
    assert_moment(a * b, 0.0)
    assert_moment(a[:-1] * a[1:], 0.0)  # neighbours in the counter
    assert_moment(a * Noise(1).fold("a")[range(200)].normal((50,), torch.float64), 0.0)


def test_moments_of_the_normal_and_the_uniform():
    x = Noise(7)[range(400)].normal((100,), torch.float64)
    for power, moment in ((1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)):
        assert_moment(x**power, moment)
    u = Noise(7)[range(20000)].uniform(torch.float64)
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    for power in (1, 2, 3):
        assert_moment(u**power, 1 / (power + 1))


def test_integers_are_uniform_over_their_range():
    draws = torch.tensor(Noise(5)[range(9000)].integers(2, 5))
    assert set(draws.tolist()) == {2, 3, 4}
    for value in (2, 3, 4):
        assert_moment((draws == value).double(), 1 / 3)


def test_the_narrow_dtype_is_the_wide_one_rounded():
    noise = Noise(1)[range(3)]
    assert torch.equal(noise.normal((5,)), noise.normal((5,), torch.float64).float())


def test_global_generators_stay_where_they_are():
    ours, theirs = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    noise = Noise(0)[range(5)]
    noise.normal((10,))
    noise.uniform()
    noise.integers(0, 9)
    assert torch.equal(ours, torch.get_rng_state())
    assert np.array_equal(theirs, np.random.get_state()[1])  # noqa: NPY002


def test_an_address_is_a_value():
    assert Noise(1).fold("a")[3] == Noise(1, ("a",), (3,))
    assert hash(Noise(1)[range(3)]) == hash(Noise(1, (), range(3)))
    assert eval(repr(Noise(1).fold("a", 2)[range(3)])) == Noise(1).fold("a", 2)[range(3)]
    assert len(Noise(0)[[4, 5]]) == 2
