import numpy as np
import pytest
import torch
from tolerances import assert_close, assert_moment

from pirf.reference import darcy, poisson, random_fields


def by_faces(a, walls):
    """The dense matrix, one face at a time: two half cells in series, or one half cell to a wall."""
    n, m = a.shape
    matrix = np.zeros((n * m, n * m))
    for i in range(n):
        for j in range(m):
            for k, q, square in ((i + 1, j, n**2), (i - 1, j, n**2), (i, j + 1, m**2), (i, j - 1, m**2)):
                if 0 <= k < n and 0 <= q < m:
                    conductance = square / (0.5 / a[i, j] + 0.5 / a[k, q])
                    matrix[i * m + j, k * m + q] -= conductance
                    matrix[i * m + j, i * m + j] += conductance
                elif walls:
                    matrix[i * m + j, i * m + j] += square / (0.5 / a[i, j])
    return matrix


def media(*shape):
    return np.exp(random_fields.white(shape, range(2), seed=3))


@pytest.mark.parametrize("shape", [(2, 2), (5, 8), (12, 12)])
def test_walls_agree_with_a_dense_direct_solve(shape):
    a, f = media(*shape), random_fields.white(shape, range(1), seed=4)[0]
    direct = np.stack([np.linalg.solve(by_faces(k, True), f.ravel()).reshape(shape) for k in a])
    assert_close(torch.from_numpy(darcy.solve(a, f)), torch.from_numpy(direct))


@pytest.mark.parametrize("shape", [(2, 2), (5, 8), (12, 12)])
def test_a_closed_box_agrees_with_a_least_squares_solve(shape):
    a, f = media(*shape), random_fields.white(shape, range(1), seed=4)[0]
    f -= f.mean()
    # The pseudo-inverse picks the solution that is orthogonal to the kernel: mean zero.
    direct = np.stack([(np.linalg.pinv(by_faces(k, False)) @ f.ravel()).reshape(shape) for k in a])
    p = darcy.solve_neumann(a, f)
    assert_close(torch.from_numpy(p), torch.from_numpy(direct))
    assert_close(torch.from_numpy(p).mean((1, 2)), 0.0, unit=float(np.abs(p).max()))


def test_a_constant_permeability_is_a_poisson_problem():
    f = random_fields.neumann_field(16, range(2), seed=1)
    for index in range(2):
        a, right = np.full((1, 16, 16), 3.0), f[index : index + 1]
        assert_close(torch.from_numpy(darcy.solve(a, right[0])), torch.from_numpy(-poisson.solve(right) / 3))
        closed = torch.from_numpy(darcy.solve_neumann(a, right[0]))
        assert_close(closed, torch.from_numpy(-poisson.solve_neumann(right) / 3))


def test_layers_across_the_flow_are_exact():
    """Between two plates with wells of ±1 in the outer columns, each face carries 1 and drops 1/T = ½(1/a + 1/b)."""
    n = 8
    layers = np.exp(random_fields.white((n,), range(1), seed=2)[0])
    f = np.zeros((n, n))
    f[0], f[-1] = n, -n
    p = darcy.solve_neumann(np.repeat(layers[:, None], n, 1)[None], f)[0]
    drop = 0.5 * (1 / layers[1:] + 1 / layers[:-1]) / n
    assert_close(torch.from_numpy(p[:-1] - p[1:]), torch.from_numpy(np.repeat(drop[:, None], n, 1)))


def test_refined_solutions_of_the_same_medium_are_within_two_per_cent():
    a = darcy.two_phase(random_fields.neumann_field(32, range(3), seed=0))
    fine = darcy.solve(a.repeat(4, 1).repeat(4, 2)).reshape(3, 32, 4, 32, 4).mean((2, 4))
    coarse = darcy.solve(a)
    assert np.linalg.norm(coarse - fine) < 0.02 * np.linalg.norm(fine)


def test_leading_dimensions_are_batches():
    a = media(6, 4).repeat(2, 0)
    whole = darcy.solve(a.reshape(2, 2, 6, 4)).reshape(4, 6, 4)
    assert np.array_equal(whole, np.stack([darcy.solve(k) for k in a]))


