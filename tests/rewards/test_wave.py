import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import fft
from tolerances import TOLERANCE, assert_close, orders
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Dirichlet, laplacian
from pirf.reference import random_fields, wave
from pirf.rewards import Wave
from pirf.testing import check_reward

frames_, points_ = st.integers(2, 7), st.integers(2, 9)
powers = st.integers(-6, 6)
seeds = st.integers(0, 2**32)
FORMS, NORMS = ["semi-discrete", "spectral"], ["l2", "solution"]
RECTANGLE = (9, 12, 0.7, 1.5)  # frames, points, duration, extent


def plane(frames, n, duration=1.0, extent=1.0):
    return Grid((Axis(frames, duration, "nodes"), Axis(n, extent, "cells")))


def truth(frames, n, duration=1.0, extent=1.0, count=4, speed=1.0):
    start = wave.initial_condition(random_fields.white((2, wave.MODES), range(count), 5), n)
    return torch.from_numpy(wave.solve(start, frames, speed, duration, extent))


def frequencies(n, speed=1.0, extent=1.0):
    return 2 * speed * n / extent * np.sin(np.pi * np.arange(1, n + 1) / (2 * n))


def stiffen(u, n, speed=1.0, extent=1.0, power=1.0):
    """Λ^power u, by SciPy's sine transform."""
    modes = frequencies(n, speed, extent) ** power * fft.dst(np.asarray(u), type=2)
    return torch.from_numpy(fft.idst(modes, type=2))


def energy(x, grid, speed=1.0):
    """½ mean(v² − c² u Δu) of every frame."""
    u, v = x.unbind(1)
    return 0.5 * (v.square() - speed**2 * u * laplacian(u, Grid(grid.axes[1:]), Dirichlet(0.0))).mean(2)


def travelling_waves(grid, speed=1.0):
    """u = F(ct + x) − F(ct − x) with F of period 2L."""
    t, x = grid.meshgrid()
    k = math.pi / grid.axes[1].extent

    def f(s):
        return torch.exp(torch.sin(k * s))

    def slope(s):
        return k * torch.cos(k * s) * f(s)

    ahead, back = speed * t + x, speed * t - x
    return torch.stack([f(ahead) - f(back), speed * (slope(ahead) - slope(back))])[None]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(8, 8), (32, 32), (64, 64), (2, 16), (40, 12), (7, 33, 2.5, 0.4)])
def test_reference_solutions_score_round_off_and_nothing_else_does(shape, norm):
    reward, x = Wave(plane(*shape), norm=norm), truth(*shape)
    exact = reward(x)
    assert float(exact.min()) >= -1e-18
    for wrong in (
        x[:, :, :1].expand_as(x),
        torch.cat([x[:, :, :1], 1.01 * x[:, :, 1:]], 2),
        torch.stack([x[:, 0], 1.01 * x[:, 1]], 1),
        torch.cat([x[:, :, :1], x[:, :, 1:] + 1e-3], 2),
        truth(*shape, speed=1.01),
        x + 1e-3 * normal(*x.shape),
    ):
        assert bool((reward(wrong) < 1e6 * exact).all())
        assert bool((reward(wrong) < -1e-10).all())


@given(frames_, points_, st.floats(0.1, 3), seeds)
def test_the_rows_are_the_defect_of_each_step_as_accelerations(frames, n, speed, seed):
    """Each frame evolved by the reference solver for one Δt; u then goes through Λ, by which it is a velocity as v is."""
    grid = plane(frames, n, 0.7, 1.5)
    dt = grid.spacing[0]
    x = normal(2, 2, frames, n, seed=seed)
    before = x[:, :, :-1].movedim(2, 1).numpy()
    after = torch.from_numpy(wave.solve(before, 2, speed, dt, 1.5)[..., 1, :]).movedim(1, 2)
    into_u, into_v = ((x[:, :, 1:] - after) / dt).unbind(1)
    expected = torch.stack([stiffen(into_u, n, speed, 1.5), into_v], 1)
    unit = (1 + frequencies(n, speed, 1.5).max()) * float(x.abs().max()) / dt
    assert_close(Wave(grid, speed).residual(x), expected, unit=unit)


