import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, orders
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.operators import central_difference, skew_advection

sizes = st.integers(2, 9)
extents = st.floats(0.1, 10)
seeds = st.integers(0, 2**32)


def circle(n, extent=1.0):
    return Grid((Axis(n, extent, "periodic"),))


@given(sizes, extents, seeds)
def test_the_difference_is_skew(n, extent, seed):
    v, w = normal(2, 3, n, seed=seed)[:, None]
    grid = circle(n, extent)
    left, right = (v * central_difference(w, grid)).sum(), (central_difference(v, grid) * w).sum()
    assert_close(left, -right, unit=float(v.norm() * w.norm()) / grid.spacing[0])


@given(sizes, extents, seeds)
def test_advection_conserves_the_mean_and_the_energy(n, extent, seed):
    u, grid = normal(3, 1, n, seed=seed), circle(n, extent)
    transport = skew_advection(u, grid)
    unit = float(u.abs().max()) ** 3 * n / grid.spacing[0]
    assert_close(transport.sum(-1), 0.0, unit=unit)
    assert_close((u * transport).sum(-1), 0.0, unit=unit)


@given(st.integers(3, 6), st.integers(3, 6), st.sampled_from([0, 1, -1]), seeds)
def test_an_axis_of_several(n, m, axis, seed):
    """Along one axis of a plane it is the operator of that axis, line by line."""
    u = normal(2, 1, n, m, seed=seed)
    plane = Grid((Axis(n, 2.0, "periodic"), Axis(m, 3.0, "periodic")))
    lines = u if axis else u.transpose(2, 3)
    for operator in (central_difference, skew_advection):
        line = operator(lines.flatten(0, 2)[:, None], Grid((plane.axes[axis],))).reshape(lines.shape)
        assert_close(operator(u, plane, axis), line if axis else line.transpose(2, 3))


def test_second_order():
    errors = []
    for n in (32, 64, 128):
        grid = circle(n, 2.0)
        angle = math.pi * grid.axes[0].points()[None, None]
        u = 0.3 + torch.sin(angle) + 0.5 * torch.cos(2 * angle)
        slope = math.pi * (torch.cos(angle) - torch.sin(2 * angle))
        errors.append([
            float((central_difference(u, grid) - slope).norm()) / n**0.5,
            float((skew_advection(u, grid) - u * slope).norm()) / n**0.5,
        ])  # fmt: skip
    for kind in zip(*errors, strict=True):
        assert all(abs(order - 2) < 0.1 for order in orders(kind)), orders(kind)


@given(sizes, st.integers(-9, 9), seeds)
def test_it_commutes_with_translation(n, shift, seed):
    u, grid = normal(2, 1, n, seed=seed), circle(n)
    assert torch.equal(skew_advection(u.roll(shift, 2), grid), skew_advection(u, grid).roll(shift, 2))


@pytest.mark.parametrize("layout", ["cells", "nodes"])
def test_other_layouts_are_refused(layout):
    with pytest.raises(InputError, match=f"periodic points: got an axis with layout='{layout}'"):
        skew_advection(torch.zeros(1, 1, 4), Grid((Axis(4, 1.0, layout),)))
