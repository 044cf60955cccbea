import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, orders
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.operators import Dirichlet, Neumann, Periodic, edge_rows, laplacian

sizes = st.integers(2, 9)
extents = st.floats(0.1, 10)
conditions = st.sampled_from([Dirichlet(), Neumann(), Periodic()])
accuracies = st.sampled_from([2, 4])


def layout(boundary):
    return "periodic" if isinstance(boundary, Periodic) else "cells"


def matrix(grid, boundary, order):
    points = int(np.prod(grid.shape))
    unit = torch.eye(points, dtype=torch.float64).reshape(points, 1, *grid.shape)
    return laplacian(unit, grid, boundary, order).reshape(points, points)


@given(sizes, sizes, extents, extents, conditions, accuracies)
def test_the_matrix_is_symmetric_and_non_positive(n, m, width, height, boundary, order):
    grid = Grid((Axis(n, width, layout(boundary)), Axis(m, height, layout(boundary))))
    a = matrix(grid, boundary, order)
    assert_close(a, a.T)
    eigenvalues = torch.linalg.eigvalsh(a)
    unit = float(a.abs().max())
    assert_close(eigenvalues.clamp_min(0), 0.0, unit=unit)
    kernel = int((eigenvalues > -1e-9 * unit).sum())
    assert kernel == (0 if isinstance(boundary, Dirichlet) else 1)


@given(sizes, st.floats(0.1, 10))
def test_the_fourth_order_matrix_is_a_polynomial_of_the_second_order_one(n, extent):
    """δ₄² = δ₂² − h²δ₂⁴/12 under every homogeneous condition: the same modes, eigenvalues λ − h²λ²/12."""
    for boundary in (Dirichlet(), Neumann(), Periodic()):
        grid = Grid((Axis(n, extent, layout(boundary)),))
        second, h = matrix(grid, boundary, 2), grid.spacing[0]
        assert_close(matrix(grid, boundary, 4), second - h**2 / 12 * second @ second, unit=4 / h**2)


@given(st.integers(4, 9), st.integers(1, 5), accuracies)
def test_sines_are_eigenvectors_on_nodes(n, k, order):
    """δ₂² has −4h⁻² sin²(πk/2(n−1)), δ₄² that polynomial of it: the mirror stands on the end nodes."""
    axis = Axis(n, 2.0, "nodes")
    u = torch.sin(torch.pi * k * axis.points() / 2.0)[None, None]
    h, value = axis.spacing, -4 / axis.spacing**2 * np.sin(np.pi * k / (2 * (n - 1))) ** 2
    value -= h**2 / 12 * value**2 if order == 4 else 0.0
    assert_close(laplacian(u, Grid((axis,)), Dirichlet(), order), value * u, unit=4 / h**2)


def test_a_boundary_value_on_nodes_shifts_the_field():
    grid, u = Grid((Axis(6, 1.0, "nodes"), Axis(5, 3.0, "nodes"))), normal(2, 1, 6, 5)
    for order in (2, 4):
        shifted = laplacian(u + 2.5, grid, Dirichlet(2.5), order)
        assert_close(shifted, laplacian(u, grid, Dirichlet(), order), unit=500.0)


def test_without_nodes_no_row_is_replaced():
    rows = normal(1, 1, 4, 4)
    assert edge_rows(rows, normal(1, 1, 4, 4), Grid.square(4)) is rows


@given(st.lists(sizes, min_size=1, max_size=3), conditions)
def test_rows_sum_to_zero_without_a_dirichlet_face(shape, boundary):
    """Constants have no Laplacian unless a face holds them at another value: 2·(−2u)/h² per Dirichlet face cell."""
    grid = Grid(tuple(Axis(n, 1.0, layout(boundary)) for n in shape))
    ones = torch.ones(1, 1, *shape, dtype=torch.float64)
    unit = sum(1 / h**2 for h in grid.spacing)
    expected = torch.zeros_like(ones)
    if isinstance(boundary, Dirichlet):
        for dim, axis in enumerate(grid.axes, start=2):
            expected.narrow(dim, 0, 1).sub_(2 / axis.spacing**2)
            expected.narrow(dim, -1, 1).sub_(2 / axis.spacing**2)
    assert_close(laplacian(ones, grid, boundary), expected, unit=unit)


