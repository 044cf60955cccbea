import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import fft
from tolerances import assert_close
from toys import normal

from pirf import reference
from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Dirichlet, Neumann, dct, dst, edge_rows, idct, idst, laplacian, solve_dirichlet, solve_neumann
from pirf.operators.transforms import (
    cosine_matrix,
    dirichlet_eigenvalues,
    dirichlet_spectrum,
    neumann_eigenvalues,
    sine_matrix,
)

sizes = st.integers(2, 40)
WIDE = torch.zeros((), dtype=torch.float64)


@given(sizes)
def test_both_matrices_are_orthonormal(n):
    for matrix in (sine_matrix(n, WIDE), cosine_matrix(n, WIDE)):
        assert_close(matrix.T @ matrix, torch.eye(n, dtype=torch.float64))
        assert_close(matrix @ matrix.T, torch.eye(n, dtype=torch.float64))
        x = normal(n)
        assert_close((matrix.T @ x).square().sum(), x.square().sum())  # Parseval


@given(sizes)
def test_they_are_the_transforms_of_an_independent_library(n):
    x = normal(n)
    assert_close(sine_matrix(n, WIDE).T @ x, torch.from_numpy(fft.dst(x.numpy(), type=2, norm="ortho")), unit=float(x.norm()))
    assert_close(cosine_matrix(n, WIDE).T @ x, torch.from_numpy(fft.dct(x.numpy(), type=2, norm="ortho")), unit=float(x.norm()))


@given(st.lists(st.integers(2, 9), min_size=1, max_size=3))
def test_field_transforms_act_along_every_axis_of_the_grid(shape):
    x, axes = normal(2, 3, *shape), tuple(range(2, 2 + len(shape)))
    for ours, inverse, theirs in ((dst, idst, fft.dstn), (dct, idct, fft.dctn)):
        modes = ours(x)
        assert_close(modes, torch.from_numpy(theirs(x.numpy(), type=2, norm="ortho", axes=axes)), unit=float(x.norm()))
        assert_close(inverse(modes), x)
        assert_close(modes.square().flatten(1).sum(1), x.square().flatten(1).sum(1))  # Parseval


@given(st.lists(st.integers(2, 9), min_size=1, max_size=3), st.integers(0, 2**32))
def test_the_gradient_of_a_transform_is_its_inverse(shape, seed):
    """Orthonormal: Fᵀ = F⁻¹."""
    x, w = Noise(seed)[range(2)].normal((1, *shape), torch.float64).split(1)
    for forward, inverse in ((dst, idst), (idst, dst), (dct, idct), (idct, dct)):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(forward(leaf), leaf, w)
        assert_close(gradient, inverse(w))


@given(sizes, st.floats(0.1, 10))
def test_sines_are_the_eigenvectors_of_the_dirichlet_laplacian(n, extent):
    axis = Axis(n, extent)
    sines = sine_matrix(n, WIDE)
    moved = laplacian(sines.T[:, None], Grid((axis,)), Dirichlet())[:, 0].T
    assert_close(moved, sines * dirichlet_eigenvalues(axis, WIDE), unit=4 / axis.spacing**2)


@given(sizes, st.floats(0.1, 10))
def test_cosines_are_the_eigenvectors_of_the_neumann_laplacian(n, extent):
    axis = Axis(n, extent)
    cosines = cosine_matrix(n, WIDE)
    moved = laplacian(cosines.T[:, None], Grid((axis,)), Neumann())[:, 0].T
    assert_close(moved, cosines * neumann_eigenvalues(axis, WIDE), unit=4 / axis.spacing**2)


@given(sizes, sizes, st.floats(0.2, 5), st.floats(0.2, 5), st.floats(-20, 0))
def test_solving_inverts_the_laplacian(n, m, width, height, shift):
    grid, u = Grid((Axis(n, width), Axis(m, height))), normal(2, 1, n, m)
    r = laplacian(u, grid, Dirichlet()) + shift * u
    # λ_max/λ_min, the condition of the operator, is the unit in which round-off reaches u.
    lam, mu = (dirichlet_eigenvalues(axis, WIDE) for axis in grid.axes)
    condition = float((lam.min() + mu.min() + shift) / (lam.max() + mu.max() + shift))
    assert_close(solve_dirichlet(r, grid, shift), u, unit=max(1.0, 1e-3 * condition) * float(u.abs().max()))
    back = solve_dirichlet(u, grid, shift)
    assert_close(laplacian(back, grid, Dirichlet()) + shift * back, u, unit=max(1.0, 1e-3 * condition) * float(u.abs().max()))


