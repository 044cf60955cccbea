import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from pirf.errors import NumericalError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import conjugate_gradients, solve_stress_divergence, stress_divergence

sizes = st.integers(2, 8)
extents = st.floats(0.5, 2)
RATIO = 0.3


def torus(n, m, width=1.0, height=1.0):
    return Grid((Axis(n, width, "periodic"), Axis(m, height, "periodic")))


def fields(grid, seed, batch=1):
    noise = Noise(seed)[range(batch)]
    e = (0.7 * noise.fold("e").normal((1, *grid.shape), torch.float64)).exp()
    return e, noise.fold("f").normal((2, *grid.shape), torch.float64), noise.fold("w").normal((2, *grid.shape), torch.float64)


def operator(e, u, grid):
    return stress_divergence(e, u, grid, RATIO) + u.mean((2, 3), keepdim=True)


def dense(e, grid):
    """The matrix by its columns, differentiable in ``e``."""
    points = 2 * e.numel()
    unit = torch.eye(points, dtype=e.dtype).reshape(points, 2, *grid.shape)
    return operator(e.expand(points, -1, -1, -1), unit, grid).reshape(points, points).T


@settings(max_examples=20)
@given(sizes, sizes, extents, extents, st.integers(0, 2**32))
def test_it_inverts_the_operator(n, m, width, height, seed):
    grid = torus(n, m, width, height)
    e, u, f = fields(grid, seed)
    right = operator(e, u, grid)
    # What rounding of the right side does to u: ‖A⁻¹‖‖Au‖.
    unit = float(torch.linalg.inv(dense(e, grid)).norm() * right.norm())
    assert_close(solve_stress_divergence(e, right, grid, RATIO), u, unit=max(1.0, 0.1 * unit))
    assert_close(operator(e, solve_stress_divergence(e, f, grid, RATIO), grid), f)


@settings(max_examples=3)
@given(st.integers(0, 2**32))
def test_its_derivatives_are_those_of_a_dense_solve(seed):
    grid = torus(6, 5)
    e, f, w = fields(grid, seed)
    leaves = [x.clone().requires_grad_() for x in (e, f)]
    exact = torch.linalg.solve(dense(leaves[0], grid), leaves[1].flatten()).reshape(f.shape)
    ours = solve_stress_divergence(*leaves, grid, RATIO)
    assert_close(ours, exact)
    for mine, true in zip(torch.autograd.grad(ours, leaves, w), torch.autograd.grad(exact, leaves, w), strict=True):
        assert_close(mine, true)
    change = e * w[:, :1]
    _, forward = torch.func.jvp(lambda a, b: solve_stress_divergence(a, b, grid, RATIO), (e, f), (change, w))
    right = w - stress_divergence(change, exact.detach(), grid, RATIO)
    assert_close(forward.flatten(), torch.linalg.solve(dense(e, grid), right.flatten()))


def test_second_derivatives():
    grid = torus(2, 3)
    e, f, w = fields(grid, 2)
    leaves = [x.requires_grad_() for x in (e, f)]

    def gradients(solve):
        first = torch.autograd.grad(solve(*leaves), leaves, w, create_graph=True)
        return torch.autograd.grad(first, leaves, (f.detach()[:, :1], w))

    exact = gradients(lambda a, b: torch.linalg.solve(dense(a, grid), b.flatten()).reshape(b.shape))
    ours = gradients(lambda a, b: solve_stress_divergence(a, b, grid, RATIO))
    for mine, true in zip(ours, exact, strict=True):
        assert_close(mine, true)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_sample_does_not_depend_on_its_batch(dtype):
    grid = torus(12, 12)
    e, f, _ = (x.to(dtype) for x in fields(grid, 5, batch=3))
    e[0], f[1] = 1.0 + 0.01 * e[0], 0.0
    together = solve_stress_divergence(e, f, grid, RATIO)
    for i in range(3):
        alone = solve_stress_divergence(e[i : i + 1], f[i : i + 1], grid, RATIO)
        assert_close(together[i : i + 1], alone, unit=1.0)
    assert not bool(together[1].any())


def test_a_jump_by_a_factor_of_a_thousand_is_solved_to_the_table():
    grid = torus(24, 24)
    e, f, _ = fields(grid, 7)
    e = torch.where(e > 1, 10.0, 0.01).to(f)
    assert_close(operator(e, solve_stress_divergence(e, f, grid, RATIO), grid), f)


def test_no_convergence_is_an_error_that_names_the_contrast(monkeypatch):
    grid = torus(6, 6)
    e, f, _ = fields(grid, 1)
    monkeypatch.setattr(conjugate_gradients, "_ITERATIONS", 2)
    with pytest.raises(NumericalError, match=r"did not converge in 2 iterations: coefficients from .* to"):
        solve_stress_divergence(e, f, grid, RATIO)
