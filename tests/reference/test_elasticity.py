from itertools import pairwise

import numpy as np
import pytest
import torch
from tolerances import assert_close, orders

from pirf.reference import elasticity, random_fields

STRAIN = np.array([1.0, -0.4, 0.7])
C = elasticity.plane_strain(0.3)


def media(*shape, count=2):
    return np.exp(0.5 * random_fields.white(shape, range(count), seed=3))


def dense(e):
    """The assembled matrix and load, element by element, unknowns in the order of the fields."""
    n, m = e.shape
    matrix, load = elasticity._element(1 / n, 1 / m, C)
    whole, right = np.zeros((2 * n * m,) * 2), np.zeros(2 * n * m)
    for i in range(n):
        for j in range(m):
            nodes = [(i, j), ((i + 1) % n, j), ((i + 1) % n, (j + 1) % m), (i, (j + 1) % m)]
            places = np.array([part * n * m + a * m + b for a, b in nodes for part in (0, 1)])
            np.add.at(whole, np.ix_(places, places), e[i, j] * matrix)
            np.add.at(right, places, -e[i, j] * load @ STRAIN)
    return whole, right


def test_linear_displacements_store_the_energy_of_their_strain():
    """For u = Gx on one element of sides w, h: uᵀKu = wh ε·Cε, and rotations and translations store none."""
    w, h = 0.3, 0.7
    matrix, load = elasticity._element(w, h, C)
    corners = np.array([[0, 0], [w, 0], [w, h], [0, h]])
    for gradient in random_fields.white((2, 2), range(5), 0):
        u = (corners @ gradient.T + [0.2, -0.1]).ravel()
        strain = np.array([gradient[0, 0], gradient[1, 1], gradient[0, 1] + gradient[1, 0]])
        assert_close(u @ matrix @ u, w * h * strain @ C @ strain)
        assert_close(torch.from_numpy(u @ load), torch.from_numpy(w * h * C @ strain))
    values = np.linalg.eigvalsh(matrix)
    assert_close(torch.from_numpy(values[:3]), 0.0, unit=values[-1])
    assert values[3] > 0.01 * values[-1]  # so that nothing else is free, the two hourglasses neither


@pytest.mark.parametrize("shape", [(2, 3), (4, 4), (6, 5)])
def test_it_agrees_with_a_dense_least_squares_solve(shape):
    e = media(*shape)
    u = elasticity.solve(e, STRAIN)
    for index in range(2):
        matrix, right = dense(e[index])
        # The pseudo-inverse picks the solution that is orthogonal to the translations: mean zero.
        direct = (np.linalg.pinv(matrix, hermitian=True) @ right).reshape(2, *shape)
        assert_close(torch.from_numpy(u[index]), torch.from_numpy(direct))


