import attrs
import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from tolerances import assert_close, orders
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.operators import Dirichlet, Neumann, Periodic, flux_divergence, solve_flux_divergence
from pirf.reference import darcy, random_fields
from pirf.rewards import CornerWells, Darcy
from pirf.rewards.jacobian import sensitivity
from pirf.testing import check_reward

sizes = st.integers(2, 8)
powers = st.integers(-6, 6)


def walls(n, count=4):
    a = darcy.two_phase(random_fields.neumann_field(n, range(count), seed=5))
    return Darcy(Grid.square(n)), torch.from_numpy(np.stack([a, darcy.solve(a)], 1))


def box(n, count=4):
    a = darcy.lognormal(random_fields.white((64,), range(count), 5), n)
    reward = Darcy(Grid.square(n), Neumann(0.0), CornerWells(), least=1e-3)
    return reward, torch.from_numpy(np.stack([a, darcy.solve_neumann(a, darcy.corner_wells(n))], 1))


CASES = pytest.mark.parametrize("case", [walls, box])


@CASES
@pytest.mark.parametrize("n", [8, 32])
@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_reference_solutions_score_round_off_and_nothing_else_does(case, n, norm):
    reward, x = case(n)
    reward = attrs.evolve(reward, norm=norm)
    exact = reward(x)
    assert float(exact.min()) >= -1e-20
    unit = float(x[:, 1].std())
    for wrong in (
        torch.stack([x[:, 0], 0 * x[:, 1]], 1),
        torch.stack([x[:, 0], 1.01 * x[:, 1]], 1),
        torch.stack([x[:, 0], x[:, 1] + 1e-3 * unit], 1),
        torch.stack([x[:, 0].roll(1, 0), x[:, 1]], 1),
        x + 1e-3 * unit * normal(*x.shape),
    ):
        assert bool((reward(wrong) < 1e6 * exact).all())


@CASES
def test_a_constant_pressure_is_not_free(case):
    """p + c changes the rows at the walls, or every row by c."""
    reward, x = case(16)
    shifted = x + torch.tensor([0.0, 0.1]).reshape(1, 2, 1, 1)
    change = reward.residual(shifted) - reward.residual(x)
    if isinstance(reward.boundary, Neumann):
        assert_close(change, 0.1, unit=float(x[:, 0].max()) * 16**2 * 0.1)  # of the terms that cancel
    else:
        assert float(change[..., 1:-1, 1:-1].abs().max()) < 1e-10
        assert float(change[..., 0, :].min()) > 1
    assert bool((reward(shifted) < -1e-3).all())


@CASES
def test_the_contract_of_rewards(case):
    reward, x = case(8, count=2)
    check_reward(reward, x, cases=2)
    check_reward(attrs.evolve(reward, norm="solution", scale=float(x[:, 1].std())), x, cases=2)


@CASES
def test_the_gradient_of_the_solution_norm_is_one_more_solve(case):
    """E = A⁻¹r: λ_p = λ and λ_a = ∂_a⟨A⁻¹λ, A(a)(p − e)⟩, where p − e is the exact solution for a."""
    reward, x = case(8)
    x = (x + 0.1 * x[:, 1:].std() * normal(*x.shape)).requires_grad_()
    reward = attrs.evolve(reward, norm="solution")
    w = normal(*x[:, 1:].shape, seed=1)
    (gradient,) = torch.autograd.grad(reward.residual(x), x, w)
    a = reward.permeability(x[:, :1]).detach().requires_grad_()
    solved = x[:, 1:].detach() - reward.residual(x).detach()
    mu = solve_flux_divergence(a.detach(), w, reward.grid, reward.boundary)
    (into_a,) = torch.autograd.grad(flux_divergence(a, solved, reward.grid, reward.boundary), a, mu)
    assert_close(gradient[:, 1:], w)
    assert_close(gradient[:, :1], into_a)


@CASES
def test_the_solution_norm_is_the_error_of_the_solution(case):
    reward, x = case(16)
    spoiled = x.clone()
    spoiled[:, 1] += 0.01 * normal(4, 16, 16)
    reward = attrs.evolve(reward, norm="solution", scale=0.25)
    assert_close(reward.residual(spoiled)[:, 0], (spoiled - x)[:, 1] / 0.25)


