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


def test_boundaries_are_values():
    for boundary in (Dirichlet(1.0), Neumann(2.0), Periodic()):
        assert eval(repr(boundary)) == boundary
        assert hash(eval(repr(boundary))) == hash(boundary)
    assert Dirichlet(0.0) != Neumann(0.0)
