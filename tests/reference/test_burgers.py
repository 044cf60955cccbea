import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from tolerances import assert_close, orders

from pirf.reference import burgers, random_fields


def start(n, count=3, seed=0):
    return burgers.initial_condition(random_fields.white((2, burgers.MODES), range(count), seed), n)


def matrices(n):
    """D and L on the circle, densely."""
    east = np.roll(np.eye(n), 1, axis=1)
    return n * (east - east.T) / 2, n**2 * (east - 2 * np.eye(n) + east.T)


def right_side(n, viscosity=0.01):
    """u_t of the semi-discrete equation, from the matrices."""
    d, laplace = matrices(n)
    return lambda u: -(u * (d @ u) + d @ (u * u)) / 3 + viscosity * laplace @ u


def spectral(u0, times, viscosity=0.01):
    """The exact equation: dealiased Fourier modes of ``u0``, integrated by DOP853 at tight tolerances."""
    n = len(u0)
    k = 2 * np.pi * np.arange(n // 2 + 1)

    def rate(t, y):
        modes = y.view(complex)
        square = np.fft.rfft(np.fft.irfft(modes, n) ** 2)
        square[n // 3 :] = 0
        return (-0.5j * k * square - viscosity * k**2 * modes).view(float)

    path = solve_ivp(rate, (0, 1), np.fft.rfft(u0).view(float), method="DOP853", rtol=1e-9, atol=1e-10, t_eval=times).y
    return np.fft.irfft(np.ascontiguousarray(path.T).view(complex), n)


@pytest.mark.parametrize(("n", "frames"), [(3, 2), (8, 5), (15, 9), (32, 32)])
def test_every_step_is_crank_nicolson(n, frames):
    u = burgers.solve(start(n), frames)
    assert np.array_equal(u[:, 0], start(n))
    rate = np.apply_along_axis(right_side(n), -1, u)
    step = (u[:, 1:] - u[:, :-1]) * (frames - 1)
    assert_close(torch.from_numpy(step), torch.from_numpy((rate[:, 1:] + rate[:, :-1]) / 2))


def test_it_converges_with_order_two_to_an_adaptive_integration_of_the_same_system():
    n, (u0,) = 16, start(16, 1)
    rate = right_side(n)
    exact = solve_ivp(lambda t, u: rate(u), (0, 1), u0, method="DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    errors = [np.abs(burgers.solve(u0, frames)[-1] - exact).max() for frames in (33, 65, 129)]
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


def test_it_converges_with_order_two_to_the_exact_equation():
    """A random sample of the law, against a spectral solution; about one per cent off at n = 32."""
    (u0,) = start(192, 1, seed=3)
    errors = []
    for n in (32, 64):
        exact = spectral(u0, np.linspace(0, 1, n))[:, :: 192 // n]
        errors.append(np.linalg.norm(burgers.solve(exact[0], n) - exact) / np.linalg.norm(exact))
    assert abs(orders(errors)[0] - 2) < 0.1, errors
    assert 1 / 1.5 < errors[0] / 0.014 < 1.5, errors


@given(st.integers(3, 12), st.integers(2, 9), st.floats(0.0, 0.1), st.integers(0, 2**32))
def test_the_mean_stays_and_the_energy_falls(n, frames, viscosity, seed):
    u = torch.from_numpy(burgers.solve(0.3 * random_fields.white((n,), range(2), seed), frames, viscosity))
    mean = u.mean(-1)
    assert_close(mean, mean[:, :1].expand_as(mean), unit=1.0)
    if viscosity == 0.1:
        energy = u.square().mean(-1)
        assert bool((energy[:, 1:] < energy[:, :-1]).all())


def test_symmetries():
    """Translations, and (x, u) → (−x, −u)."""
    u0 = start(12)
    u = burgers.solve(u0, 8)
    assert_close(torch.from_numpy(burgers.solve(np.roll(u0, 5, -1), 8)), torch.from_numpy(np.roll(u, 5, -1)))
    assert_close(torch.from_numpy(burgers.solve(-u0[:, ::-1], 8)), torch.from_numpy(-u[..., ::-1].copy()))


def test_samples_do_not_influence_each_other():
    u0 = start(16, 6)
    u0[4] *= 8  # needs more iterations than the others
    together = burgers.solve(u0, 9)
    assert all(np.array_equal(burgers.solve(u0[i : i + 1], 9)[0], together[i]) for i in range(6))
    assert np.array_equal(burgers.solve(u0.reshape(2, 3, 16), 9).reshape(6, 9, 16), together)


def test_what_newton_cannot_reach_is_nan_from_there_on():
    u0 = start(16, 3)
    wild = u0.copy()
    wild[1] = 100 * random_fields.white((16,), [0], 0)
    u = burgers.solve(wild, 6)
    assert np.array_equal(u[[0, 2]], burgers.solve(u0, 6)[[0, 2]])
    assert np.isnan(u[1, -1]).all()
    assert np.array_equal(u[1, 0], wild[1])


def test_constants_stay():
    u0 = np.full((1, 8), 0.7)
    assert_close(torch.from_numpy(burgers.solve(u0, 5)), 0.7)
    assert not burgers.solve(np.zeros((1, 8)), 5).any()


def test_the_initial_law_is_the_formula():
    """λ_1 = √2·49·(4π² + 49)^(−5/4), the pointwise deviation is √Σλ², and a mode is where its name says."""
    spectrum = burgers.initial_spectrum()
    assert_close(torch.tensor(spectrum[0]), np.sqrt(2) * 49 * (4 * np.pi**2 + 49) ** -1.25)
    assert abs(np.sqrt((spectrum**2).sum()) - 0.274) < 5e-4
    noise = np.zeros((2, burgers.MODES))
    noise[0, 1], noise[1, 0] = 2.0, -1.0
    x = np.arange(8) / 8
    expected = 2 * spectrum[1] * np.cos(4 * np.pi * x) - spectrum[0] * np.sin(2 * np.pi * x)
    assert_close(torch.from_numpy(burgers.initial_condition(noise, 8)), torch.from_numpy(expected))


def test_a_sample_is_one_function_on_every_grid():
    assert_close(torch.from_numpy(start(24)[:, ::3]), torch.from_numpy(start(8)))
