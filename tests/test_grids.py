import pytest
import torch
from tolerances import assert_close

from pirf.errors import InputError
from pirf.grids import Axis, Grid


@pytest.mark.parametrize(
    ("layout", "first", "last", "spacing"),
    [("cells", 0.25, 1.75, 0.5), ("nodes", 0.0, 2.0, 2 / 3), ("periodic", 0.0, 1.5, 0.5)],
)
def test_where_the_points_stand(layout, first, last, spacing):
    axis = Axis(4, 2.0, layout)
    points = axis.points()
    assert_close(points[[0, -1]], torch.tensor([first, last], dtype=torch.float64))
    assert_close(points.diff(), spacing)
    assert axis.spacing == spacing


def test_a_grid_is_a_product_in_the_order_of_the_dimensions():
    grid = Grid((Axis(3), Axis(5, 2.0, "nodes")))
    assert grid.shape == (3, 5)
    assert grid.spacing == (1 / 3, 0.5)
    x, y = grid.meshgrid()
    assert torch.equal(x[:, 0], Axis(3).points())
    assert torch.equal(y[0], Axis(5, 2.0, "nodes").points())


def test_a_grid_is_a_value():
    assert Grid.square(4) == Grid((Axis(4), Axis(4)))
    assert hash(Grid.square(4)) == hash(Grid((Axis(4), Axis(4))))
    assert eval(repr(Grid.square(4, 2.0, "periodic"))) == Grid.square(4, 2.0, "periodic")


@pytest.mark.parametrize("shape", [(1, 3, 4, 4), (1, 2, 4, 5), (1, 2, 4), (1, 2, 4, 4, 1)])
def test_a_foreign_field_is_refused(shape):
    with pytest.raises(InputError, match=r"got shape \(1, .*the grid has 4×4 points"):
        Grid.square(4).check(torch.zeros(shape), 2)


@pytest.mark.parametrize("bad", [{"n": 1}, {"n": 4, "extent": 0.0}, {"n": 4, "layout": "faces"}])
def test_an_impossible_axis_is_refused(bad):
    with pytest.raises(Exception, match=r"n|extent|layout"):
        Axis(**bad)
