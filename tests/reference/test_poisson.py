from itertools import pairwise

import numpy as np
import pytest
import torch
from matrices import five_point
from scipy.sparse.linalg import spsolve
from tolerances import assert_close

from pirf.reference import poisson, random_fields

# Squares, and a rectangle of unequal cells.
GRIDS = [((5, 5), (1.0, 1.0)), ((24, 24), (1.0, 1.0)), ((16, 24), (2.0, 0.5))]


@pytest.mark.parametrize(("shape", "extent"), [*GRIDS, ((2, 2), (1.0, 1.0))])
def test_cells_agree_with_a_sparse_direct_solve(shape, extent):
    a = random_fields.white(shape, range(2), seed=3)
    matrix = five_point(shape, np.divide(extent, shape), -3.0)
    direct = np.stack([spsolve(matrix, f.ravel()).reshape(shape) for f in a])
    assert_close(torch.from_numpy(poisson.solve(a, extent)), torch.from_numpy(direct))


@pytest.mark.parametrize(("shape", "extent"), [*GRIDS, ((4, 4), (1.0, 1.0))])
def test_nodes_agree_with_a_sparse_direct_solve(shape, extent):
    a = random_fields.white(shape, range(2), seed=3)
    inside = tuple(n - 2 for n in shape)
    matrix = five_point(inside, np.divide(extent, np.subtract(shape, 1)), -2.0)
    direct = np.zeros_like(a)
    for u, f in zip(direct, a, strict=True):
        u[1:-1, 1:-1] = spsolve(matrix, f[1:-1, 1:-1].ravel()).reshape(inside)
    assert_close(torch.from_numpy(poisson.solve_nodal(a, extent)), torch.from_numpy(direct))


@pytest.mark.parametrize(("shape", "extent"), [*GRIDS, ((3, 3), (1.0, 1.0))])
def test_neumann_agrees_with_a_pinned_sparse_direct_solve(shape, extent):
    a = random_fields.white(shape, range(2), seed=3)
    matrix = five_point(shape, np.divide(extent, shape), -1.0).tolil()
    matrix[0] = 1.0  # the mean is zero, in place of one equation that the others imply
    direct = []
    for f in a:
        right = (f - f.mean()).ravel()
        right[0] = 0.0
        direct.append(spsolve(matrix.tocsc(), right).reshape(shape))
    solved = torch.from_numpy(poisson.solve_neumann(a, extent))
    assert_close(solved, torch.from_numpy(np.stack(direct)))
    assert_close(solved.mean((-2, -1)), 0.0, unit=1.0)


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
