import pytest
import torch

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.reference import darcy
from pirf.rewards import CornerWells, Uniform


def test_uniform_is_one_rate():
    assert torch.equal(Uniform(2.5).values(Grid((Axis(3), Axis(4)))), torch.full((3, 4), 2.5, dtype=torch.float64))


@pytest.mark.parametrize("n", [8, 16, 64])
def test_the_wells_are_those_of_the_reference(n):
    assert torch.equal(CornerWells().values(Grid.square(n)), torch.from_numpy(darcy.corner_wells(n)))


def test_wells_balance_on_oblong_grids():
    f = CornerWells(rate=2.0, width=0.25).values(Grid((Axis(8), Axis(12))))
    assert float(f.sum()) == 0
    assert int((f == 2.0).sum()) == 6


def test_a_well_of_half_a_cell_is_refused():
    with pytest.raises(InputError, match=r"got 1.25 × 1.25 cells; .* Try a multiple of 8"):
        CornerWells().values(Grid.square(10))
