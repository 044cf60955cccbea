import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import stress_divergence
from pirf.operators.elements import _apply, _transposed, adjoint, deformation, solve_homogeneous, unit_stress

sizes = st.integers(2, 8)
extents = st.floats(0.2, 5)
ratios = st.floats(-0.8, 0.45)
seeds = st.integers(0, 2**32)
STRAIN = (1.0, -0.4, 0.7)


def torus(n, m, width=1.0, height=1.0):
    return Grid((Axis(n, width, "periodic"), Axis(m, height, "periodic")))


def fields(grid, seed, count=2, batch=1):
    """A modulus between about 1/20 and 20, and ``count`` displacements."""
    noise = Noise(seed)[range(batch)]
    e = noise.fold("e").normal((1, *grid.shape), torch.float64).exp()
    return (e, *(noise.fold("u", i).normal((2, *grid.shape), torch.float64) for i in range(count)))


def inner(x, y):
    return float((x * y).sum())


@given(sizes, sizes, extents, extents, ratios, seeds)
def test_the_matrix_is_symmetric(n, m, width, height, ratio, seed):
    grid = torus(n, m, width, height)
    e, u, v = fields(grid, seed)
    au, av = (stress_divergence(e, f, grid, ratio) for f in (u, v))
    assert abs(inner(v, au) - inner(u, av)) <= 1e-14 * float(au.norm() * v.norm() + u.norm() * av.norm())


@given(sizes, sizes, extents, extents, ratios, seeds)
def test_the_work_of_the_forces_is_the_energy_at_gauss_points(n, m, width, height, ratio, seed):
    """⟨u, A(E)u⟩ = Σ E ε·Cε over four points per element, ε from the slopes of the bilinear interpolation there."""
    grid = torus(n, m, width, height)
    e, u, _ = fields(grid, seed)
    hx, hy = grid.spacing
    a, b, c, d = u, u.roll(-1, 2), u.roll(-1, 3), u.roll((-1, -1), (2, 3))
    scale, energy = 1 / ((1 + ratio) * (1 - 2 * ratio)), 0.0
    for s in (0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12)):
        for t in (0.5 - math.sqrt(1 / 12), 0.5 + math.sqrt(1 / 12)):
            dx = ((1 - t) * (b - a) + t * (d - c)) / hx
            dy = ((1 - s) * (c - a) + s * (d - b)) / hy
            xx, yy, xy = dx[:, :1], dy[:, 1:], dy[:, :1] + dx[:, 1:]
            density = (1 - ratio) * (xx**2 + yy**2) + 2 * ratio * xx * yy + (0.5 - ratio) * xy**2
            energy += float((e * scale * density).sum()) / 4
    assert abs(inner(u, stress_divergence(e, u, grid, ratio)) - energy) <= 1e-12 * energy


@given(sizes, sizes, extents, extents, seeds)
def test_summation_by_parts(n, m, width, height, seed):
    grid = torus(n, m, width, height)
    _, u, v, w, _ = fields(grid, seed, 4)
    s = torch.cat([v, w, v[:, :1] - w[:, :1]], 1)
    du, ds = deformation(u, grid), _transposed(s, grid)
    assert abs(inner(du, s) - inner(u, ds)) <= 1e-13 * float(du.norm() * s.norm() + u.norm() * ds.norm())


@given(sizes, sizes, extents, extents, ratios, seeds)
def test_forces_balance_and_translations_are_free(n, m, width, height, ratio, seed):
    grid = torus(n, m, width, height)
    e, u, v = fields(grid, seed)
    f = stress_divergence(e, u, grid, ratio, STRAIN)
    assert_close(f.sum((2, 3)), 0.0, unit=float(f.abs().sum()))
    moved = u + v[..., :1, :1]
    assert_close(stress_divergence(e, moved, grid, ratio, STRAIN), f, unit=100 * float(f.abs().max() + 1))


