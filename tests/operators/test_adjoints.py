"""Closed-form derivatives against autograd through the plain formulas, to twelve digits: values, first and second ones."""

import math

import pytest
import torch
from tolerances import assert_close
from toys import normal

from pirf.grids import Axis, Grid
from pirf.operators import Dirichlet, Neumann, Periodic, flux_divergence, laplacian, skew_advection, spectral
from pirf.operators.adjoints import affine, smooth
from pirf.operators.stencils import _apply
from pirf.operators.volumes import _apply as recorded
from pirf.rewards import Burgers, Helmholtz, Kolmogorov, Poisson

CELLS = Grid((Axis(3, 0.7), Axis(4, 1.6)))
CIRCLES = Grid((Axis(5, 0.7, "periodic"), Axis(6, 1.6, "periodic")))
FRAMES = Grid((Axis(4, 0.6, "nodes"), Axis(5, 1.3, "periodic")))
TORUS = Grid((Axis(6, 2 * math.pi, "periodic"), Axis(14, 2 * math.pi, "periodic")))
WALLS = Dirichlet(0.0)


def poisson(x):
    return _apply(x[:, 1:], CELLS, WALLS, 2) - x[:, :1]


def helmholtz(x):
    return poisson(x) + 9.0 * x[:, 1:]


def burgers(x):
    circle, u = Grid(FRAMES.axes[1:]), x[:, 0]
    rate = skew_advection(u, circle) - 0.03 * _apply(u, circle, Periodic(), 2)
    return ((u[:, 1:] - u[:, :-1]) / FRAMES.spacing[0] + 0.5 * (rate[:, 1:] + rate[:, :-1]))[:, None]


def kolmogorov(x):
    """The equation term by term, each field there and back: u·∇ω with both factors dealiased is ∇·(uω)."""
    kept = spectral.dealias(x, TORUS)
    stream = -spectral.inverse_laplacian(kept, TORUS)
    u, v = spectral.derivative(stream, TORUS, 1), -spectral.derivative(stream, TORUS, 0)
    advection = u * spectral.derivative(kept, TORUS, 0) + v * spectral.derivative(kept, TORUS, 1)
    viscous = spectral.laplacian(x, TORUS) / 40.0 - 0.1 * x
    g = viscous - spectral.dealias(advection, TORUS) - 4 * torch.cos(4 * TORUS.meshgrid()[1])
    g0, g1, g2 = g.split(1, 1)
    return (x[:, 1:] - x[:, :-1]) * 32 - torch.cat([5 * g0 + 8 * g1 - g2, -g0 + 8 * g1 + 5 * g2], 1) / 12


def stencil(boundary, order, grid=CELLS):
    """The Laplacian with and without its rule."""
    return lambda x: laplacian(x, grid, boundary, order), lambda x: _apply(x, grid, boundary, order), (2, 2, *grid.shape)


def volumes(boundary):
    """Both channels vary, the first one as a positive permeability."""
    ours, plain = (lambda x, f=f: f(x[:, :1].exp(), x[:, 1:], CELLS, boundary) for f in (flux_divergence, recorded))
    return ours, plain, (2, 2, *CELLS.shape)


CASES = {
    "Poisson": (Poisson(CELLS).residual, poisson, (2, 2, 3, 4)),
    "Helmholtz": (Helmholtz(CELLS, 3.0).residual, helmholtz, (2, 2, 3, 4)),
    "Burgers": (Burgers(FRAMES, 0.03).residual, burgers, (2, 1, 4, 5)),
    "Kolmogorov": (Kolmogorov(TORUS, 40.0).residual, kolmogorov, (1, 3, 6, 14)),
    "Darcy, a value": volumes(Dirichlet(0.7)),
    "Darcy, a flux": volumes(Neumann(-1.3)),
    "Laplacian, a value": stencil(Dirichlet(0.7), 2),
    "Laplacian, a flux": stencil(Neumann(-1.3), 4),
    "Laplacian, periodic": stencil(Periodic(), 4, CIRCLES),
}
EACH = pytest.mark.parametrize("case", CASES)


def equal(ours, plain):
    """A hundredth of the table's tolerance, 1e-12 of the largest entry, or both zero."""
    assert_close(ours, plain, unit=0.01 * max(float(plain.detach().abs().max()), 1e-6))


def draws(shape, count):
    return [(1.0 if k else 3.0) * normal(*shape, seed=k) for k in range(count)]


