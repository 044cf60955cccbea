import pytest
import torch
from tolerances import assert_close
from toys import Quadratic, normal

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.rewards import Decades, Given, Poisson, Scaled, Sum, balance

GRID = Grid.square(6)
X = normal(5, 2, 6, 6)


def gradient(reward, x):
    x = x.clone().requires_grad_()
    return torch.autograd.grad(reward(x).sum(), x)[0]


def test_scaled_and_sum_are_linear_in_value_and_gradient():
    a, b = Poisson(GRID), Quadratic(1.0)
    both = Sum((Scaled(a, 0.3), Scaled(b, 2.0)))
    assert_close(both(X), 0.3 * a(X) + 2.0 * b(X))
    assert_close(gradient(both, X), 0.3 * gradient(a, X) + 2.0 * gradient(b, X))


@pytest.mark.parametrize("channels", [(0,), (1,), (0, 1)])
def test_given_keeps_the_value_and_stops_exactly_the_given_gradient(channels):
    inner, reward = Poisson(GRID), Given(Poisson(GRID), channels)
    assert torch.equal(reward(X), inner(X))
    assert torch.equal(reward.residuals(X), inner.residuals(X))
    if len(channels) == 2:
        assert torch.equal(gradient(reward, X), torch.zeros_like(X))
    else:
        (free,) = {0, 1} - set(channels)
        assert torch.equal(gradient(reward, X)[:, free], gradient(inner, X)[:, free])
        assert torch.equal(gradient(reward, X)[:, list(channels)], torch.zeros_like(X[:, list(channels)]))


def test_given_frames_get_no_gradient_either():
    inner, reward = Poisson(GRID), Given(Poisson(GRID), frames=2)
    assert torch.equal(reward(X), inner(X))
    assert torch.equal(gradient(reward, X)[:, :, 2:], gradient(inner, X)[:, :, 2:])
    assert not gradient(reward, X)[:, :, :2].any()


def test_decades_count_relative_gains():
    reward = Quadratic(2.0)
    unit = float(-reward(X).mean())
    gained = Decades(reward, unit, epsilon=1e-9)(X)
    assert_close(gained, -torch.log10(1e-9 - reward(X) / unit))
    # Scaling the residual by 10^-1/2 gains one decade, whatever the sample started from.
    tenth = Decades(Scaled(reward, 0.1), unit, epsilon=1e-300)(X) - Decades(reward, unit, epsilon=1e-300)(X)
    assert_close(tenth, torch.ones_like(tenth))


def test_balance_starts_every_term_at_its_own_mean():
    rewards = (Poisson(GRID), Quadratic(2.0))
    both = balance(rewards, X, weights=(1.0, 3.0))
    assert [term.weight for term in both.rewards] == [1.0, 3.0]
    for term, reward in zip(both.rewards, rewards, strict=True):
        assert_close(torch.tensor(term.reward.unit, dtype=torch.float64), -reward(X).mean())


def test_a_perfect_or_a_broken_term_cannot_be_balanced():
    with pytest.raises(InputError, match="got a mean of 0"):
        balance((Poisson(GRID),), 0 * X)
    with pytest.raises(InputError, match="got a mean of nan"):
        balance((Poisson(GRID),), X * float("nan"))


def test_combinations_are_values():
    reward = Sum((Scaled(Poisson(GRID), 2.0), Given(Poisson(GRID, "solution"), (0,))))
    assert eval(repr(reward)) == reward
    assert hash(eval(repr(reward))) == hash(reward)


def test_projection_asks_for_a_residual():
    with pytest.raises(InputError, match="a reward with a residual is needed: got Quadratic"):
        Given(Quadratic(), (0,)).residuals(X)


def test_empty_and_negative_are_refused():
    with pytest.raises(ValueError, match="rewards"):
        Sum(())
    with pytest.raises(ValueError, match="weight"):
        Scaled(Poisson(GRID), -1.0)
