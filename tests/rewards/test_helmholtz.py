import math

import attrs
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tolerances import assert_close, orders
from toys import normal

import pirf
from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Dirichlet, laplacian, solve_dirichlet
from pirf.operators.transforms import dirichlet_spectrum
from pirf.reference import helmholtz, poisson, random_fields
from pirf.rewards import Helmholtz, Poisson

sizes = st.integers(2, 10)
powers = st.integers(-6, 6)
numbers = st.floats(0, 12)
WIDE = torch.zeros((), dtype=torch.float64)
RECTANGLE = Grid((Axis(16, 2.0), Axis(24, 0.5)))


def truth(grid, k=1.0, count=4):
    a = random_fields.white(grid.shape, range(count), seed=5)
    return torch.from_numpy(np.stack([a, helmholtz.solve(a, k, tuple(axis.extent for axis in grid.axes))], 1))


def distance(grid, k):
    """Relative distance of k² from the nearest resonance."""
    spectrum = dirichlet_spectrum(grid, WIDE)
    return float((1 + k**2 / spectrum).abs().min())


@pytest.mark.parametrize("grid", [Grid.square(8), Grid.square(64), RECTANGLE], ids=repr)
@pytest.mark.parametrize("k", [1.0, 8.0])
@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_reference_solutions_score_round_off_and_nothing_else_does(grid, k, norm):
    reward, x = Helmholtz(grid, k, norm), truth(grid, k)
    exact = reward(x)
    assert float(exact.min()) >= -1e-20
    a = x[:, 0].numpy()
    extent = tuple(axis.extent for axis in grid.axes)
    for wrong in (
        torch.stack([x[:, 0], 0 * x[:, 1]], 1),
        torch.stack([x[:, 0], 1.01 * x[:, 1]], 1),
        torch.from_numpy(np.stack([a, helmholtz.solve_neumann(a, k, extent)], 1)),
        torch.from_numpy(np.stack([a, poisson.solve(a, extent)], 1)),
        torch.stack([x[:, 0], x[:, 1] + 1e-3], 1),
        x + 1e-3 * normal(*x.shape),
    ):
        assert bool((reward(wrong) < 1e6 * exact).all())


@given(sizes, sizes, numbers, st.integers(0, 2**32))
def test_the_adjoint_is_the_closed_form_to_twelve_digits(n, m, k, seed):
    """r = Au − a with A = Δ + k² = Aᵀ: (λ_a, λ_u) = (−λ, Aλ); in the solution norm (−A⁻¹λ, λ)/scale."""
    grid = Grid((Axis(n), Axis(m)))
    assume(distance(grid, k) > 1e-2)
    x = Noise(seed).fold("x").normal((2, n, m), torch.float64).requires_grad_()
    w = Noise(seed).fold("w").normal((1, n, m), torch.float64)
    for reward, expected in (
        (Helmholtz(grid, k), torch.cat([-w, laplacian(w, grid, Dirichlet(0.0)) + k**2 * w], 1)),
        (Helmholtz(grid, k, "solution", 0.5), torch.cat([-solve_dirichlet(w, grid, k**2), w], 1) / 0.5),
    ):
        (ours,) = torch.autograd.grad(reward.residual(x), x, w)
        assert_close(ours, expected, unit=0.01 * float(expected.abs().max()))


@given(sizes, sizes, numbers, st.integers(0, 2**32), powers)
def test_the_gradient_of_the_score_is_the_closed_form(n, m, k, seed, size):
    """∂(−mean r²)/∂(a, u) = (2r, −2Ar)/rows."""
    grid = Grid((Axis(n), Axis(m)))
    assume(distance(grid, k) > 1e-2)
    x = (10.0**size * Noise(seed).normal((2, n, m), torch.float64)).requires_grad_()
    (gradient,) = torch.autograd.grad(Helmholtz(grid, k)(x).sum(), x)
    r = Helmholtz(grid, k).residual(x.detach())
    assert_close(gradient, torch.cat([2 * r, -2 * (laplacian(r, grid, Dirichlet(0.0)) + k**2 * r)], 1) / (n * m))


@given(st.floats(-1e3, 1e3), st.integers(0, 2**32))
def test_both_norms_are_linear(factor, seed):
    x, y = Noise(seed)[range(2)].normal((2, 5, 7), torch.float64).split(1)
    for norm in ("l2", "solution"):
        reward = Helmholtz(Grid((Axis(5), Axis(7))), 6.0, norm)
        combined = reward.residual(x + factor * y)
        unit = float(reward.residual(x).abs().max() + abs(factor) * reward.residual(y).abs().max())
        assert_close(combined, reward.residual(x) + factor * reward.residual(y), unit=unit)