@EACH
def test_values_and_first_derivatives(case):
    ours, plain, shape = CASES[case]
    x, v = draws(shape, 2)
    equal(ours(x), plain(x))
    for one, other in zip(torch.func.jvp(ours, (x,), (v,)), torch.func.jvp(plain, (x,), (v,)), strict=True):
        equal(one, other)
    w = normal(*plain(x).shape, seed=7)
    (mine,), (true,) = (torch.autograd.grad(f(leaf := x.clone().requires_grad_()), leaf, w) for f in (ours, plain))
    equal(mine, true)


@EACH
def test_second_derivatives(case):
    """Reverse over reverse in x and in the weight, and forward over reverse."""
    ours, plain, shape = CASES[case]
    x, v, u = draws(shape, 3)
    w = normal(*plain(x).shape, seed=7)
    found = []
    for f in (ours, plain):
        leaf, weight = x.clone().requires_grad_(), w.clone().requires_grad_()
        (first,) = torch.autograd.grad(f(leaf).square(), leaf, weight, create_graph=True)
        pulled = torch.func.jvp(lambda y, f=f: torch.func.vjp(f, y)[1](w)[0], (x,), (v,))[1]
        found.append((*torch.autograd.grad(first, (leaf, weight), u), pulled))
    for mine, true in zip(*found, strict=True):
        equal(mine, true)


@EACH
def test_batches_of_tangents_and_of_weights(case):
    ours, plain, shape = CASES[case]
    x = normal(1, *shape[1:])
    expected = torch.func.jacrev(plain)(x)
    for jacobian in (torch.func.jacrev, torch.func.jacfwd):
        equal(jacobian(ours)(x), expected)
    rows = torch.func.vmap(lambda y: ours(y[None])[0])(normal(*shape))
    equal(rows, plain(normal(*shape)))


@pytest.mark.parametrize("case", [k for k in CASES if not k.startswith("Laplacian")])
def test_without_a_graph_the_plain_formula_runs_and_gives_the_same(case):
    ours, plain, shape = CASES[case]
    x, v = draws(shape, 2)
    with torch.no_grad():
        equal(ours(x), plain(x))
        equal(torch.func.jvp(ours, (x,), (v,))[1], torch.func.jvp(plain, (x,), (v,))[1])


@pytest.mark.parametrize(("case", "kept"), [
    ("Poisson", 0), ("Helmholtz", 0), ("Laplacian, a value", 0), ("Burgers", 1), ("Kolmogorov", 1),
])  # fmt: skip
def test_of_its_fields_it_saves_the_input_or_nothing(case, kept):
    ours, _, shape = CASES[case]
    x, saved = normal(*shape).requires_grad_(), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (saved.append(t.data_ptr()), t)[1], lambda t: t):
        ours(x)
    assert saved == [x.data_ptr()] * kept


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_they_follow_the_dtype(dtype):
    for ours, _, shape in CASES.values():
        x = normal(*shape, dtype=dtype).requires_grad_()
        out = ours(x)
        assert out.dtype == torch.autograd.grad(out.sum(), x)[0].dtype == dtype


def test_an_unknown_boundary_gets_no_rule():
    """Ghosts that are no reflection make a matrix that is not symmetric: autograd knows its transpose."""
    from pirf.operators.boundary import Boundary

    class Extrapolated(Boundary):
        def ghosts(self, u, dim, spacing, width=1):
            n = u.shape[dim]
            low, high = (2 * u.narrow(dim, a, 1) - u.narrow(dim, b, 1) for a, b in ((0, 1), (n - 1, n - 2)))
            return low, high

    a = torch.ones(1, 1, *CELLS.shape, dtype=torch.float64)
    for f in (lambda u: laplacian(u, CELLS, Extrapolated()), lambda u: flux_divergence(a, u, CELLS, Extrapolated())):
        forward, reverse = (jacobian(f)(normal(1, 1, *CELLS.shape)) for jacobian in (torch.func.jacfwd, torch.func.jacrev))
        assert_close(reverse, forward)
        matrix = forward.reshape(12, 12)
        assert float((matrix - matrix.T).abs().max()) > 1


def test_the_mechanism_on_a_square_and_a_scaling():
    x, v, w = (normal(3, seed=k) for k in range(3))

    def square(y):
        return smooth(y, lambda z: z * z, lambda z, t: 2 * z * t, lambda z, t: 2 * z * t)

    def halved(y):
        return affine(y, lambda z: z / 2 + 1, lambda t: t / 2, lambda t: t / 2)

    for f, value, slope in ((square, x * x, 2 * x), (halved, x / 2 + 1, torch.full_like(x, 0.5))):
        assert torch.equal(f(x), value)
        assert_close(torch.func.jvp(f, (x,), (v,))[1], slope * v)
        assert_close(torch.func.vjp(f, x)[1](w)[0], slope * w)