@pytest.mark.parametrize("shape", [(4, 4), (4, 5), (3, 5), (2, 6)])
def test_nothing_but_translations_is_free(shape):
    grid = torus(*shape, 1.0, 1.3)
    e, _, _ = fields(grid, 0)
    points = 2 * shape[0] * shape[1]
    unit = torch.eye(points, dtype=torch.float64).reshape(points, 2, *shape)
    values = torch.linalg.eigvalsh(stress_divergence(e.expand(points, -1, -1, -1), unit, grid, 0.3).reshape(points, points))
    assert_close(values[:2], 0.0, unit=float(values[-1]))
    assert float(values[2]) > 1e-3 * float(values[-1])


def test_a_checkerboard_costs_its_exact_energy():
    """No mean strain, only twist: A u = ⁴⁄₃ (C₁₁/h_x² + C₃₃/h_y²) u.  One Gauss point instead of four would see nothing."""
    grid = torus(6, 8, 1.5, 1.0)
    hx, hy = grid.spacing
    i, j = torch.meshgrid(torch.arange(6), torch.arange(8), indexing="ij")
    board = torch.zeros(1, 2, 6, 8, dtype=torch.float64)
    board[:, 0] = 1 - 2 * ((i + j) % 2)
    assert not bool(deformation(board, grid)[:, :3].any())
    c11, c33 = 0.7 / (1.3 * 0.4), 0.5 / 1.3
    force = stress_divergence(torch.ones(1, 1, 6, 8, dtype=torch.float64), board, grid, 0.3)
    assert_close(force, 4 / 3 * (c11 / hx**2 + c33 / hy**2) * board)


def test_a_linear_displacement_is_a_mean_strain():
    """On one element of a torus that u = Gx does not close: its strain is that of G, its twist 0."""
    grid = torus(5, 7, 1.0, 2.0)
    x, y = grid.meshgrid()
    u = torch.stack([0.3 * x - 0.2 * y, 0.5 * x + 0.7 * y])[None]
    inside = deformation(u, grid)[0, :, :-1, :-1]
    assert_close(inside, torch.tensor([0.3, 0.7, 0.3, 0.0, 0.0], dtype=torch.float64).reshape(5, 1, 1), unit=1.0)


@given(sizes, sizes, seeds)
def test_translations_of_the_plane_commute_with_it(n, m, seed):
    grid = torus(n, m)
    e, u, _ = fields(grid, seed)
    moved = stress_divergence(e.roll((2, 3), (2, 3)), u.roll((2, 3), (2, 3)), grid, 0.3, STRAIN)
    assert_close(moved, stress_divergence(e, u, grid, 0.3, STRAIN).roll((2, 3), (2, 3)))


@given(sizes, sizes, extents, extents, ratios, seeds)
def test_exchanging_the_axes_exchanges_the_components(n, m, width, height, ratio, seed):
    e, u, _ = fields(torus(n, m), seed)
    force = stress_divergence(e, u, torus(n, m, width, height), ratio, STRAIN)
    xx, yy, xy = STRAIN
    mirrored = stress_divergence(e.mT, u.mT.flip(1), torus(m, n, height, width), ratio, (yy, xx, xy))
    assert_close(mirrored.mT.flip(1), force)


def test_the_stress_of_an_even_strain():
    grid = torus(2, 2)
    stress = unit_stress(torch.zeros(1, 5, 2, 2, dtype=torch.float64), grid, 0.3, STRAIN)[0, :, 0, 0]
    lame, shear = 0.3 / (1.3 * 0.4), 0.5 / 1.3
    expected = [lame * 0.6 + 2 * shear * 1.0, lame * 0.6 - 2 * shear * 0.4, shear * 0.7, 0.0, 0.0]
    assert_close(stress, torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=25)
