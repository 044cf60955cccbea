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
from pirf.reference import gray_scott as gs
from pirf.reference import random_fields
from pirf.rewards import GrayScott
from pirf.rewards.jacobian import adjoint_gap

sides = st.integers(2, 9)
seeds = st.integers(0, 2**32)


def cells(nx, ny):
    return Grid((Axis(nx, nx * gs.SPACING), Axis(ny, ny * gs.SPACING)))


def truth(nx=12, ny=16, count=2):
    return torch.from_numpy(gs.trajectories(random_fields.white((nx, ny), range(count), 3)))[::8]


@pytest.mark.parametrize("shape", [(12, 12), (12, 16), (17, 9)])
def test_reference_solutions_score_round_off_and_nothing_else_does(shape):
    """On squares, oblongs, odd and even numbers of cells."""
    reward, x = GrayScott(cells(*shape)), truth(*shape)
    assert float((-reward(x)).max()) < 1e-30
    for wrong in (
        torch.cat([x[:, :2], x[:, :2]], 1),
        1.01 * x,
        x[:, [0, 1, 3, 2]],
        x + 1e-3,
        torch.cat([x[:, :2], x[:, 2:].flip(2)], 1),
        x + 1e-3 * normal(*x.shape),
    ):
        assert bool((reward(wrong) < -1e-10).all())


def test_the_default_law_is_the_solvers():
    reward = GrayScott(cells(8, 8))
    assert (reward.feed, reward.kill, reward.diffusion) == (gs.FEED, gs.KILL, gs.DIFFUSION)
    assert (reward.interval, reward.substeps) == (gs.INTERVAL, gs.SUBSTEPS)


@given(sides, sides, st.floats(0.1, 30), st.integers(1, 5), st.floats(0, 0.1), st.floats(0, 0.1), seeds)
def test_its_map_is_that_of_the_reference(nx, ny, interval, substeps, feed, kill, seed):
    """On any fields, and with other coefficients."""
    x, diffusion = normal(2, 2, nx, ny, seed=seed), (3e-5, 7e-6)
    ours = GrayScott(cells(nx, ny), feed, kill, diffusion, interval, substeps).flow_map(x)
    theirs = gs.advance(x.numpy(), interval, substeps, feed=feed, kill=kill, diffusion=diffusion)
    assert_close(ours, torch.from_numpy(theirs))


def test_cells_need_not_be_square():
    """A field that is constant along one axis does not feel that axis's spacing."""
    x = torch.rand(2, 4, 8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).expand(2, 4, 8, 6)
    wide = Grid((Axis(8, 8 * gs.SPACING), Axis(6, 1.0)))
    assert_close(GrayScott(wide).residual(x), GrayScott(cells(8, 6)).residual(x))


def test_it_is_of_second_order_in_time():
    first = truth(10, 12)[:1, :2].numpy()
    errors = []
    for n in (1, 2, 4, 8):
        after = gs.advance(first, 8 / n, 64)
        x = torch.from_numpy(first), torch.from_numpy(after)
        errors.append(float((-GrayScott(cells(10, 12), interval=8 / n, substeps=4)(torch.cat(x, 1))).sqrt()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)[1:]), orders(errors)


def test_the_empty_state_scores_exactly_nothing_and_homogeneous_ones_round_off():
    reward = GrayScott(cells(8, 6))
    empty = torch.tensor([1.0, 0, 1, 0], dtype=torch.float64).reshape(1, 4, 1, 1).expand(1, 4, 8, 6)
    assert float(reward(empty)) == 0
    level = torch.tensor([0.7, 0.2], dtype=torch.float64).reshape(1, 2, 1, 1).expand(1, 2, 8, 6)
    assert float(-reward(torch.cat([level, reward.flow_map(level)], 1))) < 1e-30


