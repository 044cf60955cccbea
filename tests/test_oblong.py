"""No reward and no solver needs a square: reference solutions on oblong grids score round-off, and wrong pairings do not."""

import math

import numpy as np
import pytest
import torch

from pirf.grids import Axis, Grid
from pirf.operators import Neumann
from pirf.reference import burgers, darcy, helmholtz, kolmogorov, poisson, random_fields
from pirf.rewards import Burgers, CornerWells, Darcy, Helmholtz, Kolmogorov, Poisson


def plane(shape, extents=(1.0, 1.0), layout="cells"):
    return Grid(tuple(Axis(n, extent, layout) for n, extent in zip(shape, extents, strict=True)))


def white(shape, seed=3):
    return random_fields.white(shape, range(3), seed)


def pairs(given, solve):
    return torch.from_numpy(np.stack([given, solve(given)], 1))


def poissons(shape):
    return Poisson(plane(shape, (1.0, 2.0))), pairs(white(shape), lambda a: poisson.solve(a, (1.0, 2.0)))


def helmholtzes(shape):
    return Helmholtz(plane(shape, (1.0, 2.0)), 3.0), pairs(white(shape), lambda a: helmholtz.solve(a, 3.0, (1.0, 2.0)))


def nodal_poissons(shape):
    grid = plane(shape, (1.0, 2.0), "nodes")
    return Poisson(grid), pairs(white(shape), lambda a: poisson.solve_nodal(a, (1.0, 2.0)))


def walls(shape):
    return Darcy(plane(shape)), pairs(darcy.two_phase(white(shape)), darcy.solve)


def box(shape):
    reward = Darcy(plane(shape), Neumann(0.0), CornerWells(), least=1e-3)
    wells = reward.source.values(reward.grid).numpy()
    return reward, pairs(np.exp(0.5 * white(shape)), lambda a: darcy.solve_neumann(a, wells))


def frames(shape):
    reward = Burgers(Grid((Axis(shape[0], 1.0, "nodes"), Axis(shape[1], 1.0, "periodic"))))
    u0 = burgers.initial_condition(white((2, burgers.MODES)), shape[1])
    return reward, torch.from_numpy(burgers.solve(u0, shape[0]))[:, None]


def turbulence(shape):
    reward = Kolmogorov(plane(shape, (2 * math.pi,) * 2, "periodic"), 60.0, "map", 2)
    return reward, torch.from_numpy(kolmogorov.trajectories(white(shape), 60.0, 2, spin_up=1, triplets=1))


CASES = [poissons, helmholtzes, nodal_poissons, walls, box, frames, turbulence]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(16, 24), (24, 16)])
def test_reference_solutions_score_round_off_and_wrong_pairings_do_not(case, shape):
    reward, x = case(shape)
    assert reward.grid.shape == x.shape[2:] == shape
    if x.shape[1] == 1:
        wrong = torch.cat([x[:, :, :1], x.roll(1, 0)[:, :, 1:]], 2)  # another sample's later frames
    else:
        wrong = torch.cat([x[:, :-1], x.roll(1, 0)[:, -1:]], 1)  # another sample's last channel
    assert bool((-reward(x) < 1e-24 * -reward(wrong)).all())
    assert bool((-reward(wrong) > 1e-2).all())
