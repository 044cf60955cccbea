import math

import pytest
import torch

from pirf.grids import Grid
from pirf.reference import kolmogorov as flow
from pirf.reference import random_fields
from pirf.rewards.legacy import ReleasedKolmogorov


def test_truth_at_64_points_scores_what_zero_does():
    """7.6 on truth at Re = 200, where ⟨ω_t²⟩ is 86: the time difference and the aliases.  Zero scores ⟨(4cos4y)²⟩ = 8."""
    reward = ReleasedKolmogorov(Grid.square(64, 2 * math.pi, "periodic"), 200.0)
    x = torch.from_numpy(flow.trajectories(random_fields.white((64, 64), range(1), 0), 200.0, flow.substeps(64), triplets=4))
    assert 1 / 1.5 < float(-reward(x).mean()) / 7.6 < 1.5
    assert float(-reward(0 * x).mean()) == pytest.approx(8)
