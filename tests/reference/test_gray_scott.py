import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from tolerances import assert_close, orders

from pirf.reference import gray_scott as gs
from pirf.reference import random_fields


def state(shape=(6, 5), count=1, age=32.0):
    seeds = gs.seeds(random_fields.white(shape, range(count), 3), radius=1.0)
    return gs.advance(seeds, age, 32)


def by_definition(x, feed, kill):
    """The right side, from neighbours cell by cell; a wall's neighbour is the cell itself."""
    u, v = x
    laplace = np.zeros_like(x)
    for axis in (1, 2):
        for step in (-1, 1):
            moved = np.roll(x, step, axis)
            edge = [slice(None)] * 3
            edge[axis] = 0 if step == 1 else -1
            moved[tuple(edge)] = x[tuple(edge)]
            laplace += (moved - x) / gs.SPACING**2
    return np.stack([
        gs.DIFFUSION[0] * laplace[0] - u * v**2 + feed * (1 - u),
        gs.DIFFUSION[1] * laplace[1] + u * v**2 - (feed + kill) * v,
    ])  # fmt: skip


@pytest.mark.parametrize("shape", [(6, 6), (5, 8)])
def test_it_converges_with_order_two_to_an_adaptive_integration_of_the_equation(shape):
    (x,) = state(shape)

    def rate(_, y):
        return by_definition(y.reshape(x.shape), gs.FEED, gs.KILL).ravel()

    found = solve_ivp(rate, (0, 16), x.ravel(), "DOP853", rtol=1e-11, atol=1e-12).y[:, -1].reshape(x.shape)
    errors = [np.abs(gs.advance(x, 16.0, steps) - found).max() for steps in (16, 32, 64, 128)]
    assert all(abs(order - 2) < 0.1 for order in orders(errors)[1:]), orders(errors)
    assert errors[0] < 0.05 * np.abs(found - x).max()


def test_the_reaction_alone_approaches_its_equation_with_order_three():
    """u' = −uv², v' = uv² in one cell, by Simpson's rule in the exponent; u + v stays to the last digit."""
    start = np.array([0.9, 0.3])

    def rate(_, y):
        return y[0] * y[1] ** 2 * np.array([-1, 1])

    found = solve_ivp(rate, (0, 8), start, "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    errors = []
    for steps in (16, 32, 64, 128):
        x = gs.advance(np.tile(start[:, None, None], (1, 3, 3)), 8.0, steps, feed=0.0, kill=0.0)
        assert_close(torch.from_numpy(x.sum(0)), 1.2)
        errors.append(np.abs(x[:, 1, 1] - found).max())
    assert abs(orders(errors)[-1] - 3) < 0.1, orders(errors)


def test_without_the_reaction_every_cosine_decays_at_its_own_rate():
    """Exactly, in one step as in many; feed pulls u towards 1."""
    i, j = np.meshgrid(np.arange(6) + 0.5, np.arange(9) + 0.5, indexing="ij")
    wave = np.cos(np.pi * 2 * i / 6) * np.cos(np.pi * 3 * j / 9)
    rate = -4 / gs.SPACING**2 * (np.sin(np.pi * 2 / 12) ** 2 + np.sin(np.pi * 3 / 18) ** 2)
    x = np.stack([0.5 + wave, 0.2 + wave])
    decay = [np.exp(7 * (d * rate - loss)) for d, loss in zip(gs.DIFFUSION, (0.04, 0.1), strict=True)]
    expected = np.stack([1 - 0.5 * np.exp(-0.28) + decay[0] * wave, 0.2 * np.exp(-0.7) + decay[1] * wave])
    for steps in (1, 5):
        found = gs.advance(x, 7.0, steps, feed=0.04, kill=0.06, reaction=0.0)
        assert_close(torch.from_numpy(found), torch.from_numpy(expected))


def test_the_empty_state_is_at_rest_exactly():
    x = np.stack([np.ones((5, 7)), np.zeros((5, 7))])
    assert np.array_equal(gs.advance(x), x)


@given(st.integers(-3, 4), st.floats(0.1, 50.0), st.integers(0, 2**32))
def test_concentrations_stay_positive_and_bounded_however_wild(size, step, seed):
    x = 10.0**size * np.abs(random_fields.white((2, 4, 5), range(2), seed))
    out = gs.advance(x, 3 * step, 3)
    round_off = 1e-12 * max(1.0, float(x.max()))
    assert out.min() > -round_off
    assert out.sum(1).max() < 4 * max(1.0, float(x.sum(1).max()))
    assert np.isfinite(gs.advance(-x, 3 * step, 3)).all()


def test_it_commutes_with_the_symmetries_of_the_square():
    x = state((6, 6), 2)
    for move in (lambda f: f[..., ::-1, :], lambda f: f[..., ::-1], lambda f: np.swapaxes(f, -1, -2)):
        assert_close(torch.from_numpy(gs.advance(move(x).copy())), torch.from_numpy(move(gs.advance(x)).copy()))


def test_homogeneous_states_stay_homogeneous():
    x = np.tile(np.array([0.6, 0.3])[:, None, None], (1, 4, 6))
    out = gs.advance(x)
    assert np.abs(out - out[:, :1, :1]).max() < 1e-14
    assert np.abs(out - x).max() > 1e-3


def test_seeds_are_seeds():
    """Between the empty state and (½, ¼), on a third to a half of the square, whatever the noise's size."""
    noise = random_fields.white((16, 20), range(20), 1)
    u, v = np.moveaxis(gs.seeds(noise), 1, 0)
    assert_close(torch.from_numpy(2 * (1 - u)), torch.from_numpy(4 * v))
    assert v.min() >= 0
    assert v.max() <= 0.25
    assert 0.25 < (v > 0.125).mean() < 0.5
    assert_close(torch.from_numpy(gs.seeds(7.0 * noise + 2.0)), torch.from_numpy(gs.seeds(noise)))


def test_pairs_are_frames_of_one_trajectory_and_no_pattern_dies():
    noise = random_fields.white((16, 16), range(20), 9)
    x = gs.trajectories(noise).reshape(20, gs.PER_TRAJECTORY, 2, 2, 16, 16)
    assert_close(torch.from_numpy(x[:, 1:, 0]), torch.from_numpy(x[:, :-1, 1]))
    assert_close(torch.from_numpy(x[:, 0, 0]), torch.from_numpy(gs.advance(gs.seeds(noise), 64.0, 64)))
    after = gs.advance(x[:, :, 0].reshape(-1, 2, 16, 16))
    assert_close(torch.from_numpy(x[:, :, 1].reshape(after.shape)), torch.from_numpy(after))
    assert x[:, -1, 1, 1].reshape(20, -1).max(1).min() > 0.1


def test_a_trajectory_does_not_depend_on_its_company(monkeypatch):
    noise = random_fields.white((16, 16), range(5), 9)
    whole = gs.trajectories(noise)
    assert np.array_equal(gs.trajectories(noise[2:4]), whole[2 * gs.PER_TRAJECTORY : 4 * gs.PER_TRAJECTORY])
    monkeypatch.setattr(gs, "_TOGETHER", 1)
    assert np.array_equal(gs.trajectories(noise), whole)
