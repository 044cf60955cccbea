import math
from itertools import pairwise

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Dirichlet, laplacian, solve_dirichlet
from pirf.reference import poisson, random_fields
from pirf.rewards import Poisson

sizes = st.integers(2, 10)
powers = st.integers(-6, 6)


def truth(n, count=4):
    a = random_fields.neumann_field(n, range(count), seed=5)
    return torch.from_numpy(np.stack([a, poisson.solve(a)], 1))


@pytest.mark.parametrize("n", [8, 32, 64])
@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_reference_solutions_score_round_off_and_nothing_else_does(n, norm):
    reward, x = Poisson(Grid.square(n), norm), truth(n)
    exact = reward(x)
    assert float(exact.min()) >= -1e-20
    for wrong in (
        torch.stack([x[:, 0], 0 * x[:, 1]], 1),
        torch.stack([x[:, 0], 1.01 * x[:, 1]], 1),
        torch.stack([x[:, 0], torch.from_numpy(poisson.solve_neumann(x[:, 0].numpy()))], 1),
        torch.stack([x[:, 0], x[:, 1] + 1e-3], 1),
        x + 1e-3 * normal(*x.shape),
    ):
        assert bool((reward(wrong) < 1e6 * exact).all())


@given(sizes, sizes, st.integers(0, 2**32))
def test_the_adjoint_is_the_closed_form(n, m, seed):
    """r = Au − a with A = Aᵀ: (λ_a, λ_u) = (−λ, Aλ); in the solution norm e = u − A⁻¹a: (−A⁻¹λ, λ)/scale."""
    grid = Grid((Axis(n), Axis(m)))
    x = Noise(seed).fold("x").normal((2, n, m), torch.float64).requires_grad_()
    w = Noise(seed).fold("w").normal((1, n, m), torch.float64)
    (plain,) = torch.autograd.grad(Poisson(grid).residual(x), x, w)
    assert_close(plain, torch.cat([-w, laplacian(w, grid, Dirichlet(0.0))], 1))
    (preconditioned,) = torch.autograd.grad(Poisson(grid, "solution", 0.5).residual(x), x, w)
    assert_close(preconditioned, torch.cat([-solve_dirichlet(w, grid), w], 1) / 0.5)


@given(sizes, sizes, st.integers(0, 2**32), powers)
def test_the_gradient_of_the_score_is_the_closed_form(n, m, seed, size):
    """∂(−mean r²)/∂(a, u) = (2r, −2Ar)/rows."""
    grid = Grid((Axis(n), Axis(m)))
    x = (10.0**size * Noise(seed).normal((2, n, m), torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(Poisson(grid)(x).sum(), x)
    r = Poisson(grid).residual(x.detach())
    assert_close(gradient, torch.cat([2 * r, -2 * laplacian(r, grid, Dirichlet(0.0))], 1) / (n * m))


@given(st.floats(-1e3, 1e3), st.integers(0, 2**32))
def test_both_norms_are_linear(factor, seed):
    x, y = Noise(seed)[range(2)].normal((2, 5, 7), torch.float64).split(1)
    for norm in ("l2", "solution"):
        reward = Poisson(Grid((Axis(5), Axis(7))), norm)
        combined = reward.residual(x + factor * y)
        unit = float(reward.residual(x).abs().max() + abs(factor) * reward.residual(y).abs().max())
        assert_close(combined, reward.residual(x) + factor * reward.residual(y), unit=unit)


def test_the_solution_norm_is_the_error_of_the_solution():
    n = 16
    x = truth(n)
    x[:, 1] += 0.01 * normal(4, n, n)
    solved = torch.from_numpy(poisson.solve(x[:, 0].numpy()))
    reward = Poisson(Grid.square(n), "solution", scale=0.25)
    assert_close(reward.residual(x)[:, 0], (x[:, 1] - solved) / 0.25, unit=float(x[:, 1].abs().max()) / 0.25)
    assert_close(reward(x), -((x[:, 1] - solved) / 0.25).square().mean((1, 2)))


def test_samples_do_not_couple():
    reward, x = Poisson(Grid.square(8)), truth(8)
    assert torch.equal(reward(x)[2:3], reward(x[2:3]))
    assert torch.equal(reward(x.flip(0)), reward(x).flip(0))


def test_a_manufactured_solution_is_reached_with_order_two():
    errors = []
    for n in (16, 32, 64):
        x, y = Grid.square(n).meshgrid()
        u = torch.sin(math.pi * x) * torch.sin(2 * math.pi * y)
        error = Poisson(Grid.square(n), "solution")(torch.stack([-5 * math.pi**2 * u, u])[None])
        errors.append(float((-error).sqrt()))
    assert all(abs(math.log2(a / b) - 2) < 0.1 for a, b in pairwise(errors))


def test_it_is_a_frozen_printable_value():
    reward = Poisson(Grid.square(8), norm="solution", scale=0.5)
    assert eval(repr(reward)) == reward
    assert len({reward, eval(repr(reward)), Poisson(Grid.square(8))}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reward.scale = 2.0


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 8, 8), (1, 2, 8, 9)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        Poisson(Grid.square(8))(torch.zeros(shape))


@pytest.mark.parametrize("bad", [{"norm": "l1"}, {"scale": 0.0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(Exception, match=next(iter(bad))):
        Poisson(Grid.square(4), **bad)
