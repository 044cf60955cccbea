"""Two small iterations against dense linear algebra."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf.guidance.krylov import least_squares, smallest_residual


def system(seed, rows=5):
    """Nonsymmetric and indefinite, one matrix for each of four samples."""
    return normal(4, rows, rows, seed=seed) + torch.diag(torch.tensor([3.0, -2.0, 1.0, 4.0, -1.0][:rows]).double())


def product(matrix):
    return lambda w: torch.einsum("bij,bj->bi", matrix, w)


def solve(matrix, rhs, products, unit=None):
    return smallest_residual(product(matrix), rhs, products, lambda r: 0.5 * r, torch.ones_like(rhs) if unit is None else unit)


@given(st.integers(0, 200))
def test_as_many_products_as_rows_solve_any_system(seed):
    matrix, rhs = system(seed), normal(4, 5, seed=seed + 1)
    w = solve(matrix, rhs, 5)
    assert_close(product(matrix)(w), rhs, unit=float(torch.linalg.cond(matrix).max()))


@given(st.integers(0, 200), st.integers(1, 4))
def test_fewer_leave_the_smallest_residual_of_their_krylov_space(seed, products):
    matrix, rhs, unit = system(seed), normal(4, 5, seed=seed + 1), 0.5 + normal(4, 5, seed=seed + 2).abs()
    left = (rhs - product(matrix)(solve(matrix, rhs, products, unit))) / unit
    powers = [rhs]
    for _ in range(products):
        powers.append(product(matrix)(powers[-1]))
    images = torch.stack(powers[1:], 2) / unit[:, :, None]
    best = torch.linalg.lstsq(images, (rhs / unit)[:, :, None]).solution
    expected = (rhs / unit) - (images @ best)[:, :, 0]
    assert_close(left, expected, unit=float(torch.linalg.cond(images).max()))


def test_a_solved_sample_and_one_without_a_right_side_stay():
    matrix = torch.eye(3, dtype=torch.float64).expand(2, 3, 3)
    rhs = torch.stack([torch.zeros(3), torch.ones(3)]).double()
    assert_close(solve(matrix, rhs, 7), rhs)
    assert not solve(matrix, rhs, 7)[0].any()


def columns(matrix):
    return (lambda v: torch.einsum("bij,bj->bi", matrix, v)), (lambda w: torch.einsum("bij,bi->bj", matrix, w))


@given(st.integers(0, 200), st.sampled_from([0.0, 0.3]))
def test_least_squares_is_the_formula_of_projection(seed, ridge):
    """Jᵀ(JJᵀ + εI)⁻¹h."""
    matrix, rhs = normal(3, 4, 7, seed=seed), normal(3, 4, seed=seed + 1)
    gram = matrix @ matrix.mT + ridge * torch.eye(4, dtype=torch.float64)
    expected = (matrix.mT @ torch.linalg.solve(gram, rhs[:, :, None]))[:, :, 0]
    unit = float(expected.abs().max() * torch.linalg.cond(gram).max())
    assert_close(least_squares(*columns(matrix), rhs, 50, ridge), expected, unit=unit)


def test_rows_that_repeat_each_other_have_the_shortest_solution():
    matrix = normal(1, 2, 5).repeat(1, 2, 1)
    rhs = torch.einsum("bij,bj->bi", matrix, normal(1, 5, seed=4))
    expected = torch.linalg.pinv(matrix[0]) @ rhs[0]
    assert_close(least_squares(*columns(matrix), rhs, 50, 0.0)[0], expected)


def test_samples_are_solved_alone():
    matrix, rhs, square = normal(5, 4, 7), normal(5, 4, seed=1), system(3).repeat(2, 1, 1)[:5]
    rhs[2] = 0
    matrix[0] = 0.3 * torch.linalg.qr(matrix[0].T)[0].T  # done after one product, while its neighbours go on
    matrix[3] *= torch.logspace(0, -3, 4).double()[:, None]

    def row(a):  # one product per row, so that only the iteration could couple them
        return lambda v: torch.stack([(m * x).sum(1) for m, x in zip(a, v, strict=True)])

    whole = least_squares(row(matrix), row(matrix.mT), rhs, 50, 0.0)
    other = smallest_residual(row(square), rhs.repeat(1, 2)[:, :5], 3, lambda r: r, torch.ones(5, 5).double())
    for part in ([3], [0], [4, 0], [2, 1]):
        m, s = matrix[part], square[part]
        assert torch.equal(least_squares(row(m), row(m.mT), rhs[part], 50, 0.0), whole[part])
        alone = smallest_residual(row(s), rhs.repeat(1, 2)[part, :5], 3, lambda r: r, torch.ones(len(part), 5).double())
        assert torch.equal(alone, other[part])


@given(st.integers(0, 200), st.sampled_from([torch.float32, torch.float64]))
def test_rows_that_contradict_each_other_have_their_least_squares_however_long_it_runs(seed, dtype):
    """Two measurements of the same: their mean, and no growth from the rounding of what is left."""
    matrix = normal(4, 3, 6, seed=seed).to(dtype).repeat(1, 2, 1)
    rhs = normal(4, 6, seed=seed + 1).to(dtype)

    found = least_squares(*columns(matrix), rhs, 300, 0.0)
    exact = torch.einsum("bnr,br->bn", torch.linalg.pinv(matrix.double()), rhs.double())
    unit = float(torch.linalg.cond(matrix[:, :3].double()).max()) ** 2 * float(exact.abs().max())
    assert_close(found, exact.to(dtype), unit=unit)
