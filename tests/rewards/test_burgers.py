import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, orders
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Periodic, central_difference, laplacian
from pirf.reference import burgers, random_fields
from pirf.rewards import Burgers
from pirf.testing import check_reward

frames_, points_ = st.integers(2, 7), st.integers(3, 9)
powers = st.integers(-6, 6)
seeds = st.integers(0, 2**32)
FORMS = ["crank-nicolson", "map"]


def plane(frames, n, duration=1.0, extent=1.0):
    return Grid((Axis(frames, duration, "nodes"), Axis(n, extent, "periodic")))


def truth(frames, n, count=4, viscosity=0.01):
    u0 = burgers.initial_condition(random_fields.white((2, burgers.MODES), range(count), 5), n)
    return torch.from_numpy(burgers.solve(u0, frames, viscosity))[:, None]


def travelling_wave(grid, viscosity=0.01, speed=0.5):
    """c − 2ν φ_x/φ (Cole and Hopf), φ = 1 + ½ e^{−νκ²t} cos κ(x − ct)."""
    t, x = grid.meshgrid()
    kappa = 2 * math.pi / grid.axes[1].extent
    angle, decay = kappa * (x - speed * t), 0.5 * torch.exp(-viscosity * kappa**2 * t)
    return (speed + 2 * viscosity * kappa * decay * torch.sin(angle) / (1 + decay * torch.cos(angle)))[None, None]


@pytest.mark.parametrize(("frames", "n"), [(8, 8), (32, 32), (64, 64), (2, 16), (40, 12), (7, 33)])
def test_reference_solutions_score_round_off_and_nothing_else_does(frames, n):
    reward, x = Burgers(plane(frames, n)), truth(frames, n)
    exact = reward(x)
    assert float(exact.min()) >= -1e-20
    for wrong in (
        x[:, :, :1].expand_as(x),
        1.01 * x,
        torch.cat([x[:, :, :1], x[:, :, 1:] + 1e-3], 2),
        truth(frames, n, viscosity=0.011),
        x.roll(1, 2),
        x + 1e-3 * normal(*x.shape),
    ):
        assert bool((reward(wrong) < 1e4 * exact).all())
        assert bool((reward(wrong) < -1e-10).all())


@pytest.mark.parametrize("frame", [0, -1])
@pytest.mark.parametrize("form", FORMS)
def test_a_checkerboard_and_noise_on_an_outer_frame_are_seen(frame, form):
    reward, x = Burgers(plane(16, 16), form=form), truth(16, 16)
    board = 1 - 2.0 * (torch.arange(16) % 2).double()
    for bump in (board, normal(16)):
        y = x.clone()
        y[:, :, frame] += 0.02 * bump
        assert bool((reward(y) < reward(x) - 1e-4).all())
    both = (board[:, None] * board)[None, None]
    assert bool((reward(x + 0.02 * both) < reward(x) - 1e-2).all())


@pytest.mark.parametrize(("form", "order"), [("crank-nicolson", 2), ("map", 4)])
@pytest.mark.parametrize("shape", [(1, 1, 1.0, 1.0), (2, 1, 2.0, 1.0), (1, 2, 0.5, 2.0)])
def test_order_of_convergence_on_all_rows(form, order, shape):
    slow, fine, duration, extent = shape
    errors, steps = [], (48, 96)
    for n in steps:
        grid = plane(slow * n + 1, fine * n, duration, extent)
        errors.append(float((-Burgers(grid, 0.01, form)(travelling_wave(grid))).sqrt()))
    assert all(abs(found - order) < 0.1 for found in orders(errors)), orders(errors)


def test_the_map_judges_data_of_the_exact_equation():
    """Frames of an analytic solution: in the map's equations, a thousandth of the trapezium's mean square is left."""
    x = travelling_wave(plane(21, 64), viscosity=0.02)
    trapezium, step = (float(-Burgers(plane(21, 64), 0.02, form)(x)) for form in FORMS)
    assert step < 1e-3 * trapezium


@pytest.mark.parametrize("form", FORMS)
def test_it_commutes_with_translation_and_reflection(form):
    reward, x = Burgers(plane(6, 10), form=form), normal(2, 1, 6, 10)
    r = reward.residual(x)
    assert_close(reward.residual(x.roll(3, 3)), r.roll(3, 3))
    assert_close(reward.residual(-x.flip(3)), -r.flip(3))


