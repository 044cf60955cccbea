import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, orders
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.operators import Dirichlet, Neumann, Periodic, laplacian

sizes = st.integers(2, 9)
extents = st.floats(0.1, 10)
conditions = st.sampled_from([Dirichlet(), Neumann(), Periodic()])


def layout(boundary):
    return "periodic" if isinstance(boundary, Periodic) else "cells"


def matrix(grid, boundary):
    points = int(np.prod(grid.shape))
    return laplacian(torch.eye(points, dtype=torch.float64).reshape(points, 1, *grid.shape), grid, boundary).reshape(
        points, points
    )


@given(sizes, sizes, extents, extents, conditions)
def test_the_matrix_is_symmetric_and_non_positive(n, m, width, height, boundary):
    grid = Grid((Axis(n, width, layout(boundary)), Axis(m, height, layout(boundary))))
    a = matrix(grid, boundary)
    assert_close(a, a.T)
    eigenvalues = torch.linalg.eigvalsh(a)
    unit = float(a.abs().max())
    assert_close(eigenvalues.clamp_min(0), 0.0, unit=unit)
    kernel = int((eigenvalues > -1e-9 * unit).sum())
    assert kernel == (0 if isinstance(boundary, Dirichlet) else 1)


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


@given(sizes, sizes, st.integers(-8, 8), st.integers(-8, 8))
def test_periodic_commutes_with_translation(n, m, i, j):
    grid, u = Grid((Axis(n, 1.0, "periodic"), Axis(m, 1.0, "periodic"))), normal(2, 1, n, m)
    moved = laplacian(u.roll((i, j), (2, 3)), grid, Periodic())
    assert torch.equal(moved, laplacian(u, grid, Periodic()).roll((i, j), (2, 3)))


@given(sizes, sizes, conditions)
def test_mirror_symmetry(n, m, boundary):
    grid, u = Grid((Axis(n, 1.0, layout(boundary)), Axis(m, 2.0, layout(boundary)))), normal(1, 1, n, m)
    unit = sum(4 / h**2 for h in grid.spacing) * float(u.abs().max())
    assert_close(laplacian(u.flip(2), grid, boundary), laplacian(u, grid, boundary).flip(2), unit=unit)


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


def smooth(grid):
    x, y = grid.meshgrid()
    u = torch.sin(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
    slope = torch.pi * torch.cos(torch.pi * x) * torch.sin(2 * torch.pi * y) * torch.exp(x)
    return u[None, None], ((1 - 5 * torch.pi**2) * u + 2 * slope)[None, None]


def test_second_order_on_interior_rows_of_a_smooth_case():
    errors = []
    for n in (32, 64, 128):
        grid = Grid((Axis(n), Axis(n + n // 2)))
        u, exact = smooth(grid)
        inner = (laplacian(u, grid, Dirichlet(0.0)) - exact)[..., 1:-1, 1:-1]
        errors.append(float(inner.square().mean().sqrt()))
    for order in orders(errors):
        assert abs(order - 2) < 0.1, orders(errors)


def test_nodes_and_foreign_shapes_are_refused():
    with pytest.raises(InputError, match="cells or periodic points: got an axis with layout='nodes'"):
        laplacian(torch.zeros(1, 1, 4, 4), Grid.square(4, layout="nodes"), Dirichlet())
    with pytest.raises(InputError, match="got shape"):
        laplacian(torch.zeros(1, 1, 4, 5), Grid.square(4), Dirichlet())
