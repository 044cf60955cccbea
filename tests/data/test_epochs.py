import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pirf.data.epochs import Epochs


def stream(size, count, seed, start):
    """Numbers start … start + count − 1, every permutation of the stream drawn afresh."""
    passes = range((start + count) // size + 1)
    keyed = [np.random.Generator(np.random.Philox(key=[seed, 0xE90C4], counter=[0, 0, 0, e])).permutation(size) for e in passes]
    return np.concatenate(keyed)[start : start + count]


SIZES = st.sampled_from([1, 2, 7, 255, 256, 257])


@given(SIZES, st.lists(st.tuples(st.integers(1, 300), st.integers(0, 3), st.integers(0, 600)), min_size=1, max_size=5))
def test_whatever_was_asked_before_the_stream_is_the_same(size, calls):
    epochs = Epochs(size)
    for count, seed, start in calls:
        rows = epochs.rows(count, seed, start)
        assert rows.dtype == np.int64
        assert np.array_equal(rows, stream(size, count, seed, start))


def test_more_than_65536_samples_have_the_same_order():
    assert np.array_equal(Epochs(70_000).rows(70_010, 5, 69_995), stream(70_000, 70_010, 5, 69_995))


def test_a_permutation_is_drawn_once_for_a_pass(monkeypatch):
    drawn, philox = [], np.random.Philox

    def counted(**options):
        drawn.append(options["counter"][-1])
        return philox(**options)

    monkeypatch.setattr(np.random, "Philox", counted)
    epochs = Epochs(100)
    for start in range(0, 300, 8):  # batches straddle the ends of passes, and each is asked for twice: fields, conditions
        epochs.rows(8, 0, start)
        epochs.rows(8, 0, start)
    assert drawn == [0, 1, 2, 3]