@given(frames_, points_, st.floats(0.1, 3), seeds)
def test_its_mean_square_is_the_energy_of_the_defects(frames, n, speed, seed):
    """Mean r² over both rows = energy density of the defect / Δt², whatever the units of length and time are."""
    grid = plane(frames, n, 0.7, 1.5)
    x = normal(1, 2, frames, n, seed=seed)
    after = torch.from_numpy(wave.solve(x[:, :, :-1].movedim(2, 1).numpy(), 2, speed, grid.spacing[0], 1.5)[..., 1, :])
    density = energy(x[:, :, 1:] - after.movedim(1, 2), grid, speed) / grid.spacing[0] ** 2
    assert_close(-Wave(grid, speed)(x), density.mean(1))


@given(frames_, points_, seeds)
def test_the_residual_bounds_the_error_of_every_frame(frames, n, seed):
    """The propagator preserves energy, so that ‖e^k‖ ≤ Δt Σ_{j<k} ‖r^j‖: no step inflates the defect of another."""
    grid = plane(frames, n)
    x = normal(1, 2, frames, n, seed=seed)
    error = x - torch.from_numpy(wave.solve(x[:, :, 0].numpy(), frames))
    left = (2 * energy(error, grid)).sqrt()[:, 1:]
    rows = grid.spacing[0] * Wave(grid).residual(x).square().sum(1).mean(2).sqrt()
    assert bool((left <= (1 + 1e-9) * rows.cumsum(1)).all())


def test_the_solution_norm_is_the_error_of_every_later_frame():
    grid, x = plane(*RECTANGLE), truth(*RECTANGLE, speed=2.0) + 0.01 * normal(4, 2, *RECTANGLE[:2])
    error = (x - torch.from_numpy(wave.solve(x[:, :, 0].numpy(), 9, 2.0, 0.7, 1.5)))[:, :, 1:]
    reward = Wave(grid, 2.0, norm="solution", scale=(0.5, 4.0))
    unit = float(x.abs().max()) * frequencies(12, 2.0, 1.5).max()
    assert_close(reward.residual(x), error / torch.tensor([0.5, 4.0]).reshape(2, 1, 1), unit=unit)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", NORMS)
def test_order_of_convergence_on_all_rows(form, norm):
    """Second in space, exact in time; with the exact frequencies nothing is left of a smooth exact solution."""
    errors = []
    for n in (32, 64, 128):
        grid = plane(n + 1, n, 1.3, 0.8)
        errors.append(float((-Wave(grid, 1.7, form, norm)(travelling_waves(grid, 1.7))).sqrt()))
    if form == "semi-discrete":
        assert all(abs(found - 2) < 0.1 for found in orders(errors)), orders(errors)
    else:
        assert errors[-1] < 1e-8


@pytest.mark.parametrize("frame", [0, -1])
@pytest.mark.parametrize("channel", [0, 1])
@pytest.mark.parametrize("form", FORMS)
def test_a_checkerboard_on_an_outer_frame_is_seen(frame, channel, form):
    grid, board = plane(8, 16), 1 - 2.0 * (torch.arange(16) % 2).double()
    x = travelling_waves(grid)
    y = x.clone()
    y[:, channel, frame] += 0.05 * board
    reward = Wave(grid, form=form)
    assert bool((reward(y) < reward(x) - 1e-4).all())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", NORMS)
def test_symmetries(form, norm):
    """Reflection in space, time reversal (t, v) → (−t, −v) up to the sign and place of the rows, shifts in time."""
    reward, x = Wave(plane(6, 10), form=form, norm=norm), normal(2, 2, 6, 10)
    r = reward.residual(x)
    assert_close(reward.residual(x.flip(3)), r.flip(3), unit=float(r.abs().max()))
    if norm == "l2":
        assert_close(reward.residual(x.roll(2, 2))[:, :, 2:], r[:, :, :-2], unit=float(r.abs().max()))
        sign = torch.tensor([1.0, -1.0], dtype=torch.float64).reshape(2, 1, 1)
        assert_close(reward(sign * x.flip(2)), reward(x))


@given(st.floats(-1e3, 1e3), seeds)
def test_it_is_linear(factor, seed):
    x, y = Noise(seed)[range(2)].normal((2, 5, 7), torch.float64).split(1)
    for norm in NORMS:
        reward = Wave(plane(5, 7), norm=norm)
        unit = float(reward.residual(x).abs().max() + abs(factor) * reward.residual(y).abs().max())
        assert_close(reward.residual(x + factor * y), reward.residual(x) + factor * reward.residual(y), unit=unit)


