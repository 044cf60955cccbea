from itertools import pairwise

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import spsolve
from tolerances import assert_close

from pirf.reference import poisson, random_fields


def five_point(n, h, corner):
    """(u_W − 2u + u_E)/h² twice, with ``corner`` on the diagonal beside a face: −3 odd ghost, −1 even ghost, −2 node."""
    diagonal = np.full(n, -2.0)
    diagonal[[0, -1]] = corner
    line = sp.diags([np.ones(n - 1), diagonal, np.ones(n - 1)], [-1, 0, 1]) / h**2
    return (sp.kron(line, sp.eye(n)) + sp.kron(sp.eye(n), line)).tocsc()


@pytest.mark.parametrize("n", [2, 5, 24])
def test_cells_agree_with_a_sparse_direct_solve(n):
    a = random_fields.white((n, n), range(2), seed=3)
    direct = np.stack([spsolve(five_point(n, 1 / n, -3.0), f.ravel()).reshape(n, n) for f in a])
    assert_close(torch.from_numpy(poisson.solve(a)), torch.from_numpy(direct))


@pytest.mark.parametrize("n", [4, 9, 24])
def test_nodes_agree_with_a_sparse_direct_solve(n):
    a = random_fields.white((n, n), range(2), seed=3)
    inner = five_point(n - 2, 1 / (n - 1), -2.0)
    direct = np.zeros_like(a)
    for u, f in zip(direct, a, strict=True):
        u[1:-1, 1:-1] = spsolve(inner, f[1:-1, 1:-1].ravel()).reshape(n - 2, n - 2)
    assert_close(torch.from_numpy(poisson.solve_nodal(a)), torch.from_numpy(direct))


@pytest.mark.parametrize("n", [3, 8, 24])
def test_neumann_agrees_with_a_pinned_sparse_direct_solve(n):
    a = random_fields.white((n, n), range(2), seed=3)
    matrix = five_point(n, 1 / n, -1.0).tolil()
    matrix[0] = 1.0  # the mean is zero, in place of one equation that the others imply
    direct = []
    for f in a:
        right = (f - f.mean()).ravel()
        right[0] = 0.0
        direct.append(spsolve(matrix.tocsc(), right).reshape(n, n))
    assert_close(torch.from_numpy(poisson.solve_neumann(a)), torch.from_numpy(np.stack(direct)))
    assert_close(torch.from_numpy(poisson.solve_neumann(a)).mean((-2, -1)), 0.0, unit=1.0)


@pytest.mark.parametrize(("solve", "points"), [
    (poisson.solve, lambda n: (np.arange(n) + 0.5) / n),
    (poisson.solve_nodal, lambda n: np.arange(n) / (n - 1)),
])  # fmt: skip
def test_the_solution_converges_with_order_two_to_an_analytic_one(solve, points):
    errors = []
    for n in (17, 33, 65):
        x, y = np.meshgrid(points(n), points(n), indexing="ij")
        u = np.sin(np.pi * x) * np.sin(3 * np.pi * y)
        error = solve((-10 * np.pi**2 * u)[None])[0] - u
        errors.append((1 / n if solve is poisson.solve else 1 / (n - 1), np.sqrt((error**2).mean())))
    for (h, e), (k, f) in pairwise(errors):
        assert abs(np.log(e / f) / np.log(h / k) - 2) < 0.1


def test_leading_dimensions_are_batches():
    a = random_fields.white((6, 6), range(4), seed=0)
    for solve in (poisson.solve, poisson.solve_nodal, poisson.solve_neumann):
        whole = solve(a.reshape(2, 2, 6, 6)).reshape(4, 6, 6)
        assert_close(torch.from_numpy(whole), torch.from_numpy(np.stack([solve(f) for f in a])))