@given(sizes, sizes, st.integers(-8, 8), st.integers(-8, 8), accuracies)
def test_periodic_commutes_with_translation(n, m, i, j, order):
    grid, u = Grid((Axis(n, 1.0, "periodic"), Axis(m, 1.0, "periodic"))), normal(2, 1, n, m)
    moved = laplacian(u.roll((i, j), (2, 3)), grid, Periodic(), order)
    assert torch.equal(moved, laplacian(u, grid, Periodic(), order).roll((i, j), (2, 3)))


@given(sizes, sizes, conditions, accuracies)
def test_mirror_symmetry(n, m, boundary, order):
    grid, u = Grid((Axis(n, 1.0, layout(boundary)), Axis(m, 2.0, layout(boundary)))), normal(1, 1, n, m)
    unit = sum(4 / h**2 for h in grid.spacing) * float(u.abs().max())
    assert_close(laplacian(u.flip(2), grid, boundary, order), laplacian(u, grid, boundary, order).flip(2), unit=unit)


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_linear_profile_meets_its_dirichlet_faces_exactly(value):
    """u = value at both faces and constant is harmonic; so is u = x between faces 0 and 1 away from the far face."""
    grid = Grid((Axis(7, 3.0),))
    assert_close(laplacian(torch.full((1, 1, 7), value, dtype=torch.float64), grid, Dirichlet(value)), 0.0, unit=1.0)
    x = grid.axes[0].points().reshape(1, 1, 7)
    assert_close(laplacian(x, grid, Dirichlet(0.0))[..., :-1], 0.0, unit=1.0)


def test_a_parabola_meets_its_neumann_flux_exactly():
    """(x − ½)² on [0, 1] has outward flux 1 on both faces and second derivative 2 in every cell."""
    grid = Grid((Axis(6),))
    u = ((grid.axes[0].points() - 0.5) ** 2).reshape(1, 1, 6)
    assert_close(laplacian(u, grid, Neumann(1.0)), 2.0)
    assert_close(laplacian(u, grid, Neumann(1.0), order=4), 2.0)


def smooth(grid):
    x, y = grid.meshgrid()
    u = torch.sin(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
    slope = torch.pi * torch.cos(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
    return u[None, None], ((1 - 5 * torch.pi**2) * u + 2 * slope)[None, None]


@pytest.mark.parametrize("order", [2, 4])
def test_the_order_on_interior_rows_of_a_smooth_case(order):
    errors = []
    for n in (32, 64, 128):
        grid = Grid((Axis(n), Axis(n + n // 2)))
        u, exact = smooth(grid)
        inner = (laplacian(u, grid, Dirichlet(0.0), order) - exact)[..., 2:-2, 2:-2]
        errors.append(float(inner.square().mean().sqrt()))
    assert all(abs(o - order) < 0.1 for o in orders(errors)), orders(errors)


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("boundary", [Dirichlet(), Neumann(), Periodic()], ids=repr)
def test_the_order_on_all_rows_where_the_continuation_is_smooth(boundary, order):
    """One sine or cosine: the reflection about a face, or the next period, is the function itself."""
    wave = torch.sin if isinstance(boundary, Dirichlet) else torch.cos
    errors = []
    for n in (16, 32, 64):
        grid = Grid((Axis(n, 1.0, layout(boundary)), Axis(n + n // 2, 2.0, layout(boundary))))
        x, y = grid.meshgrid()
        u = (wave(2 * torch.pi * x) * wave(3 * torch.pi * y))[None, None]
        error = laplacian(u, grid, boundary, order) + 13 * torch.pi**2 * u
        errors.append(float(error.square().mean().sqrt()))
    assert all(abs(o - order) < 0.1 for o in orders(errors)), orders(errors)


def test_nodes_and_foreign_shapes_are_refused():
    for boundary, n in ((Neumann(), 4), (Periodic(), 4), (Dirichlet(), 2)):
        with pytest.raises(InputError, match="nodes or more with Dirichlet values at its ends: got"):
            laplacian(torch.zeros(1, 1, n, n), Grid.square(n, layout="nodes"), boundary)
    with pytest.raises(InputError, match="got shape"):
        laplacian(torch.zeros(1, 1, 4, 5), Grid.square(4), Dirichlet())
    # In a type-checked call beartype would speak first.
    with pytest.raises(InputError, match="order 2 or 4: got 3"):
        getattr(laplacian, "__wrapped__", laplacian)(torch.zeros(1, 1, 4, 4), Grid.square(4), Dirichlet(), 3)
