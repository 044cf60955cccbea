import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import assert_close

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import Dirichlet, Neumann, Periodic, flux_divergence, laplacian
from pirf.operators.boundary import homogeneous
from pirf.operators.volumes import _apply, adjoint, coefficient_derivative, local_mean

sizes = st.integers(2, 9)
extents = st.floats(0.2, 5)
seeds = st.integers(0, 2**32)
boundaries = st.sampled_from([Dirichlet(0.0), Neumann(0.0), Periodic(), Dirichlet(0.7), Neumann(-1.3)])


def plane(n, m, width, height):
    return Grid((Axis(n, width), Axis(m, height)))


def fields(grid, seed, count=2):
    """A permeability between about 1/20 and 20, and ``count`` normal fields."""
    noise = Noise(seed)
    a = noise.fold("a").normal((1, *grid.shape), torch.float64).exp()
    return (a, *(noise.fold("p", i).normal((1, *grid.shape), torch.float64) for i in range(count)))


def inner(x, y):
    return float((x * y).sum())


@given(sizes, sizes, extents, extents, seeds, boundaries)
def test_the_matrix_is_symmetric(n, m, width, height, seed, boundary):
    grid = plane(n, m, width, height)
    a, p, q = fields(grid, seed)
    still = homogeneous(boundary)
    ap, aq = flux_divergence(a, p, grid, still), flux_divergence(a, q, grid, still)
    size = float(ap.norm() * q.norm() + p.norm() * aq.norm())
    assert abs(inner(q, ap) - inner(p, aq)) <= 1e-14 * size


@given(sizes, sizes, extents, extents, seeds)
def test_summation_by_parts(n, m, width, height, seed):
    """⟨p, Ap⟩ = Σ_faces T(δp)²/h² + Σ_walls 2a p²/h², term by term from the definition."""
    grid = plane(n, m, width, height)
    a, p = fields(grid, seed, 1)
    energy = 0.0
    for dim, axis in enumerate(grid.axes, start=2):
        (b, c), (q, r) = ((f.narrow(dim, 0, axis.n - 1), f.narrow(dim, 1, axis.n - 1)) for f in (a, p))
        energy += float((2 * b * c / (b + c) * (r - q) ** 2).sum()) / axis.spacing**2
    closed = inner(p, flux_divergence(a, p, grid, Neumann(0.0)))
    assert abs(closed - energy) <= 1e-12 * energy
    for dim, axis in enumerate(grid.axes, start=2):
        for end in (0, axis.n - 1):
            energy += float((2 * a * p**2).select(dim, end).sum()) / axis.spacing**2
    assert abs(inner(p, flux_divergence(a, p, grid, Dirichlet(0.0))) - energy) <= 1e-12 * energy


@given(sizes, sizes, extents, extents, seeds, st.floats(-2, 2))
def test_the_rows_sum_to_the_flux_through_the_boundary(n, m, width, height, seed, value):
    grid = plane(n, m, width, height)
    a, p = fields(grid, seed, 1)
    unit = float(flux_divergence(a, p, grid, Dirichlet(value)).abs().sum())
    assert abs(float(flux_divergence(a, p, grid, Neumann(0.0)).sum())) <= 1e-13 * unit
    assert abs(float(flux_divergence(a, p, grid, Periodic()).sum())) <= 1e-13 * float(
        flux_divergence(a, p, grid, Periodic()).abs().sum() + 1
    )
    walls = prescribed = 0.0
    for dim, axis in enumerate(grid.axes, start=2):
        for end in (0, axis.n - 1):
            walls += float((2 * a * (p - value)).select(dim, end).sum()) / axis.spacing**2
            prescribed -= value * float(a.select(dim, end).sum()) / axis.spacing
    assert abs(float(flux_divergence(a, p, grid, Dirichlet(value)).sum()) - walls) <= 1e-12 * unit
    flux = flux_divergence(a, p, grid, Neumann(value))
    assert abs(float(flux.sum()) - prescribed) <= 1e-12 * float(flux.abs().sum() + 1)


@given(sizes, sizes, extents, extents, seeds, st.floats(0.1, 10))
def test_constants_are_in_the_kernel_exactly_without_boundary_values(n, m, width, height, seed, level):
    grid = plane(n, m, width, height)
    (a,) = fields(grid, seed, 0)
    constant = torch.full_like(a, level)
    for free in (Neumann(0.0), Periodic()):
        assert not bool(flux_divergence(a, constant, grid, free).any())
    walls = flux_divergence(a, constant, grid, Dirichlet(0.0))
    assert bool((walls[..., 0, :] > 0).all())
    assert not bool(flux_divergence(a, constant, grid, Dirichlet(level)).any())


@given(sizes, sizes, extents, extents, seeds, boundaries, st.floats(0.1, 10))
def test_a_constant_permeability_gives_the_laplacian(n, m, width, height, seed, boundary, level):
    grid = plane(n, m, width, height)
    _, p = fields(grid, seed, 1)
    expected = -level * laplacian(p, grid, boundary)
    assert_close(flux_divergence(torch.full_like(p, level), p, grid, boundary), expected)


@given(sizes, sizes, seeds)
def test_translations_commute_with_a_periodic_operator(n, m, seed):
    grid = Grid((Axis(n, 1.0, "periodic"), Axis(m, 1.0, "periodic")))
    a, p = fields(grid, seed, 1)
    moved = flux_divergence(a.roll((1, 2), (2, 3)), p.roll((1, 2), (2, 3)), grid, Periodic())
    assert_close(moved, flux_divergence(a, p, grid, Periodic()).roll((1, 2), (2, 3)))


