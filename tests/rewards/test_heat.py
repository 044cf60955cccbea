import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import TOLERANCE, assert_close, orders
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.reference import heat, random_fields
from pirf.rewards import Heat
from pirf.testing import check_reward

sizes = st.integers(2, 10)
powers = st.integers(-6, 6)
seeds = st.integers(0, 2**32)
rates = st.floats(1e-4, 0.1)
RECTANGLE = Grid((Axis(16, 2.0), Axis(24, 0.5)))


def truth(grid, diffusivity=0.01, duration=1.0, count=4):
    u0 = random_fields.white(grid.shape, range(count), seed=5)
    return torch.from_numpy(np.stack([u0, heat.solve(u0, diffusivity, duration, tuple(a.extent for a in grid.axes))], 1))


@pytest.mark.parametrize("grid", [Grid.square(8), Grid.square(64), RECTANGLE], ids=repr)
@pytest.mark.parametrize(("diffusivity", "duration"), [(0.01, 1.0), (0.1, 0.02)])
def test_reference_solutions_score_round_off_and_nothing_else_does(grid, diffusivity, duration):
    reward, x = Heat(grid, diffusivity, duration), truth(grid, diffusivity, duration)
    exact = reward(x)
    assert float(exact.min()) >= -1e-28
    u0, extent = x[:, 0].numpy(), tuple(axis.extent for axis in grid.axes)
    for wrong in (
        torch.stack([x[:, 0], 0 * x[:, 1]], 1),
        torch.stack([x[:, 0], x[:, 0]], 1),
        torch.stack([x[:, 0], 1.01 * x[:, 1]], 1),
        torch.stack([x[:, 0], x[:, 1] + 1e-3], 1),
        torch.from_numpy(np.stack([u0, heat.solve_cold(u0, diffusivity, duration, extent)], 1)),
        truth(grid, 1.01 * diffusivity, duration),
        x + 1e-3 * normal(*x.shape),
    ):
        assert bool((reward(wrong) < 1e6 * exact).all())


@given(sizes, sizes, rates, seeds)
def test_the_residual_is_the_error_in_u1(n, m, diffusivity, seed):
    grid = Grid((Axis(n, 1.5), Axis(m, 0.5)))
    x = normal(2, 2, n, m, seed=seed)
    error = x[:, 1] - torch.from_numpy(heat.solve(x[:, 0].numpy(), diffusivity, 0.7, (1.5, 0.5)))
    assert_close(Heat(grid, diffusivity, 0.7).residual(x)[:, 0], error, unit=1.0)


@given(sizes, sizes, rates, seeds)
def test_errors_are_not_amplified(n, m, diffusivity, seed):
    """‖Jv‖ ≤ ‖v₀‖ + ‖v₁‖ for all v, with equality for constants of opposite sign: the conditioning of a contraction."""
    reward, x = Heat(Grid((Axis(n), Axis(m))), diffusivity), normal(1, 2, n, m, seed=seed)
    assert float(reward.residual(x).norm()) <= (1 + 1e-12) * float(x[:, 0].norm() + x[:, 1].norm())
    step = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1).expand(1, 2, n, m)
    assert_close(reward.residual(step), -2.0)