@pytest.mark.parametrize("shape", [(4, 4), (4, 5), (3, 5)])
def test_the_matrix_is_semi_definite_with_two_translations_and_nothing_else(shape):
    matrix, _ = dense(media(*shape)[0])
    assert_close(torch.from_numpy(matrix), torch.from_numpy(matrix.T))
    values, vectors = np.linalg.eigh(matrix)
    assert_close(torch.from_numpy(values[:2]), 0.0, unit=values[-1])
    assert values[2] > 1e-3 * values[-1]
    free = np.kron(np.eye(2), np.full((1, matrix.shape[0] // 2), (matrix.shape[0] / 2) ** -0.5))
    assert_close(np.abs(np.linalg.det(free @ vectors[:, :2])), 1.0)


def test_an_even_medium_does_not_fluctuate():
    """The patch test: the mean strain alone is in equilibrium."""
    u = elasticity.solve(np.full((1, 6, 5), 3.0), STRAIN)
    assert_close(torch.from_numpy(u), 0.0, unit=1.0)


@pytest.mark.parametrize("axis", [0, 1])
def test_layers_are_exact(axis):
    """They transmit one traction, t⟨1/E⟩ = C ε̄ across them, and their strains are constant: piecewise linear u."""
    n, m = 8, 5
    layers = np.exp(random_fields.white((n,), range(1), seed=2)[0])
    across, along, shear = STRAIN
    traction = (C[0, 0] * across + C[0, 1] * along) / (1 / layers).mean()
    sliding = C[2, 2] * shear / (1 / layers).mean()
    steps = np.stack([(traction / layers - C[0, 1] * along) / C[0, 0] - across, sliding / layers / C[2, 2] - shear]) / n
    u = np.concatenate([np.zeros((2, 1)), np.cumsum(steps, 1)[:, :-1]], 1)
    u -= u.mean(1, keepdims=True)
    e = np.repeat(layers[:, None], m, 1)
    if axis == 0:
        assert_close(torch.from_numpy(elasticity.solve(e, STRAIN)), torch.from_numpy(np.repeat(u[..., None], m, 2)))
    else:  # everything with the axes exchanged
        expected = np.repeat(u[::-1, None], m, 1)
        assert_close(torch.from_numpy(elasticity.solve(e.T, STRAIN[[1, 0, 2]])), torch.from_numpy(expected))


def test_refinement_converges_with_order_two():
    """A smooth medium, each solution against the next finer one at the nodes that they share."""

    def smooth(n):
        x, y = (np.indices((n, n)) + 0.5) / n
        return elasticity.solve(np.exp(0.5 * np.sin(2 * np.pi * x) + 0.4 * np.cos(2 * np.pi * (x + y))), STRAIN)

    solutions = [smooth(n) for n in (8, 16, 32, 64)]
    gaps = [float(np.abs(fine[:, ::2, ::2] - coarse).max()) for coarse, fine in pairwise(solutions)]
    assert all(abs(order - 2) < 0.1 for order in orders(gaps)), orders(gaps)


def test_it_is_linear_in_the_load_and_blind_to_the_unit_of_the_modulus():
    e = media(6, 5, count=1)
    parts = sum(s * elasticity.solve(e, unit) for s, unit in zip(STRAIN, np.eye(3), strict=True))
    assert_close(torch.from_numpy(elasticity.solve(7 * e, STRAIN)), torch.from_numpy(parts))


def test_a_thin_sheet_is_a_thick_block_of_another_material():
    """Plane stress with (1, ν) is plane strain with modulus (1 + 2ν)/(1 + ν)² and Poisson's ratio ν/(1 + ν)."""
    for ratio in (-0.2, 0.0, 0.3):
        block = (1 + 2 * ratio) / (1 + ratio) ** 2 * elasticity.plane_strain(ratio / (1 + ratio))
        assert_close(torch.from_numpy(elasticity.plane_stress(ratio)), torch.from_numpy(block))


def test_the_stiffness_is_that_of_lame():
    lame, shear = 0.3 / (1.3 * 0.4), 0.5 / 1.3
    expected = np.array([[lame + 2 * shear, lame, 0], [lame, lame + 2 * shear, 0], [0, 0, shear]])
    assert_close(torch.from_numpy(C), torch.from_numpy(expected))


def test_the_modulus_is_the_same_function_on_every_grid():
    noise = random_fields.white((15, 15), range(2), 0)
    assert_close(torch.from_numpy(elasticity.modulus(noise, 24)[:, 1::3, 1::3]), torch.from_numpy(elasticity.modulus(noise, 8)))


def test_its_logarithm_is_a_stationary_field_with_standard_deviation_one_half():
    """The covariance from the linear map itself: 225 responses to one unit of noise each."""
    n = 16
    unit = np.eye(15 * 15).reshape(-1, 15, 15)
    map_ = np.log(elasticity.modulus(unit, n)).reshape(-1, n * n)
    covariance = (map_.T @ map_).reshape(n, n, n, n)
    first = covariance[0, 0]
    assert_close(float(first[0, 0]), 0.25)
    for i, j in ((3, 5), (15, 2)):
        assert_close(torch.from_numpy(np.roll(covariance[i, j], (-i, -j), (0, 1))), torch.from_numpy(first))
    assert_close(torch.from_numpy(first), torch.from_numpy(first.T))  # the axes are alike
    assert_close(float(covariance[0, 0].sum()), 0.0, unit=1.0)  # no mean


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_an_impossible_modulus_is_refused_in_one_line(bad):
    e = np.ones((1, 4, 4))
    e[0, 1, 1] = bad
    with pytest.raises(ValueError, match="must be positive and finite: got a minimum of") as refused:
        elasticity.solve(e, STRAIN)
    assert len(str(refused.value).splitlines()) == 1
