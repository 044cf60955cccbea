import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.operators import spectral

even = st.integers(2, 12).map(lambda n: 2 * n)
extents = st.floats(0.3, 7)


def torus(*axes):
    return Grid(tuple(Axis(n, extent, "periodic") for n, extent in axes))


@given(even, even, extents, extents)
def test_parseval_and_inverse(n, m, width, height):
    """Σu² is the mean of |û|² over all modes, of which the transform keeps k_y ≥ 0."""
    grid, u = torus((n, width), (m, height)), normal(2, 3, n, m)
    modes = spectral.modes(u, grid)
    twice = torch.full((m // 2 + 1,), 2.0, dtype=torch.float64)
    twice[[0, -1]] = 1.0
    assert_close((twice * modes.abs() ** 2).sum((2, 3)) / (n * m), u.square().sum((2, 3)))
    assert_close(spectral.points(modes, grid), u)


@given(even, even, extents, extents)
def test_symmetries(n, m, width, height):
    """Derivatives are skew-adjoint; the Laplacian, its inverse and P are symmetric; P is idempotent and commutes."""
    grid = torus((n, width), (m, height))
    u, v = normal(1, 1, n, m, seed=1), normal(1, 1, n, m, seed=2)
    for operator, sign in (
        (lambda f: spectral.derivative(f, grid, 0), -1),
        (lambda f: spectral.derivative(f, grid, 1), -1),
        (lambda f: spectral.laplacian(f, grid), 1),
        (lambda f: spectral.inverse_laplacian(f, grid), 1),
        (lambda f: spectral.dealias(f, grid), 1),
    ):
        left, right = operator(u), operator(v)
        assert_close((left * v).sum(), sign * (u * right).sum(), unit=float(left.norm() * v.norm()) + 1e-30)
        kept = operator(spectral.dealias(u, grid))
        assert_close(spectral.dealias(left, grid), kept, unit=float(left.abs().max()))
        leaf = u.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(operator(leaf), leaf, v)
        assert_close(gradient, sign * right, unit=float(right.abs().max()) + 1e-30)


@given(even, even, extents, extents, st.integers(0, 5), st.integers(0, 5), st.floats(0, 6))
def test_trigonometric_polynomials_are_exact(n, m, width, height, p, q, phase):
    """cos(kx + ly + φ) below the highest modes is differentiated, dealiased and integrated exactly."""
    p, q = min(p, n // 2 - 1), min(q, m // 2 - 1)
    grid = torus((n, width), (m, height))
    x, y = grid.meshgrid()
    wave_x, wave_y = 2 * math.pi * p / width, 2 * math.pi * q / height
    angle = (wave_x * x + wave_y * y + phase)[None, None]
    unit = max(wave_x, wave_y, 1.0)
    assert_close(spectral.derivative(torch.cos(angle), grid, 0), -wave_x * torch.sin(angle), unit=unit)
    assert_close(spectral.derivative(torch.cos(angle), grid, 1), -wave_y * torch.sin(angle), unit=unit)
    assert_close(spectral.laplacian(torch.cos(angle), grid), -(wave_x**2 + wave_y**2) * torch.cos(angle), unit=unit**2)
    kept = 3 * p < n and 3 * q < m
    assert_close(spectral.dealias(torch.cos(angle), grid), torch.cos(angle) if kept else 0 * angle, unit=1.0)
    if p or q:
        assert_close(
            spectral.inverse_laplacian(torch.cos(angle), grid), -torch.cos(angle) / (wave_x**2 + wave_y**2), unit=width * height
        )


@given(even, even, extents, extents)
def test_the_inverse_inverts_on_mean_zero(n, m, width, height):
    grid, u = torus((n, width), (m, height)), normal(2, 1, n, m)
    free = u - u.mean((2, 3), keepdim=True)
    there = spectral.inverse_laplacian(u, grid)
    assert_close(there.mean((2, 3)), 0.0, unit=float(there.abs().max()))
    assert_close(spectral.laplacian(there, grid), free, unit=max(n / width, m / height) ** 2 * max(width, height) ** 2)


@given(even, even)
def test_products_of_dealiased_fields_have_no_alias_in_what_is_kept(n, m):
    """P(Pu Pv) on the grid is the truncation of the product on a grid of twice the size."""
    grid, fine = torus((n, 1.0), (m, 1.0)), torus((2 * n, 1.0), (2 * m, 1.0))
    u, v = (spectral.dealias(normal(1, 1, n, m, seed=s), grid) for s in (1, 2))

    def refined(f):
        modes, wide = spectral.modes(f, grid), torch.zeros(1, 1, 2 * n, m + 1, dtype=torch.complex128)
        half = n // 2
        wide[:, :, :half, : m // 2] = modes[:, :, :half, : m // 2]
        wide[:, :, -half:, : m // 2] = modes[:, :, -half:, : m // 2]
        return spectral.points(4 * wide, fine)

    exact = refined(u) * refined(v)
    inside = spectral.dealias(u * v, grid)
    keep = spectral.symbols(grid, u).dealias.bool()
    rows = torch.fft.fftfreq(n, 1 / n).long()
    truncated = spectral.modes(exact, fine)[:, :, rows][..., : m // 2 + 1] / 4
    assert_close(
        torch.view_as_real(spectral.modes(inside, grid)[:, :, keep]),
        torch.view_as_real(truncated[:, :, keep]),
        unit=float(truncated.abs().max()) + 1e-30,
    )


def test_the_checkerboard_has_no_derivative_but_a_laplacian():
    grid = torus((8, 2.0), (6, 3.0))
    i, j = torch.meshgrid(torch.arange(8), torch.arange(6), indexing="ij")
    board = ((-1.0) ** (i + j)).double()[None, None]
    assert_close(spectral.derivative(board, grid, 0), 0.0, unit=1.0)
    assert_close(spectral.laplacian(board, grid), -((4 * math.pi) ** 2 + (2 * math.pi) ** 2) * board)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes_and_dimensions_are_kept(dtype):
    line = torus((10, 1.0))
    x = line.axes[0].points().to(dtype)[None, None]
    wave = torch.sin(2 * math.pi * x)
    slope = spectral.derivative(wave, line, 0)
    assert slope.dtype == dtype
    assert_close(slope, 2 * math.pi * torch.cos(2 * math.pi * x))


@pytest.mark.parametrize("grid", [torus((7, 1.0), (8, 1.0)), torus((8, 1.0), (9, 1.0)), Grid.square(8)])
def test_odd_grids_and_other_layouts_are_refused_in_one_line(grid):
    with pytest.raises(InputError, match="even number of points: got Axis") as refusal:
        spectral.laplacian(torch.zeros(1, 1, *grid.shape), grid)
    assert "\n" not in str(refusal.value)


def test_foreign_shapes_are_refused():
    with pytest.raises(InputError, match="got shape"):
        spectral.dealias(torch.zeros(1, 1, 8, 6), torus((8, 1.0), (8, 1.0)))