@given(st.lists(st.integers(2, 7), min_size=1, max_size=3), st.floats(-20, 0))
def test_it_inverts_the_laplacian_in_any_dimension(shape, shift):
    grid, u = Grid(tuple(Axis(n, 0.5 * n) for n in shape)), normal(2, 3, *shape)
    assert_close(solve_dirichlet(laplacian(u, grid, Dirichlet()) + shift * u, grid, shift), u)
    assert dirichlet_spectrum(grid, u).shape == grid.shape


@given(st.lists(st.tuples(st.integers(3, 9), st.sampled_from(["cells", "nodes"])), min_size=1, max_size=3), st.floats(-20, 0))
def test_it_inverts_the_laplacian_on_nodes_too(axes, shift):
    """With u = 0 at the end nodes, where the right side then does not count."""
    grid = Grid(tuple(Axis(n, 0.5 * n, layout) for n, layout in axes))
    one = torch.ones(1, 1, *grid.shape, dtype=torch.float64)
    ends = edge_rows(0 * one, one, grid) > 0
    u = normal(2, 3, *grid.shape) * ~ends
    right = laplacian(u, grid, Dirichlet()) + shift * u
    assert_close(solve_dirichlet(right + ends, grid, shift), u)
    assert dirichlet_spectrum(grid, u).numel() == int((~ends).sum())


@pytest.mark.parametrize("solver", [solve_dirichlet, solve_neumann])
@pytest.mark.parametrize(("layout", "n"), [("nodes", 2), ("periodic", 4)])
def test_other_layouts_are_refused(solver, layout, n):
    with pytest.raises(InputError, match=rf"works on cells.*: got Grid.square\({n}, 1.0, '{layout}'\)"):
        solver(torch.zeros(1, 1, n, n), Grid.square(n, layout=layout))


@pytest.mark.parametrize("n", [4, 32, 64])
def test_the_solution_agrees_with_the_reference_to_round_off(n):
    a = reference.random_fields.neumann_field(n, range(3), seed=1)
    assert_close(
        solve_dirichlet(torch.from_numpy(a)[:, None], Grid.square(n))[:, 0], torch.from_numpy(reference.poisson.solve(a))
    )


def test_a_cached_matrix_survives_inference_mode():
    with torch.inference_mode():
        solve_dirichlet(torch.zeros(1, 1, 11, 13, dtype=torch.float64), Grid((Axis(11), Axis(13))))
    r = normal(1, 1, 11, 13).requires_grad_()
    solve_dirichlet(r, Grid((Axis(11), Axis(13)))).square().sum().backward()
    assert float(r.grad.norm()) > 0


def test_narrow_matrices_are_the_wide_ones_rounded():
    assert torch.equal(sine_matrix(9, torch.zeros(())), sine_matrix(9, WIDE).float())
    assert np.allclose(cosine_matrix(9, torch.zeros(())), cosine_matrix(9, WIDE).float(), rtol=0, atol=0)


@given(sizes, sizes, st.floats(0.2, 5), st.floats(0.2, 5))
def test_solving_without_a_boundary_value_inverts_the_lifted_laplacian(n, m, width, height):
    grid, u = Grid((Axis(n, width), Axis(m, height))), normal(2, 1, n, m)
    r = laplacian(u, grid, Neumann()) - u.mean((2, 3), keepdim=True)
    lam, mu = (neumann_eigenvalues(axis, WIDE) for axis in grid.axes)
    condition = float(-(lam.min() + mu.min())) / min(1.0, float(-lam[1]), float(-mu[1]))
    assert_close(solve_neumann(r, grid), u, unit=max(1.0, 1e-3 * condition) * float(u.abs().max()))


def test_the_neumann_solution_agrees_with_the_reference():
    a = reference.random_fields.neumann_field(16, range(3), seed=1)
    ours = solve_neumann(torch.from_numpy(a)[:, None], Grid.square(16))[:, 0]
    assert_close(ours, torch.from_numpy(reference.poisson.solve_neumann(a)))
