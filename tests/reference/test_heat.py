import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matrices import five_point
from scipy.integrate import solve_ivp
from scipy.sparse.linalg import expm_multiply
from tolerances import assert_close, orders

from pirf.reference import heat, random_fields

SOLVERS = [(heat.solve, -1.0), (heat.solve_cold, -3.0)]


@pytest.mark.parametrize(("solve", "corner"), SOLVERS)
@pytest.mark.parametrize(("shape", "extent"), [((8, 8), (1.0, 1.0)), ((6, 11), (2.0, 0.5)), ((2, 5), (1.0, 3.0))])
@pytest.mark.parametrize("diffusivity", [0.01, 0.3])
def test_it_is_the_exponential_of_the_five_point_matrix(solve, corner, shape, extent, diffusivity):
    u0 = random_fields.white(shape, range(3), seed=3)
    matrix = 0.7 * diffusivity * five_point(shape, np.divide(extent, shape), corner)
    exact = expm_multiply(matrix, u0.reshape(3, -1).T).T.reshape(u0.shape)
    assert_close(torch.from_numpy(solve(u0, diffusivity, 0.7, extent)), torch.from_numpy(exact))


def test_an_adaptive_integration_agrees():
    u0 = random_fields.neumann_field(8, [0])[0]
    matrix = 0.01 * five_point((8, 8), (1 / 8, 1 / 8), -1.0)
    path = solve_ivp(lambda t, u: matrix @ u, (0, 1), u0.ravel(), method="DOP853", rtol=1e-12, atol=1e-14)
    assert_close(torch.from_numpy(heat.solve(u0)), torch.from_numpy(path.y[:, -1].reshape(8, 8).copy()))


def test_it_converges_with_order_two_to_the_exact_equation():
    """Cosines of a rectangle, and the sine that the cold walls allow; cells of unequal sides."""
    errors: dict[str, list[float]] = {"insulated": [], "cold": []}
    for n in (16, 32, 64):
        x, y = np.meshgrid((np.arange(n) + 0.5) / n * 2, (np.arange(n + n // 2) + 0.5) / (n + n // 2), indexing="ij")
        rate = np.pi**2 * (1 / 4 + 4) * 0.02
        for name, solve, wave in (("insulated", heat.solve, np.cos), ("cold", heat.solve_cold, np.sin)):
            u0 = wave(np.pi * x / 2) * wave(2 * np.pi * y)
            errors[name].append(np.abs(solve(u0, 0.02, 1.5, (2.0, 1.0)) - np.exp(-1.5 * rate) * u0).max())
    assert all(abs(order - 2) < 0.1 for line in errors.values() for order in orders(line)), errors


@given(st.integers(2, 9), st.integers(2, 9), st.floats(0, 0.2), st.integers(0, 2**32))
def test_it_averages(n, m, diffusivity, seed):
    """The mean stays, no extreme is exceeded, the spread falls, and two short times are a long one."""
    u0 = random_fields.white((n, m), range(3), seed)
    u1 = heat.solve(u0, diffusivity)
    assert_close(torch.from_numpy(u1.mean((1, 2))), torch.from_numpy(u0.mean((1, 2))), unit=1.0)
    slack = 1e-14 * np.abs(u0).max()
    assert (u1.max((1, 2)) <= u0.max((1, 2)) + slack).all()
    assert (u1.min((1, 2)) >= u0.min((1, 2)) - slack).all()
    assert (u1.std((1, 2)) <= u0.std((1, 2)) + slack).all()
    assert_close(
        torch.from_numpy(heat.solve(heat.solve(u0, diffusivity, 0.3), diffusivity, 0.7)), torch.from_numpy(u1), unit=1.0
    )


def test_cold_walls_let_heat_out():
    u0 = np.ones((1, 8, 8))
    assert_close(torch.from_numpy(heat.solve(u0)), 1.0)
    assert heat.solve_cold(u0).mean() < 0.8


def test_in_the_end_the_mean_is_left():
    u0 = random_fields.white((5, 7), range(2), seed=0)
    assert_close(torch.from_numpy(heat.solve(u0, 100.0) - u0.mean((1, 2), keepdims=True)), 0.0, unit=1.0)


def test_the_initial_law_is_a_random_field_and_a_random_mean():
    noise = random_fields.white((6, 6), range(4), seed=2)
    u0 = heat.initial_condition(noise)
    assert_close(torch.from_numpy(u0.mean((1, 2))), torch.from_numpy(0.25 * noise[:, 0, 0]))
    around = u0 - u0.mean((1, 2), keepdims=True)
    assert_close(torch.from_numpy(around), torch.from_numpy(random_fields.neumann_field(6, range(4), seed=2)))


def test_leading_dimensions_are_batches():
    u0 = random_fields.white((6, 8), range(4), seed=0)
    for solve, _ in SOLVERS:
        together = solve(u0)
        assert all(np.array_equal(solve(u0[i : i + 1])[0], together[i]) for i in range(4))
        assert np.array_equal(solve(u0.reshape(2, 2, 6, 8)).reshape(4, 6, 8), together)
