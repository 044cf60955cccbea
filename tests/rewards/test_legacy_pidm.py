import numpy as np
import torch
from tolerances import assert_close
from toys import normal

from pirf import problems
from pirf.grids import Grid
from pirf.reference import darcy, published, random_fields
from pirf.rewards.legacy import PIDMDarcy


def data(n, count):
    k = darcy.lognormal(random_fields.white((64,), range(count), 0), n, length=0.1 * (n - 1) / n)
    return torch.from_numpy(published.least_squares(k, darcy.corner_wells(n)))


def test_its_data_are_stationary_points_of_its_score():
    """Least squares: the gradient in p vanishes, in units of what p = 0 has, and p has mean 0 by the trapezoidal rule."""
    x, reward = data(16, 3), PIDMDarcy(Grid.square(16))
    slopes = []
    for fields in (x, x * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)):
        leaf = fields.clone().requires_grad_()
        reward(leaf).sum().backward()
        slopes.append(leaf.grad[:, 1].norm())
    assert_close(slopes[0], 0.0, unit=float(slopes[1]))
    weight = torch.ones(16, dtype=torch.float64)
    weight[[0, -1]] = 0.5
    assert_close(torch.einsum("i,bij,j->b", weight, x[:, 1], weight), 0.0, unit=1.0)


def test_no_pressure_scores_the_source_and_a_constant_is_free():
    x, reward = data(16, 2), PIDMDarcy(Grid.square(16))
    zero, higher = x.clone(), x.clone()
    zero[:, 1] = 0
    higher[:, 1] += 1.0
    assert_close(-reward(zero), 3.125 / 3)
    assert_close(reward.residual(higher), reward.residual(x), unit=1.0)
    assert bool((-reward(x) < 0.1 * 3.125 / 3).all())


def test_its_rows_are_the_equation_and_the_slopes_of_a_quadratic():
    """p = x² + 3y² − xy and K = 2 + x: exact differences; outward slopes on the four edges, corners on two of them."""
    x, y = Grid.square(8, layout="nodes").meshgrid()
    reward = PIDMDarcy(Grid.square(8))
    rows = reward.residual(torch.stack([2 + x, x**2 + 3 * y**2 - x * y])[None])[0]
    assert_close(rows[0], -(2 + x) * 8 - (2 * x - y) - reward.source.values(reward.grid))
    along_x, along_y = torch.zeros(8, 8, dtype=torch.float64), torch.zeros(8, 8, dtype=torch.float64)
    along_x[0], along_x[-1] = -(2 * x - y)[0], (2 * x - y)[-1]
    along_y[:, 0], along_y[:, -1] = -(6 * y - x)[:, 0], (6 * y - x)[:, -1]
    assert_close(rows[1:], torch.stack([along_x, along_y]))


def test_the_equation_is_that_of_the_data_with_differences_written_once_more():
    """np.gradient has the same first differences, edges included."""
    k, p = 3.0 + normal(2, 9, 9).abs(), normal(2, 9, 9)
    rows = PIDMDarcy(Grid.square(8)).residual(torch.stack([k[:, :8, :8], p[:, :8, :8]], 1))
    slope = np.gradient(p[:, :8, :8].numpy(), 1 / 7, axis=1, edge_order=2)
    assert_close(rows[:, 1, -1], torch.from_numpy(slope[:, -1]))
    assert_close(rows[:, 1, 0], torch.from_numpy(-slope[:, 0]))
    assert not rows[:, 1, 1:-1].any()
    assert eval(repr(PIDMDarcy(Grid.square(8))), {**vars(__import__("pirf").rewards), "Grid": Grid, "PIDMDarcy": PIDMDarcy})


def test_a_problem_names_it():
    assert problems.darcy_lognormal(16).published["pidm"] == PIDMDarcy(Grid.square(16))