@CASES
@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_float32_is_close_to_float64(case, norm):
    """The floor: what rounding of the fields costs, far below anything a network reaches."""
    reward, x = case(32)
    zero = x * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    reward = attrs.evolve(reward, norm=norm)
    assert float((reward(x.float()).double() / reward(zero)).max()) < 1e-7


def test_below_its_bound_a_permeability_counts_as_the_bound():
    reward, x = walls(8)
    low = x.clone()
    low[:, 0, 2, 2] = -4.0
    bound = x.clone()
    bound[:, 0, 2, 2] = reward.least
    assert torch.equal(reward.residual(low), reward.residual(bound))
    assert bool(torch.isfinite(attrs.evolve(reward, norm="solution").residual(low)).all())


def test_levels_are_read_exactly_and_pass_the_gradient_straight_through():
    reward, x = walls(8)
    sharp = attrs.evolve(reward, levels=(3.0, 12.0))
    noisy = x + torch.tensor([0.5, 0.0]).reshape(1, 2, 1, 1) * normal(*x.shape)
    assert torch.equal(sharp.residual(noisy), sharp.residual(x))
    assert torch.equal(sharp.permeability(noisy[:, :1]), x[:, :1])
    leaves = [f.clone().requires_grad_() for f in (noisy, x)]
    w = normal(*x[:, 1:].shape)
    passed = torch.autograd.grad(sharp.residual(leaves[0]), leaves[0], w)[0]
    assert torch.equal(passed, torch.autograd.grad(reward.residual(leaves[1]), leaves[1], w)[0])
    assert sensitivity(sharp, noisy, 0)[1] > 0


@CASES
def test_the_manufactured_case_converges_with_order_two(case):
    """The problem's own; here as a figure of the solution, on three grids."""
    from pirf.problems import darcy as two_phase
    from pirf.problems import darcy_lognormal

    problem = {walls: two_phase, box: darcy_lognormal}[case](8)
    errors = []
    for n in (16, 32, 64):
        grid = Grid.square(n)
        reward = attrs.evolve(problem.solution_norm, grid=grid, **problem.manufactured_options)
        errors.append(float((-reward(problem.manufactured(grid))).sqrt()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


def test_oblong_grids_and_boundary_values():
    """A wall pressure of 2 shifts the solution by 2."""
    grid = Grid((Axis(6, 1.0), Axis(10, 2.0)))
    a, f = (1 + normal(1, 1, 6, 10).square(), torch.ones(1, 1, 6, 10, dtype=torch.float64))
    p = solve_flux_divergence(a, f, grid, Dirichlet(0.0))
    for value in (0.0, 2.0):
        x = torch.cat([a, p + value], 1)
        assert float(Darcy(grid, Dirichlet(value)).residual(x).abs().max()) < 1e-10
        assert float(Darcy(grid, Dirichlet(value), norm="solution").residual(x).abs().max()) < 1e-10


def test_it_is_a_frozen_printable_value():
    reward = Darcy(Grid.square(8), Neumann(0.0), CornerWells(), norm="solution", scale=0.5, levels=(3.0, 12.0))
    assert eval(repr(reward)) == reward
    assert len({reward, eval(repr(reward)), Darcy(Grid.square(8))}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reward.scale = 2.0


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 3, 8, 8), (1, 2, 8, 9)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        Darcy(Grid.square(8))(torch.zeros(shape))


@pytest.mark.parametrize("bad", [{"norm": "l1"}, {"scale": 0.0}, {"least": 0.0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(Exception, match=next(iter(bad))):
        Darcy(Grid.square(4), **bad)


def test_levels_in_the_wrong_order_are_refused():
    with pytest.raises(InputError, match="the lower one first: got"):
        Darcy(Grid.square(4), levels=(12.0, 3.0))


def test_a_boundary_without_a_value_or_a_flux_is_refused():
    with pytest.raises(InputError, match="a pressure or a flux: got Periodic"):
        Darcy(Grid.square(4), boundary=Periodic())