@given(frames_, points_, seeds)
def test_the_mean_of_the_residual_is_the_change_of_the_mean(frames, n, seed):
    """Both terms in space conserve Σu, so that a residual cannot hide a drift."""
    x = normal(2, 1, frames, n, seed=seed)
    drift = (x.mean(3)[:, :, 1:] - x.mean(3)[:, :, :-1]) * (frames - 1)
    unit = float(x.abs().max()) ** 2 * n * frames
    for form in FORMS:
        assert_close(Burgers(plane(frames, n), form=form).residual(x).mean(3), drift, unit=unit)


@given(st.floats(-1e3, 1e3))
def test_constants_solve_it(level):
    x = torch.full((1, 1, 5, 6), level, dtype=torch.float64)
    for form in FORMS:
        assert_close(Burgers(plane(5, 6), form=form).residual(x), 0.0, unit=max(abs(level), level**2, 1.0))


@given(frames_, points_, st.floats(1e-4, 1.0), st.integers(-3, 3), seeds)
def test_the_adjoint_is_the_closed_form(frames, n, viscosity, size, seed):
    """λ_u^k = (λ^{k−1} − λ^k)/Δt + F′(u^k)ᵀ½(λ^{k−1} + λ^k), out-of-range λ = 0; F′ᵀμ = ⅓(μDu − D(uμ) − 2uDμ) − νLμ."""
    grid = plane(frames, n, 0.7, 1.3)
    circle = Grid(grid.axes[1:])
    x = (10.0**size * Noise(seed).fold("x").normal((1, frames, n), torch.float64)).requires_grad_()
    w = Noise(seed).fold("w").normal((1, frames - 1, n), torch.float64)
    (gradient,) = torch.autograd.grad(Burgers(grid, viscosity).residual(x), x, w)
    edge = torch.zeros_like(w[:, 0, :1])
    before, after = torch.cat([edge, w[:, 0]], 1), torch.cat([w[:, 0], edge], 1)
    u, mu = x.detach()[:, 0], 0.5 * (before + after)
    bent = mu * central_difference(u, circle) - central_difference(u * mu, circle) - 2 * u * central_difference(mu, circle)
    closed = (before - after) / grid.spacing[0] + bent / 3 - viscosity * laplacian(mu, circle, Periodic())
    # A hundredth of the unit: 1e-12 relative.  The terms cancel, so the unit is their size.
    unit = 1 / grid.spacing[0] + float(u.abs().max()) / grid.spacing[1] + viscosity / grid.spacing[1] ** 2
    assert_close(gradient[:, 0], closed, unit=0.01 * unit)


@pytest.mark.parametrize("form", FORMS)
def test_the_public_contract_holds_even_on_exact_solutions(form):
    for example in (truth(8, 8), truth(8, 8) + 0.1 * normal(4, 1, 8, 8)):
        check_reward(Burgers(plane(8, 8), form=form), example, cases=3)


def test_samples_do_not_couple():
    for form in FORMS:
        reward, x = Burgers(plane(8, 8), form=form), truth(8, 8) + 0.1 * normal(4, 1, 8, 8)
        assert_close(reward(x)[2:3], reward(x[2:3]))
        assert_close(reward(x.flip(0)), reward(x).flip(0))


def test_it_is_a_frozen_printable_value():
    reward = Burgers(plane(8, 6), 0.02, "map")
    assert eval(repr(reward)) == reward
    assert len({reward, eval(repr(reward)), Burgers(plane(8, 6))}) == 2


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 1, 7, 8), (1, 1, 8, 9), (1, 8, 8)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        Burgers(plane(8, 8)).residual(torch.zeros(shape))


@pytest.mark.parametrize("grid", [Grid.square(8), Grid((Axis(8, 1.0, "periodic"),)), Grid(plane(8, 8).axes[::-1])])
def test_other_axes_are_refused(grid):
    with pytest.raises(InputError, match=r"axes \(t, x\): frames at nodes, periodic points: got Grid"):
        Burgers(grid)


@pytest.mark.parametrize("bad", [{"viscosity": 0.0}, {"form": "upwind"}])
def test_bad_options_are_refused(bad):
    with pytest.raises(Exception, match=next(iter(bad))):
        Burgers(plane(4, 4), **bad)
