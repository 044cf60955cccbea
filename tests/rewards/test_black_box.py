import copy
import pickle

import attrs
import numpy
import pytest
import torch
from tolerances import assert_close
from toys import Quadratic, normal

from pirf.errors import InputError, NumericalError
from pirf.rewards import BlackBox, Decades, Given, Scaled, Sum
from pirf.testing import check_reward

X = normal(5, 2, 3, 3)


def spread(x):
    """A tensor for a batch of tensors, or a number for one array."""
    return -x.std() if isinstance(x, numpy.ndarray) else -x.flatten(1).std(1, correction=0)


def violations(x):
    """How many values lie above 1: integers in an array, piecewise constant."""
    return -(x.numpy() > 1).sum((1, 2, 3))


def listed(x):
    return [float(row.sum()) for row in x]


def spoiling(x):
    x.zero_()
    return x.flatten(1).sum(1)


@attrs.frozen
class Threshold:
    """A parameter goes into a field."""

    level: float = 0.5

    def __call__(self, x):
        return (x > self.level).flatten(1).sum(1)

    def method(self, x):
        return self(x)


def test_scores_are_the_functions_own():
    assert torch.equal(BlackBox(spread)(X), spread(X))
    assert torch.equal(BlackBox(violations)(X), torch.from_numpy(violations(X)).double())
    assert_close(BlackBox(listed)(X), X.flatten(1).sum(1))
    assert torch.equal(BlackBox(Threshold(0.2))(X), (X > 0.2).flatten(1).sum(1).double())
    assert_close(BlackBox(spread, samplewise=True)(X), spread(X))


@pytest.mark.parametrize(
    "reward", [BlackBox(spread), BlackBox(listed), BlackBox(spread, True), BlackBox(Threshold())], ids=repr
)
def test_it_keeps_the_contract_of_rewards(reward):
    check_reward(reward, X)
    assert reward(X.float()).dtype == torch.float32


def test_nothing_flows_back_and_nothing_is_changed():
    x = X.clone().requires_grad_()
    assert not BlackBox(spread)(x).requires_grad
    before = X.clone()
    BlackBox(spoiling)(X)
    assert torch.equal(X, before)


def test_it_is_a_value_that_reads_as_code():
    """The same in every process: module and name, no address."""
    norm = BlackBox(numpy.linalg.norm, samplewise=True)
    assert repr(norm) == "BlackBox(function=numpy.linalg.norm, samplewise=True)"
    assert eval(repr(norm)) == norm
    held = BlackBox(Threshold(0.25))
    assert eval(repr(held)) == held == copy.deepcopy(held)
    assert hash(eval(repr(held))) == hash(held)
    assert held != BlackBox(Threshold(0.5))
    assert pickle.loads(pickle.dumps(norm)) == norm


def test_functions_without_a_name_are_refused():
    def local(x):
        return listed(x)

    for nameless in (lambda x: listed(x), local, Threshold().method, object(), 3.0):
        with pytest.raises(InputError, match="a function with a name of its own is needed: got"):
            BlackBox(nameless)


def column(x):
    return x.flatten(1)[:, :1]


def scalar(x):
    return x.mean()


def words(x):
    return ["good"] * len(x)


def complexes(x):
    return torch.fft.fft(x.flatten(1))[:, 0]


def ragged(x):
    return [[1.0], [1.0, 2.0]]


def nothing(x):
    return None


@pytest.mark.parametrize("function", [column, scalar, words, complexes, ragged, nothing])
def test_what_is_no_score_is_refused(function):
    with pytest.raises(InputError, match=rf"{function.__name__}.*must return one real number per sample, shape \(5,\): got"):
        BlackBox(function)(X)


def undecided(x):
    return [1.0, float("nan"), 2.0, float("inf"), 3.0]


def test_a_score_that_is_not_a_number_is_named():
    with pytest.raises(NumericalError, match=r"undecided.* gave nan for sample\(s\) \[1, 3\] of 5; nothing was changed"):
        BlackBox(undecided)(X)


def test_wrappers_pass_on_whether_a_gradient_may_be_asked_for():
    plain, black = Quadratic(), BlackBox(spread)
    assert plain.differentiable
    assert not black.differentiable
    for wrap in (lambda r: Scaled(r, 2.0), lambda r: Decades(r, 1.0), lambda r: Given(r, (0,)), lambda r: Sum((plain, r))):
        assert wrap(plain).differentiable
        assert not wrap(black).differentiable
        assert not Scaled(wrap(black), 2.0).differentiable
    assert_close(Scaled(black, 2.0)(X), 2 * spread(X))
