import numpy as np
import torch
from tolerances import assert_close
from toys import normal

from pirf import problems, verify
from pirf.rewards.legacy_burgers import ReleasedBurgers


def test_the_released_residual_of_truth_is_that_of_its_edges():
    """9.5e-3 at 128, because of the edges in x (0.26); constants score 0."""
    problem = problems.burgers(128)
    reward, x = ReleasedBurgers(problem.grid), problem.sample(64)
    rows = reward.residual(x).square()
    for found, stated in ((rows.mean(), 9.5e-3), (rows[..., [0, -1]].mean(), 0.26)):
        assert 1 / 1.5 < float(found) / stated < 1.5, (float(found), stated)
    assert float(rows[..., [0, -1]].mean()) > 1000 * float(rows[..., 2:-2, 2:-2].mean())
    assert float(reward(torch.ones_like(x)).abs().max()) == 0


def test_it_is_blind_to_a_checkerboard_in_space_and_time():
    problem = problems.burgers(16)
    step = 1 - 2.0 * (torch.arange(16) % 2).double()
    board = step[:, None] * step
    rows = ReleasedBurgers(problem.grid).residual(board[None, None])
    assert not rows[..., 1:-1, 2:-2].any()
    assert problem.reward.residual(board[None, None]).abs().min() > 1


def test_the_certificate_says_that_it_is_wrong():
    problem = problems.burgers(16)
    certificate = verify(problem, reward=ReleasedBurgers(problem.grid))
    failed = {row.name for row in certificate.rows if row.status == "FAIL"}
    assert {"residual of truth", "order, interior rows", "non-solution: solution + 5 % checkerboard"} <= failed


def test_it_is_replicate_padding():
    """Written once more with a padded array, as the released code does it."""
    x = normal(2, 1, 6, 6)
    u = x[:, 0].numpy()

    def slope(f, axis):
        padded = np.pad(f, [(0, 0), *((int(a == axis), int(a == axis)) for a in (1, 2))], mode="edge")
        return (np.delete(padded, [0, 1], axis) - np.delete(padded, [-1, -2], axis)) / (2 / 6)

    expected = slope(u, 1) + u * slope(u, 2) - 0.01 * slope(slope(u, 2), 2)
    reward = ReleasedBurgers(problems.burgers(6).grid)
    assert_close(reward.residual(x)[:, 0], torch.from_numpy(expected))
    assert eval(repr(reward), {"ReleasedBurgers": ReleasedBurgers, **vars(__import__("pirf"))}) == reward
