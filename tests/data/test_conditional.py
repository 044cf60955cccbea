import attrs
import pytest
import torch
from toys import normal

from pirf.data import Conditional, Conditioned, Fields
from pirf.errors import InputError
from pirf.problems import poisson
from pirf.scaling import Scaling

FIELDS = normal(7, 2, 3, 4)


def test_channels_told_apart_are_those_of_the_source():
    problem = poisson(4)
    source = Conditional(problem, {"a": problem.given})
    whole = problem.sample(5, seed=3, start=2)
    assert torch.equal(source.condition(5, 3, 2)["a"], whole[:, :1])
    assert torch.equal(source.sample(5, 3, 2), whole[:, 1:])
    assert source.shape == (1, 4, 4)
    assert source.scaling == Scaling(problem.scaling.shift[1:], problem.scaling.scale[1:])
    assert torch.equal(source.scaling.normalise(whole[:, 1:]), problem.scaling.normalise(whole)[:, 1:])
    assert repr(source) == "Conditional(pirf.problems.poisson(n=4), {'a': (0,)})"
    assert isinstance(source, Conditioned)
    assert not isinstance(problem, Conditioned)


def test_channels_may_have_several_names_and_any_order():
    fields = normal(6, 4, 2, 2)
    source = Conditional(Fields(fields), {"b": [3], "a": [0, 2]})
    assert torch.equal(source.sample(6), Fields(fields).sample(6)[:, [1]])
    assert torch.equal(source.condition(6)["b"], Fields(fields).sample(6)[:, [3]])
    assert torch.equal(source.condition(6)["a"], Fields(fields).sample(6)[:, [0, 2]])


def test_what_was_drawn_last_is_not_solved_for_again():
    draws = []

    @attrs.frozen
    class Costly:
        shape: tuple = (2, 2, 2)
        scaling: Scaling = Scaling.identity(2)

        def sample(self, count, seed=0, start=0):
            draws.append((count, seed, start))
            return torch.zeros(count, 2, 2, 2)

    source = Conditional(Costly(), {"a": (0,)})
    for start in (0, 3, 0):
        source.sample(3, 0, start)
        source.condition(3, 0, start)
    assert draws == [(3, 0, 0), (3, 0, 3), (3, 0, 0)]


@pytest.mark.parametrize("told", [{}, {"a": ()}, {"a": (0, 1)}, {"a": (2,)}, {"a": (-1,)}])
def test_something_is_told_and_something_is_left(told):
    with pytest.raises(InputError, match=r"some of the channels 0 … 1, not all, are needed to tell"):
        Conditional(Fields(FIELDS), told)