@settings(max_examples=25)
@given(sizes, sizes, extents, extents, seeds, boundaries)
def test_the_closed_forms_are_the_derivatives(n, m, width, height, seed, boundary):
    """Against autograd through the plain formula, to a hundredth of the table's tolerance, channel by channel."""
    grid = plane(n, m, width, height)
    a, p, w = fields(grid, seed)
    leaves = [f.clone().requires_grad_() for f in (a, p)]
    expected = torch.autograd.grad(_apply(*leaves, grid, boundary), leaves, w)
    for ours in (torch.autograd.grad(flux_divergence(*leaves, grid, boundary), leaves, w), adjoint(a, p, w, grid, boundary)):
        for mine, true in zip(ours, expected, strict=True):
            assert_close(mine, true, unit=0.01 * float(true.abs().max() + 1e-3 * expected[1].abs().max()))
    _, forward = torch.func.jvp(lambda b: _apply(b, p, grid, boundary), (a,), (w,))
    assert_close(coefficient_derivative(a, w, p, grid, boundary), forward, unit=float(forward.abs().max() + 1e-6))
    plain, ours = (
        torch.func.jvp(lambda b, q, f=operator: f(b, q, grid, boundary), (a, p), (w, a))[1]
        for operator in (_apply, flux_divergence)
    )
    assert_close(ours, plain, unit=float(plain.abs().max() + 1e-6))


def test_the_adjoint_of_the_paper_by_hand():
    """λ_p = A(a)λ; λ_a(i) = h⁻²[Σ_{faces∋i} (2a_j²/(a_i+a_j)²) δλ δp + (#boundary faces) 2λ_i p_i]."""
    n = 5
    grid = Grid.square(n)
    a, p, w = (f[0, 0] for f in fields(grid, 1))
    into_a = torch.zeros(n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            for k, m in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= k < n and 0 <= m < n:
                    share = 2 * a[k, m] ** 2 / (a[i, j] + a[k, m]) ** 2
                    into_a[i, j] += share * (w[k, m] - w[i, j]) * (p[k, m] - p[i, j])
                else:
                    into_a[i, j] += 2 * w[i, j] * p[i, j]
    ours = adjoint(*(f[None, None] for f in (a, p, w)), grid, Dirichlet(0.0))
    assert_close(ours[0][0, 0], n**2 * into_a)
    assert_close(ours[1], flux_divergence(a[None, None], w[None, None], grid, Dirichlet(0.0)))


@pytest.mark.parametrize("boundary", [Dirichlet(0.3), Neumann(0.5), Periodic()])
def test_second_derivatives_and_batches_of_tangents(boundary):
    grid = plane(2, 3, 1.0, 2.0)
    a, p, w = fields(grid, 3)
    a, p = a.requires_grad_(), p.requires_grad_()
    with torch.random.fork_rng(devices=()):
        assert torch.autograd.gradcheck(lambda b, q: flux_divergence(b, q, grid, boundary), (a, p), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(lambda b, q: flux_divergence(b, q, grid, boundary), (a, p))
    rows = torch.func.jacrev(lambda q: flux_divergence(a.detach(), q, grid, homogeneous(boundary)))(p.detach())
    matrix = rows.reshape(6, 6)
    assert_close(matrix, matrix.T)
    assert_close(matrix @ w.flatten(), flux_divergence(a, w, grid, homogeneous(boundary)).flatten())


def test_only_what_is_asked_for_is_computed():
    grid = Grid.square(4)
    a, p, w = fields(grid, 0)
    assert adjoint(a, p, w, grid, Dirichlet(0.0), (False, True))[0] is None
    assert adjoint(a, p, w, grid, Dirichlet(0.0), (True, False))[1] is None


def test_it_saves_its_two_fields_and_nothing_else():
    grid = Grid.square(16)
    a, p, _ = (f.requires_grad_() for f in fields(grid, 0))
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.data_ptr()), t)[1], lambda t: t):
        flux_divergence(a, p, grid, Dirichlet(0.0))
    assert sorted(saved) == sorted([a.data_ptr(), p.data_ptr()])


def test_the_local_mean_of_a_constant_is_that_constant():
    grid = plane(4, 6, 1.0, 3.0)
    for boundary in (Dirichlet(0.0), Neumann(0.0), Periodic()):
        assert_close(local_mean(torch.full((1, 1, 4, 6), 3.0, dtype=torch.float64), grid, boundary), 3.0)


def test_nodes_and_foreign_fields_are_refused():
    a, p, _ = fields(Grid.square(4), 0)
    with pytest.raises(InputError, match="got an axis with layout='nodes'"):
        flux_divergence(a, p, Grid.square(4, layout="nodes"), Dirichlet(0.0))
    with pytest.raises(InputError, match="got shape"):
        flux_divergence(a, p, Grid.square(5), Dirichlet(0.0))


def test_its_formula_compiles_without_a_graph_break():
    """What it is while compiling; the run-time type checks of this suite around it cannot be traced."""
    grid, boundary = Grid.square(4), Dirichlet(0.0)
    a, p, w = fields(grid, 0)
    whole = torch.compile(lambda b, q: _apply(b, q, grid, boundary), fullgraph=True, backend="aot_eager")
    leaves = [f.requires_grad_() for f in (a, p)]
    expected = torch.autograd.grad(flux_divergence(*leaves, grid, boundary), leaves, w)
    for mine, true in zip(torch.autograd.grad(whole(*leaves), leaves, w), expected, strict=True):
        assert_close(mine, true)
