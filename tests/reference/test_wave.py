import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from tolerances import assert_close, orders

from pirf.reference import random_fields, wave


def start(n, count=3, seed=0):
    return wave.initial_condition(random_fields.white((2, wave.MODES), range(count), seed), n)


def generator(n, speed, extent, corner=-3.0):
    """A of d/dt (u, v) = A (u, v), densely; ``corner`` on the diagonal beside a face: −3 odd ghost, −1 even."""
    laplace = np.eye(n, k=1) - 2 * np.eye(n) + np.eye(n, k=-1)
    laplace[0, 0] = laplace[-1, -1] = corner
    return np.block([[np.zeros((n, n)), np.eye(n)], [(speed * n / extent) ** 2 * laplace, np.zeros((n, n))]])


@pytest.mark.parametrize(("solve", "corner"), [(wave.solve, -3.0), (wave.solve_free, -1.0)])
@pytest.mark.parametrize(
    ("n", "frames", "speed", "duration", "extent"), [(2, 2, 1, 1, 1), (12, 5, 0.7, -1.5, 2), (7, 4, 2, 3, 0.5)]
)
def test_every_frame_is_the_matrix_exponential(solve, corner, n, frames, speed, duration, extent):
    first = random_fields.white((2, n), range(3), seed=1)
    w = solve(first, frames, speed, duration, extent)
    assert np.array_equal(w[:, :, 0], first)
    for k, time in enumerate(np.linspace(0, duration, frames)):
        exact = first.reshape(3, -1) @ expm(time * generator(n, speed, extent, corner)).T
        assert_close(torch.from_numpy(w[:, :, k].reshape(3, -1)), torch.from_numpy(exact))


def test_an_adaptive_integration_agrees():
    (first,) = start(16, 1)
    matrix = generator(16, 1.0, 1.0)
    path = solve_ivp(lambda t, w: matrix @ w, (0, 1), first.ravel(), method="DOP853", rtol=1e-12, atol=1e-13, t_eval=[0.5, 1.0])
    w = wave.solve(first, 3)[:, 1:].swapaxes(0, 1).reshape(2, -1)
    assert_close(torch.from_numpy(w), torch.from_numpy(path.y.T.copy()))


def test_it_converges_with_order_two_to_d_alembert():
    """u = F(t + x) − F(t − x) with F of period 2 is zero at both ends and bounces for ever."""

    def f(s):
        return np.exp(np.sin(np.pi * s) + 0.5 * np.cos(2 * np.pi * s))

    def slope(s):
        return np.pi * (np.cos(np.pi * s) - np.sin(2 * np.pi * s)) * f(s)

    errors = []
    for n in (64, 128, 256):
        x, t = (np.arange(n) + 0.5) / n, np.linspace(0, 1.7, 6)[:, None]
        exact = np.stack([f(t + x) - f(t - x), slope(t + x) - slope(t - x)])
        errors.append(np.sqrt(((wave.solve(exact[:, 0], 6, duration=1.7) - exact) ** 2).mean()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


def test_after_one_unit_of_time_every_wave_has_been_reflected_once():
    """The exact u(1, x) is −u(0, 1 − x): smooth fields arrive there with order two."""
    errors = []
    for n in (64, 128):
        first = wave.initial_condition(random_fields.white((2, wave.MODES), range(1), 0), n, alpha=10.0)[0]
        errors.append(np.abs(wave.solve(first, 2)[:, 1] + first[:, ::-1]).max())
    assert abs(orders(errors)[0] - 2) < 0.1, errors


@given(st.integers(2, 12), st.integers(2, 6), st.floats(0.1, 3), st.floats(-3, 3), st.integers(0, 2**32))
def test_energy_is_conserved_and_time_runs_both_ways(n, frames, speed, duration, seed):
    first = random_fields.white((2, n), range(2), seed)
    w = wave.solve(first, frames, speed, duration)
    u, v = w.swapaxes(0, 1)
    edges = np.concatenate([2 * u[..., :1], np.diff(u), -2 * u[..., -1:]], -1) * n  # u = 0 is half a cell away
    weights = np.r_[0.5, np.ones(n - 1), 0.5]
    energy = torch.from_numpy((v**2).sum(-1) + speed**2 * (weights * edges**2).sum(-1))
    assert_close(energy, energy[:, :1].expand_as(energy))
    back = wave.solve(w[:, :, -1], frames, speed, -duration)[:, :, ::-1]
    assert_close(torch.from_numpy(back.copy()), torch.from_numpy(w), unit=float(np.abs(w).max()) * (1 + 2 * speed * n))


def test_a_standing_wave_keeps_its_shape():
    n, k = 10, 3
    x = (np.arange(n) + 0.5) / n
    sine = np.sin(np.pi * k * x)
    omega = 2 * n * np.sin(np.pi * k / (2 * n))
    t = np.linspace(0, 1, 5)[:, None]
    exact = np.stack([np.cos(omega * t) * sine, -omega * np.sin(omega * t) * sine])
    assert_close(torch.from_numpy(wave.solve(exact[:, 0], 5)), torch.from_numpy(exact))


def test_between_free_ends_a_push_never_ends():
    first = np.stack([np.zeros(6), np.full(6, 0.5)])
    assert_close(torch.from_numpy(wave.solve_free(first, 3)[0]), torch.tensor([[0.0], [0.25], [0.5]]).double().expand(3, 6))


def test_samples_do_not_influence_each_other():
    first = start(16, 6)
    together = wave.solve(first, 9)
    assert all(np.array_equal(wave.solve(first[i : i + 1], 9)[0], together[i]) for i in range(6))
    assert np.array_equal(wave.solve(first.reshape(2, 3, 2, 16), 9).reshape(6, 2, 9, 16), together)


def test_the_initial_law_is_the_formula():
    """λ_1 = √2·7^{5/2}(π² + 49)^{−3/2}, v carries πck more, and a mode is where its name says."""
    spectrum = wave.initial_spectrum()
    assert_close(torch.tensor(spectrum[0]), np.sqrt(2) * 7**2.5 * (np.pi**2 + 49) ** -1.5)
    noise = np.zeros((2, wave.MODES))
    noise[0, 1], noise[1, 2] = 2.0, -1.0
    x = (np.arange(8) + 0.5) / 8
    expected = [2 * spectrum[1] * np.sin(2 * np.pi * x), -spectrum[2] * 3 * np.pi * 0.5 * np.sin(3 * np.pi * x)]
    assert_close(torch.from_numpy(wave.initial_condition(noise, 8, speed=0.5)), torch.tensor(np.array(expected)))


def test_a_sample_is_one_function_on_every_grid():
    assert_close(torch.from_numpy(start(24)[..., 1::3]), torch.from_numpy(start(8)))


def test_the_law_is_the_same_at_all_times():
    """Mode k of u keeps the variance λ_k², up to the dispersion of the grid: (πk/ω_k)² − 1 ≤ (πk/n)²/11."""
    n, k = 64, np.arange(1, 9)
    noise = np.eye(2 * wave.MODES).reshape(-1, 2, wave.MODES)
    x = (np.arange(n) + 0.5) / n
    u = wave.solve(wave.initial_condition(noise, n), 7)[:, 0]
    variances = ((u @ (2 / n * np.sin(np.pi * np.outer(x, k)))) ** 2).sum(0)
    assert (np.abs(variances / wave.initial_spectrum()[:8] ** 2 - 1) <= (np.pi * k / n) ** 2 / 11).all()
