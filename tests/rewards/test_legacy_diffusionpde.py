import numpy as np
import pytest
import torch
from tolerances import assert_close
from toys import normal

from pirf import problems
from pirf.grids import Grid
from pirf.reference import darcy, helmholtz, poisson, published, random_fields
from pirf.rewards.legacy import DiffusionPDEBurgers, DiffusionPDEDarcy, DiffusionPDEHelmholtz, DiffusionPDEPoisson

ELLIPTIC = pytest.mark.parametrize(
    ("kind", "solve", "shift"),
    [(DiffusionPDEPoisson, poisson.solve_nodal, 0), (DiffusionPDEHelmholtz, helmholtz.solve_nodal, 1)],
)


def score(reward, x):
    return float(-reward(x).mean())


@ELLIPTIC
def test_nodal_data_score_round_off_and_so_does_any_harmonic_function_added(kind, solve, shift):
    a = random_fields.neumann_field(32, range(4), seed=0)
    x = torch.from_numpy(np.stack([a, solve(a)], 1))
    reward = kind(Grid.square(32, layout="nodes"))
    assert score(reward, x) < 1e-20
    i, j = torch.meshgrid(*2 * (torch.arange(32, dtype=torch.float64),), indexing="ij")
    harmonic = 2 + i * j / 100 + (i**2 - j**2) / 1000  # discretely so: second differences cancel
    x[:, 1] += harmonic
    x[:, 0] += shift * harmonic  # k² sees it, so that a must pay for it
    assert score(reward, x) < 1e-18
    assert score(reward, x * torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)) > 0.05


@ELLIPTIC
def test_the_elliptic_ones_pad_with_zeros_and_drop_the_edges(kind, solve, shift):
    """Written once more with a padded array."""
    x = normal(2, 2, 7, 7)
    u = np.pad(x[:, 1].numpy(), ((0, 0), (1, 1), (1, 1)))
    rows = 36 * (u[:, 2:, 1:-1] + u[:, :-2, 1:-1] + u[:, 1:-1, 2:] + u[:, 1:-1, :-2] - 4 * u[:, 1:-1, 1:-1])
    rows = rows + shift * x[:, 1].numpy() - x[:, 0].numpy()
    rows[:, [0, -1]] = 0
    rows[:, :, [0, -1]] = 0
    assert_close(kind(Grid.square(7)).residual(x)[:, 0], torch.from_numpy(rows))


def test_a_darcy_solution_scores_what_no_pressure_does():
    """At spacing 1 the flux is 127² times too small: the difference is below 1e-3, and p 400 times as high scores better."""
    a = darcy.two_phase(random_fields.neumann_field(128, range(2), seed=0))
    x, reward = torch.from_numpy(published.splined(a)), DiffusionPDEDarcy(Grid.square(128))
    scale = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1)
    assert score(reward, x * scale) == 1.0
    assert abs(score(reward, x) - 1) < 1e-3
    scale[:, 1] = 400.0
    assert score(reward, x * scale) < score(reward, x) - 0.005


def central(f, axis):
    padded = np.pad(f, [(0, 0), *((int(k == axis), int(k == axis)) for k in (1, 2))])
    return (np.delete(padded, [0, 1], axis) - np.delete(padded, [-1, -2], axis)) / 2


def test_the_others_are_central_differences_at_spacing_one_with_zeros_outside():
    x, u = normal(2, 2, 6, 6), normal(2, 1, 6, 6)
    a, p = x[:, 0].numpy(), x[:, 1].numpy()
    expected = central(a * central(p, 1), 1) + central(a * central(p, 2), 2) + 1
    assert_close(DiffusionPDEDarcy(Grid.square(6)).residual(x)[:, 0], torch.from_numpy(expected))
    f = u[:, 0].numpy()
    expected = central(f, 1) + f * central(f, 2) - 0.01 * central(central(f, 2), 2)
    assert_close(DiffusionPDEBurgers(problems.burgers(6).grid).residual(u)[:, 0], torch.from_numpy(expected))


def test_the_burgers_one_scores_its_edges():
    problem = problems.burgers(64)
    rows = DiffusionPDEBurgers(problem.grid).residual(problem.sample(16)).square()
    assert float(rows[..., 1:-1, 1:-1].mean()) < 0.05 * float(rows.mean())
    assert not DiffusionPDEBurgers(problem.grid).residual(0 * problem.sample(1)).any()


def test_their_problems_name_them():
    for make, kind in (
        (problems.poisson, DiffusionPDEPoisson),
        (problems.helmholtz, DiffusionPDEHelmholtz),
        (problems.darcy, DiffusionPDEDarcy),
        (problems.burgers, DiffusionPDEBurgers),
    ):
        reward = make(8).published["diffusionpde"]
        assert reward == kind(make(8).grid)
        assert eval(repr(reward), {kind.__name__: kind, **vars(__import__("pirf"))}) == reward
