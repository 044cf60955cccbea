"""Rules of the noise level."""

import pytest
from toys import Quadratic

from pirf.errors import InputError
from pirf.guidance import Below, Fading, Term


@pytest.mark.parametrize(("sigma", "observed", "equation"), [(80.0, 1.0, 0.0), (1.0, 1.0, 1.0), (0.3, 0.3, 0.3)])
def test_the_coefficients_of_fundps(sigma, observed, equation):
    assert Fading().at(sigma) == observed
    assert Below(Fading()).at(sigma) == equation


def test_they_scale_and_nest_and_print_as_code():
    assert Fading(3.0, level=0.5).at(0.25) == 1.5
    assert [Below(2.0, level=0.5).at(sigma) for sigma in (0.6, 0.5, 0.1)] == [0.0, 2.0, 2.0]
    assert Fading(Below(4.0, 0.5), 0.5).at(0.25) == 2.0
    for rule in (Fading(3.0, 0.5), Below(Fading(2.0)), Below(0.5)):
        assert eval(repr(rule)) == rule
    term = Term(Quadratic(), Below(0.5))
    assert eval(repr(term)) == term
    assert (term.at(2.0), term.at(0.5), Term(Quadratic(), 3.0).at(2.0)) == (0.0, 0.5, 3.0)


@pytest.mark.parametrize("make", [lambda w: Term(Quadratic(), w), Fading, Below])
@pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
def test_weights_are_finite_and_not_negative(make, weight):
    with pytest.raises(
        InputError, match=f"a finite weight of 0 or more, or a rule of the noise level, is needed: got {weight}"
    ):
        make(weight)
