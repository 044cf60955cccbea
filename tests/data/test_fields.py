import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from toys import normal

from pirf.data import Fields, Source
from pirf.errors import InputError
from pirf.problems import poisson
from pirf.scaling import Scaling

FIELDS = normal(7, 2, 3, 4)


@given(st.integers(0, 100), st.integers(0, 30), st.integers(1, 25), st.integers(0, 25))
def test_a_stream_does_not_depend_on_how_it_is_cut(seed, start, count, cut):
    source, cut = Fields(FIELDS), min(cut, count)
    whole = source.sample(count, seed, start)
    parts = [source.sample(n, seed, s) for n, s in ((cut, start), (count - cut, start + cut)) if n]
    assert torch.equal(torch.cat(parts), whole)


@given(st.integers(0, 100), st.integers(0, 5))
def test_every_epoch_is_a_permutation_of_its_own(seed, epoch):
    source = Fields(FIELDS)
    rows = [tuple(f.flatten().tolist()) for f in source.sample(7, seed, 7 * epoch)]
    assert sorted(rows) == sorted(tuple(f.flatten().tolist()) for f in FIELDS)


def test_epochs_and_seeds_differ():
    source = Fields(normal(50, 1, 2))
    first = source.sample(50, 0, 0)
    assert not torch.equal(first, source.sample(50, 0, 50))
    assert not torch.equal(first, source.sample(50, 1, 0))
    assert torch.equal(first, source.sample(50, 0, 0))


def test_the_scaling_is_fitted_unless_given():
    assert Fields(FIELDS).scaling == Scaling.fit(FIELDS)
    assert Fields(FIELDS, Scaling.identity(2)).scaling == Scaling.identity(2)
    assert Fields(FIELDS).shape == (2, 3, 4)


def test_a_run_knows_its_data_by_content():
    assert repr(Fields(FIELDS)) == repr(Fields(FIELDS.clone())) != repr(Fields(2 * FIELDS))
    assert repr(Fields(FIELDS)).startswith("Fields(<7×2×3×4")


def test_both_kinds_of_source_are_sources():
    assert isinstance(Fields(FIELDS), Source)
    assert isinstance(poisson(4), Source)


@pytest.mark.parametrize("scaling", [(), (Scaling.identity(2),)])
@pytest.mark.parametrize(
    "bad", [torch.zeros(0, 2, 3, 4), torch.full((2, 2, 3), float("nan")), torch.full((2, 2, 3), float("inf"))]
)
def test_empty_and_spoiled_data_are_refused_by_name(bad, scaling):
    with pytest.raises(InputError, match=r"training needs finite fields of shape \(sample, channel, \*grid\): got shape"):
        Fields(bad, *scaling)


NUMBERS = torch.arange(7.0, dtype=torch.float64)


@given(st.integers(0, 100), st.integers(0, 30), st.integers(1, 25))
def test_what_is_told_stays_with_its_sample(seed, start, count):
    told = {"first": FIELDS[:, 0, 0, 0].clone(), "a": 2 * FIELDS}
    source = Fields(FIELDS, conditions=told)
    fields, condition = source.sample(count, seed, start), source.condition(count, seed, start)
    assert torch.equal(condition["first"], fields[:, 0, 0, 0])
    assert torch.equal(condition["a"], 2 * fields)
    assert torch.equal(fields, Fields(FIELDS).sample(count, seed, start))


def test_conditions_are_part_of_the_identity():
    plain, told, other = Fields(FIELDS), Fields(FIELDS, conditions={"i": NUMBERS}), Fields(FIELDS, conditions={"i": -NUMBERS})
    assert len({repr(plain), repr(told), repr(other)}) == 3
    assert repr(told) == repr(Fields(FIELDS.clone(), conditions={"i": NUMBERS.clone()}))
    assert plain.condition(3) == {}


@pytest.mark.parametrize("bad", [torch.zeros(6), torch.full((7,), float("nan")), torch.tensor(1.0), [1.0] * 7])
def test_conditions_of_other_samples_are_refused(bad):
    with pytest.raises(InputError, match="finite entries of the condition 'i', one for each of 7 samples, are needed"):
        Fields(FIELDS, conditions={"i": bad})