@pytest.mark.parametrize("k", [1.0, 8.0])
def test_the_solution_norm_is_the_error_of_the_solution(k):
    x = truth(RECTANGLE, k)
    x[:, 1] += 0.01 * normal(*x[:, 1].shape)
    error = x[:, 1] - torch.from_numpy(helmholtz.solve(x[:, 0].numpy(), k, (2.0, 0.5)))
    reward = Helmholtz(RECTANGLE, k, "solution", scale=0.25)
    assert_close(reward.residual(x)[:, 0], error / 0.25, unit=float(x[:, 1].abs().max()) / 0.25)
    # A⁻¹ of the plain residual is that error.
    assert_close(solve_dirichlet(Helmholtz(RECTANGLE, k).residual(x), RECTANGLE, k**2)[:, 0], error, unit=float(x.abs().max()))


@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_without_a_wave_number_it_is_poisson(norm):
    x = normal(3, 2, 16, 24)
    assert torch.equal(Helmholtz(RECTANGLE, 0.0, norm, 0.5)(x), Poisson(RECTANGLE, norm, 0.5)(x))


@pytest.mark.parametrize("mode", [(0, 0), (0, 1), (7, 3), (15, 23)])
def test_a_resonance_is_refused_in_one_line_and_its_neighbourhood_is_not(mode):
    square = -float(dirichlet_spectrum(RECTANGLE, WIDE)[mode])
    for near in (1.0, 1 - 5e-7, 1 + 5e-7):
        with pytest.raises(InputError, match=r"got k=.* on the eigenvalue .* singular, .* Try k=") as refused:
            Helmholtz(RECTANGLE, math.sqrt(near * square))
        assert len(str(refused.value).splitlines()) == 1
    for beside in (1 - 1e-5, 1 + 1e-5):
        Helmholtz(RECTANGLE, math.sqrt(beside * square))


def test_a_resonant_operator_has_a_kernel_and_a_neighbour_has_none():
    """Why it is refused: the mode itself would score 0."""
    grid = Grid.square(8)
    square = -float(dirichlet_spectrum(grid, WIDE)[1, 2])
    x, y = grid.meshgrid()
    mode = torch.sin(2 * torch.pi * x) * torch.sin(3 * torch.pi * y)
    fields = torch.stack([0 * mode, mode])[None]
    shifts = torch.tensor([1e-5, 1e-4, 1e-3], dtype=torch.float64)
    sizes = [float(Helmholtz(grid, math.sqrt((1 + s) * square)).residual(fields).norm()) for s in shifts.tolist()]
    assert_close(torch.tensor(sizes, dtype=torch.float64), shifts * square * mode.norm(), unit=1e3)


@pytest.mark.parametrize("k", [1.0, 8.0])
def test_a_manufactured_solution_is_reached_with_order_two(k):
    errors = []
    for n in (16, 32, 64):
        grid = Grid((Axis(n), Axis(n + n // 2)))
        x, y = grid.meshgrid()
        u = torch.sin(math.pi * x) * torch.sin(2 * math.pi * y)
        error = Helmholtz(grid, k, "solution")(torch.stack([(k**2 - 5 * math.pi**2) * u, u])[None])
        errors.append(float((-error).sqrt()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


def test_it_keeps_the_contract_of_rewards():
    pirf.testing.check_reward(Helmholtz(RECTANGLE), truth(RECTANGLE))


def test_samples_do_not_couple():
    reward, x = Helmholtz(RECTANGLE), truth(RECTANGLE)
    assert torch.equal(reward(x)[2:3], reward(x[2:3]))
    assert torch.equal(reward(x.flip(0)), reward(x).flip(0))


def test_it_is_a_frozen_printable_value():
    reward = Helmholtz(Grid.square(8), 2.0, norm="solution", scale=0.5)
    assert eval(repr(reward)) == reward
    assert len({reward, eval(repr(reward)), Helmholtz(Grid.square(8))}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reward.k = 1.0


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 8, 8), (1, 2, 8, 9)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        Helmholtz(Grid.square(8))(torch.zeros(shape))


@pytest.mark.parametrize("bad", [{"norm": "l1"}, {"scale": 0.0}, {"k": -1.0}, {"k": math.nan}, {"k": math.inf}])
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError, match="wave number" if "k" in bad else next(iter(bad))):
        Helmholtz(Grid.square(4), **bad)