@settings(max_examples=20)
@given(sides, sides, seeds)
def test_it_commutes_with_the_symmetries_of_the_box(nx, ny, seed):
    x = normal(2, 4, nx, ny, seed=seed)
    r = GrayScott(cells(nx, ny)).residual(x)
    for dims in ([2], [3], [2, 3]):
        assert_close(GrayScott(cells(nx, ny)).residual(x.flip(dims)), r.flip(dims))
    assert_close(GrayScott(cells(ny, nx)).residual(x.transpose(2, 3)), r.transpose(2, 3))


def test_without_feed_and_removal_nothing_is_made_or_lost():
    """∫(u + v) stays under diffusion and reaction, on any field."""
    reward, x = GrayScott(cells(7, 9), 0.0, 0.0), normal(3, 2, 7, 9)
    assert_close(reward.flow_map(x).sum(1).mean((1, 2)), x.sum(1).mean((1, 2)), unit=1.0)


@settings(max_examples=12)
@given(sides, sides, st.integers(1, 4), st.integers(-3, 2), seeds)
def test_adjoint(nx, ny, substeps, size, seed):
    """|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| ≤ tol(‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖): forward mode against the backward pass that runs every step again."""
    reward = GrayScott(cells(nx, ny), substeps=substeps)
    for dtype in TOLERANCE:
        x = 10.0**size * Noise(seed).fold("x")[range(3)].normal((4, nx, ny), dtype)
        assert adjoint_gap(reward, x, Noise(seed)) <= TOLERANCE[dtype]


@settings(max_examples=25)
@given(st.integers(0, 8), seeds)
def test_scores_and_gradients_are_finite_however_wild_the_field(size, seed):
    x = (10.0**size * normal(2, 4, 5, 6, seed=seed)).requires_grad_()
    score = GrayScott(cells(5, 6), substeps=3)(x)
    (gradient,) = torch.autograd.grad(score.sum(), x)
    assert bool(torch.isfinite(score).all())
    assert bool(torch.isfinite(gradient).all())


def test_with_a_graph_the_values_are_those_without():
    reward, x = GrayScott(cells(12, 16)), truth()
    with torch.no_grad():
        plain = reward.residual(x)
    assert torch.equal(reward.residual(x.requires_grad_()).detach(), plain)


def test_it_keeps_the_contract():
    testing.check_reward(GrayScott(cells(6, 8)), truth(6, 8)[:2], cases=3)


def test_samples_do_not_couple():
    reward, x = GrayScott(cells(12, 16)), truth() + 0.1 * normal(4, 4, 12, 16)
    assert_close(reward(x)[2:3], reward(x[2:3]))
    assert_close(reward(x.flip(0)), reward(x).flip(0))


def test_it_is_a_frozen_printable_value():
    reward = GrayScott(cells(8, 6), 0.03, 0.05, (1e-5, 2e-5), 3.0, 2)
    assert eval(repr(reward)) == reward
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reward.feed = 0.0


@pytest.mark.parametrize("shape", [(1, 2, 8, 6), (1, 4, 6, 8), (1, 4, 8, 7), (4, 8, 6)])
def test_foreign_fields_are_refused(shape):
    with pytest.raises(InputError, match="got shape"):
        GrayScott(cells(8, 6)).residual(torch.zeros(shape))


@pytest.mark.parametrize("grid", [Grid.square(8, 1.0, "periodic"), Grid.square(8, 1.0, "nodes"), Grid((Axis(8),))])
def test_other_grids_are_refused(grid):
    with pytest.raises(InputError, match="Gray–Scott needs two axes of cells: got Grid") as refusal:
        GrayScott(grid)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "bad", [{"feed": -0.1}, {"kill": -0.1}, {"diffusion": (1e-5, 0.0)}, {"interval": 0.0}, {"substeps": 0}], ids=repr
)
def test_bad_options_are_refused(bad):
    with pytest.raises(Exception, match=next(iter(bad))):
        GrayScott(cells(4, 4), **bad)
