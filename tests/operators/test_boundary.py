import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf.operators import Dirichlet, Neumann, Periodic

values = st.floats(-5, 5)


@given(values, st.integers(2, 3), st.floats(0.01, 1))
def test_dirichlet_puts_its_value_on_the_face(value, dim, h):
    u = normal(2, 1, 4, 5)
    low, high = Dirichlet(value).ghosts(u, dim, h)
    assert_close((low + u.narrow(dim, 0, 1)) / 2, value, unit=10.0)
    assert_close((high + u.narrow(dim, -1, 1)) / 2, value, unit=10.0)


@given(values, st.integers(2, 3), st.floats(0.01, 1))
def test_neumann_gives_its_outward_flux_on_the_face(flux, dim, h):
    u = normal(2, 1, 4, 5)
    low, high = Neumann(flux).ghosts(u, dim, h)
    assert_close((low - u.narrow(dim, 0, 1)) / h, flux, unit=10.0 / h)
    assert_close((high - u.narrow(dim, -1, 1)) / h, flux, unit=10.0 / h)


@given(st.integers(2, 3))
def test_periodic_wraps(dim):
    u = normal(2, 1, 4, 5)
    low, high = Periodic().ghosts(u, dim, 0.1)
    padded = torch.cat([low, u, high], dim)
    assert torch.equal(padded.narrow(dim, 0, u.shape[dim]), u.roll(1, dim))
    assert torch.equal(padded.narrow(dim, 2, u.shape[dim]), u.roll(-1, dim))


@given(st.integers(1, 4), st.integers(2, 3), values)
def test_wider_ghosts_continue_the_field_in_the_order_of_the_axis(width, dim, value):
    """Odd about the face, even about the face plus a ramp, and repeated."""
    u, h = normal(2, 1, 4, 5), 0.1
    n = u.shape[dim]
    ramp = torch.arange(-width, n + width, dtype=torch.float64).add(0.5).mul(h).reshape(-1, *[1] * (3 - dim))
    for boundary, mirror in (
        (Dirichlet(value), lambda v: 2 * value - v.flip(dim)),
        # Without a ramp of slope ±value, which carries the outward flux, what is left is even about the face.
        (Neumann(value), lambda v: v.flip(dim)),
    ):
        low, high = boundary.ghosts(u, dim, h, width)
        padded = torch.cat([low, u, high], dim)
        slope = value * ramp if isinstance(boundary, Neumann) else 0 * ramp
        end = (padded - slope).narrow(dim, n, 2 * width)
        assert_close(end, mirror(end), unit=20.0)
        start = (padded + slope).narrow(dim, 0, 2 * width)
        assert_close(start, mirror(start), unit=20.0)
    low, high = Periodic().ghosts(u, dim, h, width)
    assert torch.equal(torch.cat([low, u, high], dim).narrow(dim, 0, n), u.roll(width, dim))
    assert torch.equal(torch.cat([low, u, high], dim).narrow(dim, 2 * width, n), u.roll(-width, dim))


def test_boundaries_are_values():
    for boundary in (Dirichlet(1.0), Neumann(2.0), Periodic()):
        assert eval(repr(boundary)) == boundary
        assert hash(eval(repr(boundary))) == hash(boundary)
    assert Dirichlet(0.0) != Neumann(0.0)
