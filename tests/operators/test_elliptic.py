import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from pirf.errors import InputError, NumericalError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Dirichlet, Neumann, Periodic, conjugate_gradients, flux_divergence, solve_flux_divergence

sizes = st.integers(2, 9)
extents = st.floats(0.5, 2)
walls = st.sampled_from([Dirichlet(0.0), Neumann(0.0)])


def fields(grid, seed, batch=1):
    noise = Noise(seed)[range(batch)]
    a = (0.7 * noise.fold("a").normal((1, *grid.shape), torch.float64)).exp()
    return a, noise.fold("f").normal((1, *grid.shape), torch.float64), noise.fold("w").normal((1, *grid.shape), torch.float64)


def operator(a, u, grid, boundary):
    lifted = u.mean((1, 2, 3), keepdim=True) if isinstance(boundary, Neumann) else 0.0
    return flux_divergence(a, u, grid, boundary) + lifted


def dense(a, grid, boundary):
    """The matrix by its columns, differentiable in ``a``."""
    points = a.numel()
    unit = torch.eye(points, dtype=a.dtype).reshape(points, *a.shape[1:])
    return operator(a.expand(unit.shape), unit, grid, boundary).reshape(points, points)


@settings(max_examples=20)
@given(sizes, sizes, extents, extents, st.integers(0, 2**32), walls)
def test_it_inverts_the_operator(n, m, width, height, seed, boundary):
    grid = Grid((Axis(n, width), Axis(m, height)))
    a, u, f = fields(grid, seed)
    right = operator(a, u, grid, boundary)
    # What rounding of the right side does to u: ‖A⁻¹‖‖Au‖.
    unit = float(torch.linalg.inv(dense(a, grid, boundary)).norm() * right.norm())
    assert_close(solve_flux_divergence(a, right, grid, boundary), u, unit=max(1.0, 0.1 * unit))
    assert_close(operator(a, solve_flux_divergence(a, f, grid, boundary), grid, boundary), f)


@settings(max_examples=3)
@given(st.integers(0, 2**32), walls)
def test_its_derivatives_are_those_of_a_dense_solve(seed, boundary):
    grid = Grid.square(8)
    a, f, w = fields(grid, seed)
    leaves = [x.clone().requires_grad_() for x in (a, f)]
    exact = torch.linalg.solve(dense(leaves[0], grid, boundary), leaves[1].flatten()).reshape(f.shape)
    ours = solve_flux_divergence(*leaves, grid, boundary)
    assert_close(ours, exact)
    for mine, true in zip(torch.autograd.grad(ours, leaves, w), torch.autograd.grad(exact, leaves, w), strict=True):
        assert_close(mine, true)
    tangents = (a * w, w)
    _, forward = torch.func.jvp(lambda b, g: solve_flux_divergence(b, g, grid, boundary), (a, f), tangents)
    matrix = dense(a, grid, boundary)
    u = torch.linalg.solve(matrix, f.flatten())
    _, change = torch.func.jvp(lambda b: operator(b, u.reshape(f.shape), grid, boundary), (a,), (a * w,))
    assert_close(forward.flatten(), torch.linalg.solve(matrix, w.flatten() - change.flatten()))


@pytest.mark.parametrize("boundary", [Dirichlet(0.0), Neumann(0.0)])
def test_a_batch_of_tangents_is_a_longer_batch(boundary):
    grid = Grid((Axis(2), Axis(3, 1.5)))
    a, f, _ = fields(grid, 4)
    exact = torch.linalg.inv(dense(a, grid, boundary))
    for jacobian in (torch.func.jacfwd, torch.func.jacrev):
        assert_close(jacobian(lambda g: solve_flux_divergence(a, g, grid, boundary))(f).reshape(6, 6), exact)
    into_a = [j(lambda b: solve_flux_divergence(b, f, grid, boundary))(a) for j in (torch.func.jacfwd, torch.func.jacrev)]
    assert_close(*into_a)


@pytest.mark.parametrize("boundary", [Dirichlet(0.0), Neumann(0.0)])
def test_second_derivatives(boundary):
    grid = Grid((Axis(2), Axis(3)))
    a, f, w = fields(grid, 2)
    leaves = [x.requires_grad_() for x in (a, f)]

    def gradients(solve):
        first = torch.autograd.grad(solve(*leaves), leaves, w, create_graph=True)
        return torch.autograd.grad(first, leaves, (f.detach(), a.detach()))

    exact = gradients(lambda b, g: torch.linalg.solve(dense(b, grid, boundary), g.flatten()).reshape(g.shape))
    ours = gradients(lambda b, g: solve_flux_divergence(b, g, grid, boundary))
    for mine, true in zip(ours, exact, strict=True):
        assert_close(mine, true)


@pytest.mark.parametrize("boundary", [Dirichlet(0.0), Neumann(0.0)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_sample_does_not_depend_on_its_batch(boundary, dtype):
    """Iterations stop per sample: an easy one beside a hard one, and beside zero, is solved as if alone."""
    grid = Grid.square(12)
    a, f, _ = (x.to(dtype) for x in fields(grid, 5, batch=3))
    a[0], f[1] = 1.0 + 0.01 * a[0], 0.0
    together = solve_flux_divergence(a, f, grid, boundary)
    for i in range(3):
        assert_close(together[i : i + 1], solve_flux_divergence(a[i : i + 1], f[i : i + 1], grid, boundary), unit=1.0)
    assert not bool(together[1].any())


def test_a_jump_by_a_factor_of_ten_thousand_is_solved_to_the_table():
    grid = Grid.square(24)
    a, f, _ = fields(grid, 7)
    a = torch.where(a > 1, 100.0, 0.01).to(f)
    u = solve_flux_divergence(a, f, grid, Dirichlet(0.0))
    assert_close(flux_divergence(a, u, grid, Dirichlet(0.0)), f)


def test_nan_stays_in_its_sample():
    grid = Grid.square(6)
    a, f, _ = fields(grid, 1, batch=2)
    f[0, 0, 0, 0] = float("nan")
    out = solve_flux_divergence(a, f, grid, Dirichlet(0.0))
    assert bool(out[0].isnan().any())
    assert_close(out[1:], solve_flux_divergence(a[1:], f[1:], grid, Dirichlet(0.0)))


def test_a_value_on_the_boundary_belongs_to_the_residual():
    grid = Grid.square(6)
    a, f, _ = fields(grid, 1)
    assert torch.equal(solve_flux_divergence(a, f, grid, Dirichlet(3.0)), solve_flux_divergence(a, f, grid, Dirichlet(0.0)))


def test_what_it_cannot_solve_is_refused(monkeypatch):
    a, f, _ = fields(Grid.square(6), 1)
    with pytest.raises(InputError, match="got Periodic"):
        solve_flux_divergence(a, f, Grid.square(6), Periodic())
    with pytest.raises(InputError, match="1 dimension"):
        solve_flux_divergence(a[:, :, 0], f[:, :, 0], Grid((Axis(6),)), Dirichlet(0.0))
    with pytest.raises(InputError, match=r"got torch\.bfloat16"):
        solve_flux_divergence(a.bfloat16(), f.bfloat16(), Grid.square(6), Dirichlet(0.0))
    monkeypatch.setattr(conjugate_gradients, "_ITERATIONS", 2)
    with pytest.raises(NumericalError, match=r"did not converge in 2 iterations: coefficients from .* to"):
        solve_flux_divergence(a, f, Grid.square(6), Dirichlet(0.0))
