import numpy as np
import torch
from tolerances import assert_close
from toys import normal

from pirf.grids import Grid
from pirf.reference import helmholtz, poisson, random_fields
from pirf.rewards.legacy import ReleasedHelmholtz, ReleasedPoisson

N = 128


def mean_square(a, u):
    return float(-ReleasedPoisson(Grid.square(N, layout="nodes"))(torch.from_numpy(np.stack([a, u], 1))).mean())


def test_the_released_residual_prefers_non_solutions():
    """On released-style data truth scores 1.16, u = 0 scores 0.083, and the Neumann solution scores round-off."""
    a = random_fields.neumann_field(N, range(48), seed=0)
    truth, zero = mean_square(a, poisson.solve_nodal(a)), mean_square(a, 0 * a)
    assert 1 / 1.5 < truth / 1.16 < 1.5, truth
    assert 1 / 1.5 < zero / 0.083 < 1.5, zero
    assert mean_square(0 * a, 0 * a) < 1e-12
    # The reference solves with h = 1/n; the released stencil has h = 1/(n−1), so u grows by (n/(n−1))².
    neumann = (N / (N - 1)) ** 2 * poisson.solve_neumann(a)
    assert mean_square(a, neumann) < 1e-12
    assert zero < truth


def test_it_is_replicate_padding():
    """Written once more with a padded array, as the released code does it."""
    x = normal(2, 2, N, N)
    padded = np.pad(x[:, 1].numpy(), ((0, 0), (1, 1), (1, 1)), mode="edge")
    stencil = padded[:, 2:, 1:-1] + padded[:, :-2, 1:-1] + padded[:, 1:-1, 2:] + padded[:, 1:-1, :-2] - 4 * x[:, 1].numpy()
    expected = torch.from_numpy(stencil * (N - 1) ** 2) - x[:, 0]
    assert_close(ReleasedPoisson(Grid.square(N))(x), -expected.square().mean((1, 2)))
    assert_close(ReleasedPoisson(Grid.square(N)).residual(x)[:, 0], expected)


def test_it_is_a_value():
    reward = ReleasedPoisson(Grid.square(4, layout="nodes"))
    assert eval(repr(reward)) == reward


def test_the_released_helmholtz_residual_prefers_non_solutions():
    """On released-style data truth scores 1.06, u = 0 scores 0.079, and the Neumann solution scores round-off."""
    reward = ReleasedHelmholtz(Grid.square(N, layout="nodes"))

    def score(a, u):
        return float(-reward(torch.from_numpy(np.stack([a, u], 1))).mean())

    a = np.zeros((48, N, N))
    a[:, 1:-1, 1:-1] = random_fields.neumann_field(N, range(48), seed=0)[:, 1:-1, 1:-1]
    truth, zero = score(a, helmholtz.solve_nodal(a)), score(a, 0 * a)
    assert 1 / 1.5 < truth / 1.06 < 1.5, truth
    assert 1 / 1.5 < zero / 0.079 < 1.5, zero
    assert score(a, helmholtz.solve_neumann(a, extent=(N / (N - 1),) * 2)) < 1e-12
    assert zero < truth


def test_released_helmholtz_is_released_poisson_plus_a_shift_away_from_the_edges():
    grid, x = Grid.square(9, layout="nodes"), normal(2, 2, 9, 9)
    ours = ReleasedHelmholtz(grid, 3.0).residual(x) - ReleasedPoisson(grid).residual(x) - 9 * x[:, 1:]
    assert_close(ours[..., 1:-1, 1:-1], 0.0, unit=1e3)
    edges = torch.ones(9, 9, dtype=torch.bool)
    edges[1:-1, 1:-1] = False
    assert_close(ours[..., edges], x[:, :1][..., edges], unit=1e3)
    assert eval(repr(ReleasedHelmholtz(grid, 3.0))) == ReleasedHelmholtz(grid, 3.0)