@given(frames_, points_, st.lists(st.tuples(powers, powers, powers), min_size=20, max_size=20), seeds)
def test_adjoint(frames, n, magnitudes, seed):
    """|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| ≤ tol(‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖), a thousand magnitudes of (x, v, w) per norm, twenty by twenty."""
    for dtype in TOLERANCE:
        noise = Noise(seed)[range(len(magnitudes))]
        sizes = (10.0 ** torch.tensor(magnitudes, dtype=dtype)).T[..., None, None, None]
        heights = (frames, frames, frames - 1)
        x, v, w = (s * noise.fold(k).normal((2, m, n), dtype) for s, k, m in zip(sizes, "xvw", heights, strict=True))
        for norm in NORMS:
            reward, leaf = Wave(plane(frames, n), norm=norm), x.clone().requires_grad_()
            jv = reward.residual(v).double().flatten(1)  # linear, which is proven above: its own tangent map
            (jtw,) = torch.autograd.grad(reward.residual(leaf), leaf, w)
            a, b, c = (y.double().flatten(1) for y in (jtw, v, w))
            scale = jv.norm(dim=1) * c.norm(dim=1) + b.norm(dim=1) * a.norm(dim=1)
            assert bool((((jv * c).sum(1) - (b * a).sum(1)).abs() <= TOLERANCE[dtype] * scale).all())


@given(frames_, points_, st.floats(0.1, 3), seeds)
def test_the_adjoint_is_the_closed_form(frames, n, speed, seed):
    """λ^k = (μ^{k−1} − R(−Δt) μ^k)/Δt in (Λu, v), out-of-range μ = 0: transposing the propagator turns time around."""
    grid = plane(frames, n, 0.7, 1.3)
    dt = grid.spacing[0]
    x = Noise(seed).fold("x").normal((1, 2, frames, n), torch.float64)[0].requires_grad_()
    w = Noise(seed).fold("w").normal((1, 2, frames - 1, n), torch.float64)[0]
    (gradient,) = torch.autograd.grad(Wave(grid, speed).residual(x), x, w)
    pair = torch.stack([stiffen(w[:, 0], n, speed, 1.3, power=-1.0), w[:, 1]], 1)  # as (u, v), for the reference solver
    back = torch.from_numpy(wave.solve(pair.movedim(2, 1).numpy(), 2, speed, -dt, 1.3)[..., 1, :]).movedim(1, 2)
    edge = torch.zeros(1, 2, 1, n, dtype=torch.float64)
    lam = (torch.cat([edge, pair], 2) - torch.cat([back, edge], 2)) / dt
    closed = torch.stack([stiffen(lam[:, 0], n, speed, 1.3, power=2.0), lam[:, 1]], 1)
    # A hundredth of the unit: 1e-12 relative.
    assert_close(gradient, closed, unit=0.01 * (1 + frequencies(n, speed, 1.3).max()) / dt)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("norm", NORMS)
def test_the_public_contract_holds(form, norm):
    check_reward(Wave(plane(8, 8), form=form, norm=norm), truth(8, 8) + 0.1 * normal(4, 2, 8, 8), cases=3)


def test_it_is_a_frozen_printable_value():
    reward = Wave(plane(8, 6), 0.5, "spectral", "solution", (0.3, 2.0))
    assert eval(repr(reward)) == reward
    assert len({reward, eval(repr(reward)), Wave(plane(8, 6))}) == 2


@pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 2, 7, 8), (1, 2, 8, 9), (2, 8, 8)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        Wave(plane(8, 8)).residual(torch.zeros(shape))


@pytest.mark.parametrize("grid", [Grid.square(8), Grid((Axis(8, 1.0, "cells"),)), Grid(plane(8, 8).axes[::-1])])
def test_other_axes_are_refused(grid):
    with pytest.raises(InputError, match=r"axes \(t, x\): frames at nodes, points at cell centres: got Grid"):
        Wave(grid)


@pytest.mark.parametrize(
    "bad", [{"speed": 0.0}, {"form": "leapfrog"}, {"norm": "l1"}, {"scale": (1.0, 0.0)}, {"scale": (1.0,)}]
)
def test_bad_options_are_refused(bad):
    with pytest.raises(Exception, match=next(iter(bad))):
        Wave(plane(4, 4), **bad)