@given(sizes, sizes, extents, extents, ratios, seeds, st.sampled_from([(0.0, 0.0, 0.0), STRAIN]))
def test_the_closed_forms_are_the_derivatives(n, m, width, height, ratio, seed, strain):
    """Against autograd through the plain formula, to a hundredth of the table's tolerance, channel by channel."""
    grid = torus(n, m, width, height)
    e, u, w = fields(grid, seed)
    rest = (grid, ratio, strain)
    leaves = [f.clone().requires_grad_() for f in (e, u)]
    expected = torch.autograd.grad(_apply(*leaves, *rest), leaves, w)
    for ours in (torch.autograd.grad(stress_divergence(*leaves, *rest), leaves, w), adjoint(e, u, w, *rest)):
        for mine, true in zip(ours, expected, strict=True):
            assert_close(mine, true, unit=0.01 * float(true.abs().max()))
    plain, ours = (
        torch.func.jvp(lambda a, b, f=operator: f(a, b, *rest), (e, u), (w[:, :1], w))[1]
        for operator in (_apply, stress_divergence)
    )
    assert_close(ours, plain, unit=0.01 * float(plain.abs().max()))


def test_second_derivatives_and_batches_of_tangents():
    grid = torus(2, 3, 1.0, 2.0)
    e, u, w = fields(grid, 3)
    e, u = e.requires_grad_(), u.requires_grad_()
    with torch.random.fork_rng(devices=()):
        assert torch.autograd.gradcheck(lambda a, b: stress_divergence(a, b, grid, 0.3, STRAIN), (e, u), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(lambda a, b: stress_divergence(a, b, grid, 0.3, STRAIN), (e, u))
    matrix = torch.func.jacrev(lambda b: stress_divergence(e.detach(), b, grid, 0.3, STRAIN))(u.detach()).reshape(12, 12)
    assert_close(matrix, matrix.T)
    assert_close(matrix @ w.flatten(), stress_divergence(e, w, grid, 0.3).flatten())


def test_only_what_is_asked_for_is_computed():
    grid = torus(4, 4)
    e, u, w = fields(grid, 0)
    assert adjoint(e, u, w, grid, 0.3, STRAIN, (False, True))[0] is None
    assert adjoint(e, u, w, grid, 0.3, STRAIN, (True, False))[1] is None


def test_it_saves_its_two_fields_and_nothing_else():
    grid = torus(8, 8)
    e, u, _ = (f.requires_grad_() for f in fields(grid, 0))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.data_ptr()), t)[1], lambda t: t):
        stress_divergence(e, u, grid, 0.3, STRAIN)
    assert sorted(saved) == sorted([e.data_ptr(), u.data_ptr()])


@given(st.integers(2, 9), st.integers(2, 9), extents, extents, ratios, seeds)
def test_the_homogeneous_medium_is_inverted_wave_by_wave(n, m, width, height, ratio, seed):
    """Even and odd grids, highest modes and translations included."""
    grid = torus(n, m, width, height)
    _, u, _ = fields(grid, seed)
    f = stress_divergence(torch.ones_like(u[:, :1]), u, grid, ratio) + u.mean((2, 3), keepdim=True)
    assert_close(solve_homogeneous(f, grid, ratio), u, unit=100.0)


def test_other_grids_and_foreign_fields_are_refused():
    e, u, _ = fields(torus(4, 4), 0)
    with pytest.raises(InputError, match=r"two periodic axes: got Grid.square\(4\)"):
        stress_divergence(e, u, Grid.square(4), 0.3)
    with pytest.raises(InputError, match="got shape"):
        stress_divergence(e, u, torus(4, 5), 0.3)
    with pytest.raises(InputError, match="got shape"):
        stress_divergence(u, u, torus(4, 4), 0.3)


def test_its_formula_compiles_without_a_graph_break():
    """What it is while compiling; the run-time type checks of this suite around it cannot be traced."""
    grid = torus(4, 4)
    e, u, w = fields(grid, 0)
    whole = torch.compile(lambda a, b: _apply(a, b, grid, 0.3, STRAIN), fullgraph=True, backend="aot_eager")
    leaves = [f.requires_grad_() for f in (e, u)]
    expected = torch.autograd.grad(stress_divergence(*leaves, grid, 0.3, STRAIN), leaves, w)
    for mine, true in zip(torch.autograd.grad(whole(*leaves), leaves, w), expected, strict=True):
        assert_close(mine, true)
