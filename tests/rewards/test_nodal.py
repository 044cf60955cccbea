"""Poisson and Helmholtz on nodes with both ends, where imported data stand: inner rows, u/h on the edge."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE, assert_close, orders
from toys import normal

import pirf
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.reference import helmholtz, random_fields
from pirf.rewards import Helmholtz, Poisson

RECTANGLE = Grid((Axis(17, 2.0, "nodes"), Axis(24, 0.5, "nodes")))
GRIDS = pytest.mark.parametrize("grid", [Grid.square(9, layout="nodes"), Grid.square(64, layout="nodes"), RECTANGLE], ids=repr)
NUMBERS = pytest.mark.parametrize("k", [0.0, 1.0, 8.0])
NORMS = pytest.mark.parametrize("norm", ["l2", "solution"])
sizes, powers = st.integers(3, 10), st.integers(-6, 6)
layouts = st.sampled_from(["cells", "nodes"])


def reward(grid, k, norm="l2", scale=1.0):
    return Helmholtz(grid, k, norm, scale) if k else Poisson(grid, norm, scale)


def extents(grid):
    return tuple(axis.extent for axis in grid.axes)


def solved(a, grid, k):
    """(a, u) for right sides ``(count, n, m)``."""
    return torch.from_numpy(np.stack([a, helmholtz.solve_nodal(a, k, extents(grid))], 1))


def truth(grid, k=0.0, count=4):
    return solved(random_fields.white(grid.shape, range(count), seed=5), grid, k)


def on_the_edge(grid):
    """True at the outermost nodes."""
    edge = torch.ones(grid.shape, dtype=torch.bool)
    edge[1:-1, 1:-1] = False
    return edge


def manufactured(grid, k):
    """u = sin(πx/w) sin(2πy/h) eˣ: not an eigenvector, 0 on the edge up to round-off."""
    x, y = grid.meshgrid()
    p, q = math.pi / grid.axes[0].extent, 2 * math.pi / grid.axes[1].extent
    u = torch.sin(p * x) * torch.sin(q * y) * torch.exp(x)
    slope = p * torch.cos(p * x) * torch.sin(q * y) * torch.exp(x)
    return torch.stack([(1 - p**2 - q**2 + k**2) * u + 2 * slope, u])[None]


@GRIDS
@NUMBERS
@NORMS
def test_reference_solutions_score_round_off_and_nothing_else_does(grid, k, norm):
    judge, x = reward(grid, k, norm), truth(grid, k)
    exact = judge(x)
    assert float(exact.min()) >= -1e-20
    a, edge = x[:, 0].numpy(), on_the_edge(grid)
    for wrong in (
        torch.stack([x[:, 0], 0 * x[:, 1]], 1),
        torch.stack([x[:, 0], 1.01 * x[:, 1]], 1),
        torch.from_numpy(np.stack([a, helmholtz.solve_neumann(a, k, extents(grid))], 1)),
        torch.from_numpy(np.stack([a, helmholtz.solve(a, k, extents(grid))], 1)),  # that of cells
        torch.stack([x[:, 0], x[:, 1] + 1e-3], 1),
        torch.stack([x[:, 0], x[:, 1] + 1e-3 * edge], 1),
        torch.stack([x[:, 0], x[:, 1] + 1e-3 * ~edge], 1),
        x + 1e-3 * ~edge * normal(*x.shape),
    ):
        assert bool((judge(wrong) < 1e6 * exact).all())
        assert bool((judge(wrong) < -1e-12).all())


@GRIDS
@NORMS
def test_the_right_side_on_the_edge_does_not_enter(grid, norm):
    x = truth(grid)
    moved = x + on_the_edge(grid) * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert torch.equal(reward(grid, 0.0, norm)(moved), reward(grid, 0.0, norm)(x))


@NORMS
def test_the_edge_rows_are_the_values_in_units_of_the_spacing(norm):
    """u/h in the one norm, u in the other; a corner has the smaller h."""
    x = normal(2, 2, *RECTANGLE.shape)
    r, edge = reward(RECTANGLE, 0.0, norm).residual(x)[:, 0], on_the_edge(RECTANGLE)
    (h, g), u = RECTANGLE.spacing, x[:, 1]
    assert g < h
    unit = float(u.abs().max()) / g
    if norm == "solution":
        assert_close(r[:, edge], u[:, edge], unit=unit)
    else:
        assert_close(r[:, [0, -1], 1:-1], u[:, [0, -1], 1:-1] / h, unit=unit)
        assert_close(r[:, :, [0, -1]], u[:, :, [0, -1]] / g, unit=unit)


@NUMBERS
def test_the_solution_norm_is_the_error_of_the_solution(k):
    """e = u − u*, and the plain residual of (a, u) is that of (0, e) where no edge is wrong."""
    x = truth(RECTANGLE, k)
    wrong = x.clone()
    wrong[:, 1] += 0.01 * ~on_the_edge(RECTANGLE) * normal(*x[:, 1].shape)
    e = reward(RECTANGLE, k, "solution").residual(wrong)
    assert_close(e[:, 0], wrong[:, 1] - x[:, 1], unit=float(x[:, 1].abs().max()))
    plain = reward(RECTANGLE, k).residual
    unit = float(x[:, 1].abs().max()) / min(RECTANGLE.spacing) ** 2
    assert_close(plain(torch.cat([0 * e, e], 1)), plain(wrong), unit=unit)


@NUMBERS
@NORMS
def test_a_manufactured_solution_is_reached_with_order_two(k, norm):
    """On nodes no row has a larger truncation error than the others: the plain residual is of order two as well."""
    errors = []
    for n in (16, 32, 64):
        grid = Grid((Axis(n + 1, 2.0, "nodes"), Axis(n + n // 2 + 1, 0.5, "nodes")))
        errors.append(float(-reward(grid, k, norm)(manufactured(grid, k))) ** 0.5)
    assert abs(orders(errors)[-1] - 2) < 0.1, orders(errors)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@NORMS
def test_adjoint(dtype, norm):
    """|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| ≤ tol(‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖), also where one axis has cells and the other nodes."""

    @settings(max_examples=300)
    @given(sizes, sizes, layouts, layouts, powers, powers, st.sampled_from([0.0, 1.0]), st.integers(0, 2**32))
    def identity(n, m, first, second, left, right, k, seed):
        grid, noise = Grid((Axis(n, 1.0, first), Axis(m, 1.0, second))), Noise(seed)
        judge = reward(grid, k, norm)
        v = (10.0**left * noise.fold("v").normal((2, n, m), dtype)).requires_grad_()
        w = 10.0**right * noise.fold("w").normal((1, n, m), dtype)
        (jtw,) = torch.autograd.grad(judge.residual(v), v, w)
        v = v.detach()
        jv = judge.residual(v)  # linear: its own tangent map
        a, b = float((jv.double() * w.double()).sum()), float((v.double() * jtw.double()).sum())
        unit = float(jv.double().norm() * w.double().norm() + v.double().norm() * jtw.double().norm())
        assert abs(a - b) <= TOLERANCE[dtype] * unit

    identity()


@pytest.mark.parametrize("k", [0.0, 1.0])
def test_its_certificate_passes(k):
    shape = (24, 33)

    def on(n, m):
        return Grid((Axis(n, 1.0, "nodes"), Axis(m, 1.0, "nodes")))

    def exact(n):
        return reward(on(n, n), k), manufactured(on(n, n), k)

    a = random_fields.colour(random_fields.white((40, 40), range(64), 0))[:, : shape[0], : shape[1]]
    certified = pirf.verify(
        reward(on(*shape), k),
        truth=solved(a, on(*shape), k),
        solver=lambda x: solved(x[:, 0].double().numpy(), on(*shape), k),
        exact=exact,
    )
    assert certified.passed, str(certified)


def test_it_keeps_the_contract_of_rewards():
    for norm in ("l2", "solution"):
        pirf.testing.check_reward(Helmholtz(RECTANGLE, norm=norm), normal(3, 2, *RECTANGLE.shape), cases=5)