def test_two_phases_fill_half_of_the_square_each():
    """Volume fraction 0.50 ± 0.057."""
    a = darcy.two_phase(random_fields.neumann_field(32, range(400), seed=6))
    assert set(np.unique(a)) == {3.0, 12.0}
    fraction = (a == 12).mean((1, 2))
    assert_moment(fraction, 0.5)
    assert 0.05 < fraction.std() < 0.065


def test_the_wells_balance():
    f = darcy.corner_wells(16)
    assert f.sum() == 0
    assert np.array_equal(f[:2, :2], np.full((2, 2), 10.0))
    assert np.array_equal(f[-2:, -2:], np.full((2, 2), -10.0))
    assert (f**2).mean() == 3.125


def test_the_modes_are_those_of_the_full_covariance():
    n, count = 12, 30
    i, j = (index.ravel() / n for index in np.indices((n, n)))
    covariance = np.exp(-np.hypot(i[:, None] - i, j[:, None] - j) / 0.1)
    values, vectors = darcy.modes(n, count)
    assert_close(torch.from_numpy(values), torch.from_numpy(np.linalg.eigvalsh(covariance)[::-1][:count].copy()))
    assert_close(torch.from_numpy(vectors @ vectors.T), torch.eye(count, dtype=torch.float64))
    assert_close(torch.from_numpy(vectors @ covariance), torch.from_numpy(values[:, None] * vectors), unit=float(values[0]))


def test_the_modes_are_unique():
    """Each mode has a parity, and a sign fixed by a ramp without symmetry, so that another library finds the same ones."""
    n = 8
    _, vectors = darcy.modes(n, 16)
    whole = vectors.reshape(-1, n, n)
    for mirrored in (whole[:, ::-1], whole[:, :, ::-1]):
        parity = (mirrored * whole).sum((1, 2))
        assert_close(torch.from_numpy(np.abs(parity)), 1.0)
    ramp = np.exp(-(np.arange(n)[:, None] + 2 * np.arange(n)) / n).ravel()
    assert (vectors @ ramp > 1e-3).all()


def test_all_modes_give_variance_one():
    values, vectors = darcy.modes(8, 64)
    assert_close(torch.from_numpy((values[:, None] * vectors**2).sum(0)), 1.0)
    noise = random_fields.white((64,), range(2000), seed=0)
    g = np.log(darcy.lognormal(noise, 8))
    assert_moment(g.mean((1, 2)), 0.0)
    assert_moment((g**2)[:, 0, 0], 1.0)
    assert_moment(g[:, 0, 0] * g[:, 0, 1], np.exp(-1.25))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_permeability_is_refused_in_one_line(bad):
    a = np.ones((1, 4, 4))
    a[0, 1, 1] = bad
    for solve in (darcy.solve, lambda k: darcy.solve_neumann(k, np.zeros((4, 4)))):
        with pytest.raises(ValueError, match="must be positive and finite: got a minimum of") as refused:
            solve(a)
        assert len(str(refused.value).splitlines()) == 1


def test_unbalanced_sources_and_odd_grids_are_refused():
    with pytest.raises(ValueError, match="got a sum of 16"):
        darcy.solve_neumann(np.ones((1, 4, 4)), np.ones((4, 4)))
    for n in (9, 6):
        with pytest.raises(ValueError, match=f"got {n}"):
            darcy.modes(n)


def test_modes_that_an_exchange_of_the_axes_makes_equal_keep_their_order():
    """Otherwise samples would depend on the number of threads: of the first pair, the one that is even in x comes first."""
    values, vectors = darcy.modes(16, 8)
    first, second = vectors[1].reshape(16, 16), vectors[2].reshape(16, 16)
    assert values[1] == pytest.approx(values[2], rel=1e-12)
    assert np.allclose(first, first[::-1], atol=1e-12)
    assert np.allclose(first, -first[:, ::-1], atol=1e-12)
    assert np.allclose(second, -second[::-1], atol=1e-12)
