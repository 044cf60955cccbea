import attrs
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE, assert_close, orders
from toys import normal

from pirf import testing
from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.reference import kuramoto_sivashinsky as ks
from pirf.reference import random_fields
from pirf.rewards import KuramotoSivashinsky
from pirf.rewards.jacobian import adjoint_gap

seeds = st.integers(0, 2**32)


def plane(frames, n, interval=1.0, length=22.0):
    return Grid((Axis(frames, interval * (frames - 1), "nodes"), Axis(n, length, "periodic")))


def truth(frames=6, n=24, count=3, substeps=4, interval=1.0):
    u0 = ks.attractor(random_fields.white((n,), range(count), 5), 22.0, 30.0)
    return torch.from_numpy(ks.frames(u0, 22.0, interval, frames - 1, substeps))[:, None]


@pytest.mark.parametrize(("frames", "n"), [(6, 24), (2, 32), (9, 20)])
def test_reference_solutions_score_round_off_and_nothing_else_does(frames, n):
    reward, x = KuramotoSivashinsky(plane(frames, n)), truth(frames, n)
    assert float((-reward(x)).max()) < 1e-25
    for wrong in (
        x[:, :, :1].expand_as(x),
        1.01 * x,
        x + 1e-3,
        x.roll(1, 2),
        torch.cat([x[:, :, :1], x[:, :, 1:] + 1e-3], 2),
        x + 1e-3 * normal(*x.shape),
    ):
        assert bool((reward(wrong) < -1e-7).all())


@given(st.integers(2, 5), st.integers(3, 12).map(lambda n: 2 * n), st.floats(0.1, 1.5), st.integers(1, 5), seeds)
def test_its_map_is_that_of_the_reference(frames, n, interval, substeps, seed):
    """On any fields, resolved or not."""
    x = normal(2, 1, frames, n, seed=seed)
    ours = KuramotoSivashinsky(plane(frames, n, interval), substeps).flow_map(x)
    assert_close(ours, torch.from_numpy(ks.frames(x.numpy(), 22.0, interval, 1, substeps)[..., 1, :]))


def test_it_is_of_fourth_order_on_a_wave_that_a_mean_flow_carries():
    u0 = 40 + 0.01 * torch.cos(2 * torch.pi * torch.arange(24, dtype=torch.float64) / 24)
    errors = []
    for n in (32, 64, 128):
        x = torch.from_numpy(ks.frames(u0.numpy(), 22.0, 1 / n, 3, 64))[None, None]
        errors.append(float((-KuramotoSivashinsky(plane(4, 24), 4, 1 / n)(x)).sqrt()))
    assert all(abs(order - 4) < 0.1 for order in orders(errors)), orders(errors)


def test_the_interval_is_the_spacing_in_time_unless_it_is_said():
    x = truth(4, 24, interval=0.5)
    assert float((-KuramotoSivashinsky(plane(4, 24, 0.5))(x)).max()) < 1e-25
    assert float((-KuramotoSivashinsky(plane(4, 24), interval=0.5)(x)).max()) < 1e-25
    assert float((-KuramotoSivashinsky(plane(4, 24))(x)).min()) > 1e-5


@pytest.mark.parametrize("frame", [0, -1])
def test_what_is_added_to_an_outer_frame_is_seen(frame):
    """Checkerboards on the last one; on the first, which is given, whatever the equation does not forget within a frame."""
    reward, x = KuramotoSivashinsky(plane(6, 24)), truth()
    board = 1 - 2.0 * (torch.arange(24) % 2).double()
    wave = torch.cos(2 * torch.pi * 3 * torch.arange(24).double() / 24)
    for bump in (board, normal(24)) if frame else (wave, normal(24)):
        y = x.clone()
        y[:, :, frame] += 0.02 * bump
        assert bool((reward(y) < -1e-6).all())


@given(st.integers(0, 23), seeds)
def test_it_commutes_with_translation_and_reflection(shift, seed):
    reward, x = KuramotoSivashinsky(plane(4, 24)), normal(2, 1, 4, 24, seed=seed)
    r = reward.residual(x)
    assert_close(reward.residual(x.roll(shift, 3)), r.roll(shift, 3))
    assert_close(reward.residual(-x.flip(3)), -r.flip(3))


@given(st.integers(2, 6), seeds)
def test_the_mean_of_the_residual_is_the_change_of_the_mean(frames, seed):
    x = normal(2, 1, frames, 16, seed=seed)
    drift = x.mean(3)[:, :, 1:] - x.mean(3)[:, :, :-1]
    assert_close(KuramotoSivashinsky(plane(frames, 16)).residual(x).mean(3), drift, unit=1.0)


def test_a_field_of_one_level_solves_it():
    x = torch.full((1, 1, 4, 8), 1.7, dtype=torch.float64)
    assert_close(KuramotoSivashinsky(plane(4, 8)).residual(x), 0.0, unit=1.0)


@settings(max_examples=12)
@given(st.integers(2, 5), st.integers(3, 10).map(lambda n: 2 * n), st.integers(1, 4), st.integers(-4, 0), seeds)
def test_adjoint(frames, n, substeps, size, seed):
    """|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| ≤ tol(‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖): forward mode against the backward pass that runs every step again."""
    reward = KuramotoSivashinsky(plane(frames, n), substeps)
    for dtype in TOLERANCE:
        x = 10.0**size * Noise(seed).fold("x")[range(4)].normal((1, frames, n), dtype)
        assert adjoint_gap(reward, x, Noise(seed)) <= TOLERANCE[dtype]


def test_with_a_graph_the_values_are_those_without():
    reward, x = KuramotoSivashinsky(plane(6, 24)), truth()
    with torch.no_grad():
        plain = reward.residual(x)
    assert torch.equal(reward.residual(x.requires_grad_()).detach(), plain)


def test_fields_of_five_times_the_amplitude_have_finite_scores():
    reward, x = KuramotoSivashinsky(plane(6, 24)), truth()
    for wild in (5 * x, 6 * normal(3, 1, 6, 24)):
        assert bool(torch.isfinite(reward(wild)).all())


def test_it_keeps_the_contract():
    testing.check_reward(KuramotoSivashinsky(plane(5, 24)), truth(5, 24), cases=3)


def test_samples_do_not_couple():
    reward, x = KuramotoSivashinsky(plane(6, 24)), truth() + 0.1 * normal(3, 1, 6, 24)
    assert_close(reward(x)[2:3], reward(x[2:3]))
    assert_close(reward(x.flip(0)), reward(x).flip(0))


def test_it_is_a_frozen_printable_value():
    reward = KuramotoSivashinsky(plane(8, 6), 2, 0.5)
    assert eval(repr(reward)) == reward
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reward.substeps = 3


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 1, 7, 8), (1, 1, 8, 10), (1, 8, 8)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        KuramotoSivashinsky(plane(8, 8)).residual(torch.zeros(shape))


@pytest.mark.parametrize("grid", [Grid.square(8), Grid((Axis(8, 1.0, "periodic"),)), Grid(plane(8, 8).axes[::-1])])
def test_other_axes_are_refused(grid):
    with pytest.raises(InputError, match=r"axes \(t, x\): frames at nodes, periodic points: got Grid") as refusal:
        KuramotoSivashinsky(grid)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("bad", [{"substeps": 0}, {"interval": 0.0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(Exception, match=next(iter(bad))):
        KuramotoSivashinsky(plane(4, 4), **bad)
