import numpy as np
import pytest
import scipy.sparse as sp
import torch
from matrices import five_point
from scipy.sparse.linalg import spsolve
from tolerances import assert_close, orders

from pirf.reference import helmholtz, poisson, random_fields

SHAPES = [((24, 24), (1.0, 1.0)), ((16, 24), (2.0, 0.5))]
SOLVERS = [(helmholtz.solve, -3.0), (helmholtz.solve_neumann, -1.0), (helmholtz.solve_nodal, -2.0)]
# Definite, and far above the first eigenvalue: 2π² on the unit square.
WAVE_NUMBERS = [1.0, 4.0, 8.0]


@pytest.mark.parametrize(("solve", "corner"), SOLVERS)
@pytest.mark.parametrize(("shape", "extent"), SHAPES)
@pytest.mark.parametrize("k", WAVE_NUMBERS)
def test_it_agrees_with_a_sparse_direct_solve(solve, corner, shape, extent, k):
    a = random_fields.white(shape, range(2), seed=3)
    nodal = solve is helmholtz.solve_nodal
    inside = tuple(n - 2 for n in shape) if nodal else shape
    matrix = five_point(inside, np.divide(extent, np.subtract(shape, nodal)), corner) + k**2 * sp.eye(np.prod(inside))
    cut = (slice(1, -1),) * 2 if nodal else (slice(None),) * 2
    direct = np.zeros_like(a)
    for u, f in zip(direct, a, strict=True):
        u[cut] = spsolve(matrix.tocsc(), f[cut].ravel()).reshape(inside)
    assert_close(torch.from_numpy(solve(a, k, extent)), torch.from_numpy(direct))


def test_without_a_wave_number_it_is_poisson():
    a = random_fields.white((6, 9), range(3), seed=0)
    for ours, theirs in (
        (helmholtz.solve, poisson.solve),
        (helmholtz.solve_neumann, poisson.solve_neumann),
        (helmholtz.solve_nodal, poisson.solve_nodal),
    ):
        assert np.array_equal(ours(a, 0.0), theirs(a))


@pytest.mark.parametrize("k", WAVE_NUMBERS)
@pytest.mark.parametrize("nodal", [False, True])
def test_the_solution_converges_with_order_two_to_an_analytic_one(k, nodal):
    """On [0, 2] × [0, 1] with cells of unequal sides."""
    errors = []
    for n in (32, 64, 128):
        shape = (n + nodal, n + n // 2 + nodal)
        x, y = np.meshgrid(*((np.arange(m) + 0.5 * (not nodal)) / (m - nodal) for m in shape), indexing="ij")
        u = np.sin(np.pi * x) * np.sin(3 * np.pi * y)
        solve = helmholtz.solve_nodal if nodal else helmholtz.solve
        error = solve((k**2 - 9.25 * np.pi**2) * u[None], k, (2.0, 1.0))[0] - u
        errors.append(np.sqrt((error**2).mean()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


@pytest.mark.parametrize(("solve", "kind"), [(helmholtz.solve, "dirichlet"), (helmholtz.solve_nodal, "nodal")])
@pytest.mark.parametrize("mode", [0, 5, -1])
def test_a_resonance_is_refused_and_its_neighbourhood_is_not(solve, kind, mode):
    a, extent = random_fields.white((6, 8), range(1), seed=0), (1.0, 1.5)
    square = -poisson.eigenvalues((6, 8), extent, kind).ravel()[mode]
    for near in (1.0, 1 - 5e-7, 1 + 5e-7):
        with pytest.raises(ValueError, match="must not be resonant"):
            solve(a, float(np.sqrt(near * square)), extent)
    for beside in (1 - 1e-5, 1 + 1e-5):
        assert np.isfinite(solve(a, float(np.sqrt(beside * square)), extent)).all()


def test_the_neumann_solution_leaves_a_resonant_mode_out():
    """The mode (1, 0) has the eigenvalue −4n² sin²(π/2n): nothing of it in u, and the rest is solved as ever."""
    n = 8
    k = 2 * n * np.sin(np.pi / (2 * n))
    wave = np.cos(np.pi * (np.arange(n) + 0.5) / n)[:, None] * np.ones(n)
    a, extent = random_fields.neumann_field(n, range(1), seed=0), (1.0, 1.5)
    a -= (a * wave).sum() / (wave**2).sum() * wave
    u = helmholtz.solve_neumann(a + 3.0 * wave, k, extent)
    assert_close(torch.tensor((u * wave).sum()), 0.0, unit=1.0)
    back = (five_point((n, n), (1 / n, 1.5 / n), -1.0) @ u.ravel()).reshape(u.shape) + k**2 * u
    assert_close(torch.from_numpy(back), torch.from_numpy(a))


def test_leading_dimensions_are_batches():
    a = random_fields.white((6, 8), range(4), seed=0)
    for solve, _ in SOLVERS:
        whole = solve(a.reshape(2, 2, 6, 8)).reshape(4, 6, 8)
        assert_close(torch.from_numpy(whole), torch.from_numpy(np.stack([solve(f) for f in a])))
