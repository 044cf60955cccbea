import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf.errors import InputError
from pirf.scaling import Colour, Scaling

numbers = st.floats(-1e3, 1e3)
positive = st.floats(1e-3, 1e3)


@given(st.tuples(numbers, numbers), st.tuples(positive, positive))
def test_physical_inverts_normalise(shift, scale):
    scaling, fields = Scaling(shift, scale), normal(3, 2, 4, 5)
    unit = max(1.0, *(abs(s) for s in shift)) * max(1.0, 1 / min(scale)) * max(scale)
    assert_close(scaling.physical(scaling.normalise(fields)), fields, unit=unit)
    assert_close(scaling.normalise(fields)[:, 1], (fields[:, 1] - shift[1]) / scale[1])


@given(st.tuples(numbers, numbers), st.tuples(positive, positive))
def test_fit_gives_mean_zero_and_half_deviation(shift, scale):
    fields = normal(20, 2, 4, 4) * torch.tensor(scale).double().reshape(2, 1, 1) + torch.tensor(shift).double().reshape(2, 1, 1)
    x = Scaling.fit(fields).normalise(fields).transpose(0, 1).flatten(1)
    assert_close(x.std(1), 0.5, unit=max(1, *(abs(a) / b for a, b in zip(shift, scale, strict=True))))
    assert_close(x.mean(1), 0.0, unit=max(1, *(abs(a) / b for a, b in zip(shift, scale, strict=True))))


def test_identity_and_value():
    x = normal(2, 3, 4)
    assert torch.equal(Scaling.identity(3).normalise(x), x)
    assert eval(repr(Scaling((1.0, 2.0), (3.0, 4.0)))) == Scaling((1.0, 2.0), (3.0, 4.0))
    assert len({Scaling((0.0,), (1.0,)), Scaling.identity(1)}) == 1


def test_dtype_is_kept():
    assert Scaling((1.0,), (2.0,)).normalise(torch.zeros(1, 1, 2)).dtype == torch.float32


@pytest.mark.parametrize("bad", [((0.0,), (0.0,)), ((0.0,), (-1.0,)), ((0.0, 1.0), (1.0,)), ((0.0,), (float("nan"),))])
def test_a_bad_scaling_is_refused(bad):
    with pytest.raises(InputError, match="one positive scale per channel: got"):
        Scaling(*bad)


@pytest.mark.parametrize("shape", [(2, 3, 4), (5,)])
def test_a_wrong_channel_count_is_refused(shape):
    for move in (Scaling.identity(2).normalise, Scaling.identity(2).physical):
        with pytest.raises(Exception, match=r"2 channel|type") as refusal:
            move(torch.zeros(shape))
        if len(shape) > 1:
            assert isinstance(refusal.value, InputError)


@attrs.frozen
class Sums(Colour):
    """C^{1/2} = 1 + u uᵀ with u constant and of norm 1: a symmetric positive operator that joins all points."""

    def colour(self, z):
        return z + z.mean((2, 3), keepdim=True)

    def whiten(self, x):
        return x - x.mean((2, 3), keepdim=True) / 2


@given(st.tuples(numbers, numbers), st.tuples(positive, positive))
def test_a_coloured_scaling_colours_then_scales_and_is_its_own_inverse(shift, scale):
    plain, coloured, fields = Scaling(shift, scale), Scaling(shift, scale, Sums()), normal(3, 2, 4, 5)
    unit = 4 * max(1.0, *(abs(s) for s in shift)) * max(1.0, 1 / min(scale)) * max(scale)
    assert_close(coloured.physical(fields), plain.physical(Sums().colour(fields)))
    assert_close(coloured.physical(coloured.normalise(fields)), fields, unit=unit)


def test_the_colour_belongs_to_the_value():
    coloured = Scaling((1.0, 2.0), (3.0, 4.0), Sums())
    assert eval(repr(coloured)) == coloured
    assert len({coloured, Scaling((1.0, 2.0), (3.0, 4.0)), Scaling((1.0, 2.0), (3.0, 4.0), Sums())}) == 2
