import pytest
import torch
from tolerances import assert_close
from toys import normal

from pirf import problems
from pirf.grids import Grid
from pirf.reference import darcy, published, random_fields
from pirf.rewards.jacobian import sensitivity
from pirf.rewards.legacy_darcy import ReleasedDarcy, ReleasedDarcyLognormal


def two_phase(n, count):
    return torch.from_numpy(published.splined(darcy.two_phase(random_fields.neumann_field(n, range(count), seed=0))))


def lognormal(n, count):
    """Its modes on nodes with both ends are those of cells with a shorter correlation length."""
    k = darcy.lognormal(random_fields.white((64,), range(count), 0), n, length=0.1 * (n - 1) / n)
    return torch.from_numpy(published.least_squares(k, darcy.corner_wells(n)))


def score(reward, x):
    return float(-reward(x).mean())


def without_pressure(x):
    return x * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)


def test_on_published_data_no_pressure_scores_better_than_the_solution():
    """2.33 for truth, 1.00 for p = 0, and nearly all of it on a few cells beside the jumps."""
    x = two_phase(128, 6)
    reward = ReleasedDarcy(Grid.square(128))
    assert 1 / 1.5 < score(reward, x) / 2.33 < 1.5
    assert score(reward, without_pressure(x)) == pytest.approx(1.0)
    cells = reward.residual(x).square().flatten(1).sort(1, descending=True).values
    assert float(cells[:, : int(0.034 * 128**2)].sum() / cells.sum()) > 0.9


def test_on_conservative_data_it_is_worse_still():
    problem = problems.darcy(32)
    x = problem.sample(8)
    assert score(ReleasedDarcy(problem.grid), x) > score(ReleasedDarcy(problem.grid), without_pressure(x)) == 1.0


def test_the_lognormal_one_ranks_right_but_lets_constants_pass():
    """3.3e-3 on published data, nearly all of it the wrong spacing: r is (64/63)² − 1 of the source."""
    x, reward = lognormal(64, 4), ReleasedDarcyLognormal(Grid.square(64))
    assert 1 / 1.5 < score(reward, x) / 3.3e-3 < 1.5
    assert score(reward, x) == pytest.approx(3.125 * ((64 / 63) ** 2 - 1) ** 2, rel=0.1)
    assert score(reward, without_pressure(x)) == pytest.approx(3.125)


@pytest.mark.parametrize("kind", [ReleasedDarcy, ReleasedDarcyLognormal])
def test_a_constant_pressure_is_free(kind):
    x, reward = 7.5 + normal(2, 2, 8, 8), kind(Grid.square(8))
    assert_close(reward.residual(x + torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)), reward.residual(x))


def test_the_threshold_sees_jumps_and_has_no_gradient():
    problem = problems.darcy(16)
    change, slope = sensitivity(ReleasedDarcy(problem.grid), problem.sample(4), 0)
    assert change > 1
    assert slope == 0


@pytest.mark.parametrize("kind", [ReleasedDarcy, ReleasedDarcyLognormal])
def test_its_differences_are_those_of_a_quadratic(kind):
    """Second order everywhere: exact on p = x² + 3y² − xy and a = 20 + x (or its threshold, 12)."""
    grid = Grid.square(8)
    x, y = grid.meshgrid()
    reward = kind(grid)
    got = reward.residual(torch.stack([20 + x, x**2 + 3 * y**2 - x * y])[None])[0, 0]
    a, slope = (torch.full_like(x, 12.0), 0.0) if kind is ReleasedDarcy else (20 + x, 2 * x - y)
    assert_close(got, 8 * a + slope + reward.source.values(grid))


def test_they_are_values():
    for reward in (ReleasedDarcy(Grid.square(8)), ReleasedDarcyLognormal(Grid.square(8))):
        from pirf.rewards import CornerWells, Uniform

        assert eval(repr(reward), globals() | {"CornerWells": CornerWells, "Uniform": Uniform}) == reward