def test_the_equation_solved_for_u0_would_be_useless():
    """Its worst amplification is e^{κT(4/h² + 4/h²) sin²(π(n−1)/2n)}: float32 rounding of u1 would drown u0 by decades."""
    x = truth(Grid.square(32))
    grain = torch.from_numpy(heat.solve((x[:, 1].float().double() - x[:, 1]).numpy(), -0.01))
    assert float(grain.std() / x[:, 0].std()) > 1e6
    assert float(-Heat(Grid.square(32))(torch.stack([x[:, 0], x[:, 1].float().double()], 1)).min()) < 1e-12


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_order_two_on_all_rows_of_boxes_of_any_dimension(axes):
    errors = []
    for n in (8, 16, 32):
        grid = Grid(tuple(Axis(n + d * n // 2, 1.0 + 0.5 * d) for d in range(axes)))
        mode, rate = torch.ones((), dtype=torch.float64), 0.0
        for d, points in enumerate(grid.meshgrid()):
            k = math.pi * (1 + d) / grid.axes[d].extent
            mode, rate = mode * torch.cos(k * points), rate + k**2
        x = torch.stack([0.2 + mode, 0.2 + math.exp(-0.03 * rate) * mode])[None]
        errors.append(float((-Heat(grid, 0.02, 1.5)(x)).sqrt()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


@given(sizes, sizes, seeds)
def test_the_mean_of_the_residual_is_the_change_of_the_mean(n, m, seed):
    """Nothing passes the walls, so that a residual cannot hide a leak."""
    x = normal(2, 2, n, m, seed=seed)
    leak = x[:, 1].mean((1, 2)) - x[:, 0].mean((1, 2))
    assert_close(Heat(Grid((Axis(n), Axis(m)))).residual(x).mean((1, 2, 3)), leak, unit=1.0)


def test_symmetries():
    """Reflections of either axis, and their exchange on a square."""
    reward, x = Heat(Grid.square(7)), normal(2, 2, 7, 7)
    r = reward.residual(x)
    for turned, rows in ((x.flip(2), r.flip(2)), (x.flip(3), r.flip(3)), (x.transpose(2, 3), r.transpose(2, 3))):
        assert_close(reward.residual(turned), rows)


@given(st.floats(-1e3, 1e3), seeds)
def test_it_is_linear(factor, seed):
    x, y = Noise(seed)[range(2)].normal((2, 5, 7), torch.float64).split(1)
    reward = Heat(Grid((Axis(5), Axis(7))))
    unit = float(reward.residual(x).abs().max() + abs(factor) * reward.residual(y).abs().max())
    assert_close(reward.residual(x + factor * y), reward.residual(x) + factor * reward.residual(y), unit=unit)


@given(sizes, sizes, st.lists(st.tuples(powers, powers, powers), min_size=20, max_size=20), seeds)
def test_adjoint(n, m, magnitudes, seed):
    """|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| ≤ tol(‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖), a thousand magnitudes of (x, v, w), twenty by twenty."""
    reward = Heat(Grid((Axis(n), Axis(m))))
    for dtype in TOLERANCE:
        noise = Noise(seed)[range(len(magnitudes))]
        sizes = (10.0 ** torch.tensor(magnitudes, dtype=dtype)).T[..., None, None, None]
        x, v, w = (s * noise.fold(k).normal((c, n, m), dtype) for s, k, c in zip(sizes, "xvw", (2, 2, 1), strict=True))
        leaf = x.clone().requires_grad_()
        jv = reward.residual(v).double().flatten(1)  # linear, which is proven above: its own tangent map
        (jtw,) = torch.autograd.grad(reward.residual(leaf), leaf, w)
        a, b, c = (y.double().flatten(1) for y in (jtw, v, w))
        scale = jv.norm(dim=1) * c.norm(dim=1) + b.norm(dim=1) * a.norm(dim=1)
        assert bool((((jv * c).sum(1) - (b * a).sum(1)).abs() <= TOLERANCE[dtype] * scale).all())


@given(sizes, sizes, rates, seeds)
def test_the_adjoint_is_the_closed_form(n, m, diffusivity, seed):
    """(λ_u0, λ_u1) = (−e^{κTΔ}λ, λ): the propagator is symmetric, so that its transpose is one more evolution."""
    x = Noise(seed).fold("x").normal((2, n, m), torch.float64).requires_grad_()
    w = Noise(seed).fold("w").normal((1, n, m), torch.float64)
    (ours,) = torch.autograd.grad(Heat(Grid((Axis(n), Axis(m))), diffusivity).residual(x), x, w)
    expected = torch.cat([-torch.from_numpy(heat.solve(w.numpy(), diffusivity)), w], 1)
    assert_close(ours, expected, unit=0.01 * float(expected.abs().max()))  # 1e-12 relative


def test_the_public_contract_holds():
    check_reward(Heat(RECTANGLE), truth(RECTANGLE) + 0.1 * normal(4, 2, 16, 24), cases=5)


def test_it_is_a_frozen_printable_value():
    reward = Heat(RECTANGLE, 0.02, 0.5)
    assert eval(repr(reward)) == reward
    assert len({reward, eval(repr(reward)), Heat(RECTANGLE)}) == 2


@pytest.mark.parametrize("shape", [(1, 1, 16, 24), (1, 2, 24, 16), (1, 2, 16), (2, 16, 24)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        Heat(RECTANGLE).residual(torch.zeros(shape))


def test_nodes_are_refused():
    with pytest.raises(InputError, match="Heat works on cells: got layouts nodes, nodes"):
        Heat(Grid.square(8, layout="nodes"))


@pytest.mark.parametrize("bad", [{"diffusivity": 0.0}, {"duration": -1.0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Heat(RECTANGLE, **bad)
