import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal

from pirf import problems
from pirf.grids import Axis, Grid
from pirf.operators import Dirichlet, Neumann, flux_divergence
from pirf.problems.integrals import integral, interface_length, outflow

SIZES = {"poisson": 16, "helmholtz": 16, "darcy": 16, "darcy_lognormal": 16, "burgers": 16, "kolmogorov": 16}
LAWS = [(name, law) for name, n in SIZES.items() for law in problems.catalogue[name](n).balances]


def oblong(n, m):
    return Grid((Axis(n, 1.0, "cells"), Axis(m, 2.0, "cells")))


@given(st.integers(3, 8), st.integers(3, 8), st.integers(0, 2), st.integers(1, 3), st.booleans())
def test_what_leaves_a_box_is_the_sum_of_its_divergence(n, m, low, width, walls):
    """Gauss, for any box of any fields, against the operator that rewards use."""
    grid = oblong(n, m)
    a, p = 0.5 + normal(3, 1, n, m).abs(), normal(3, 1, n, m)
    box = (slice(low, low + width), slice(0, width + 1))
    rows = flux_divergence(a, p, grid, Dirichlet(0.0) if walls else Neumann(0.0))
    inside = torch.zeros(n, m, dtype=torch.float64)
    inside[box] = 1
    assert_close(outflow(a, p, grid, box, walls=walls), integral(rows * inside, grid), unit=1e3)


def test_the_flux_of_a_linear_pressure():
    """p = −x: a flux of a across every line x = const, none across the others; −∇p·n = 1 on one side, −1 on the other."""
    grid = oblong(8, 4)
    p = -grid.meshgrid()[0][None, None]
    a = torch.full_like(p, 3.0)
    assert_close(outflow(a, p, grid, (slice(0, 3),), walls=False), 6.0)
    assert_close(outflow(a, p, grid, (slice(3, 8),), walls=False), -6.0)
    assert_close(outflow(a, p, grid, (slice(2, 5),), walls=False), 0.0, unit=1.0)


def test_the_interface_of_two_halves_and_of_a_square():
    grid = Grid.square(8)
    phase = torch.zeros(2, 1, 8, 8)
    phase[0, :, :4] = 1
    phase[1, :, 2:4, 3:5] = 1
    assert_close(interface_length(phase, grid), torch.tensor([1.0, 8 / 8], dtype=torch.float64))


@pytest.mark.parametrize(("name", "law"), LAWS)
def test_truth_keeps_every_law_and_some_non_solution_does_not(name, law):
    problem = problems.catalogue[name](SIZES[name])
    x, defect = problem.sample(16, seed=2), problem.balances[law]
    assert defect(x).shape == (16,)
    assert float(defect(x).abs().max()) < 1e-10
    fakes = [make(x) for make in problem.impostors.values()] + [x + x.std(), 1.1 * x]
    worst = max(float(defect(problem.graft(x, fake)).abs().median()) for fake in fakes)
    assert worst > 1e-3, worst


@pytest.mark.parametrize("name", ["poisson", "helmholtz", "darcy", "burgers"])
def test_a_law_that_the_residual_implies_is_a_sum_of_its_rows(name):
    """On any fields: so ρ bounds the square of the defect."""
    problem = problems.catalogue[name](8)
    x = problem.sample(4) * (1 + 0.3 * normal(4, len(problem.channels), 8, 8))
    rows = problem.reward.residual(x)
    if name == "burgers":
        steps = (rows.mean(3).cumsum(2) / 7)[:, 0]
        assert_close(problem.balances["mean of u"](x), steps.abs().amax(1) / 0.274)
    elif name == "darcy":
        assert_close(problem.balances["outflow = source"](x), rows.mean((1, 2, 3)), unit=float(rows.abs().max()))
    else:
        size, unit = math.sqrt(problem.scale), float(rows.abs().max())
        assert_close(problem.balances["flux through the boundary"](x), rows.mean((1, 2, 3)) / size, unit=unit)
        half = rows[:, :, :4].sum((1, 2, 3)) / 64
        assert_close(problem.balances["flux out of one half"](x), half / size, unit=unit)


def test_the_lognormal_laws_are_rows_once_the_mean_pressure_is_zero():
    problem = problems.darcy_lognormal(16)
    x = problem.sample(4) * (1 + 0.3 * normal(4, 2, 16, 16))
    x[:, 1] -= x[:, 1].mean((1, 2), keepdim=True)
    rows = problem.reward.residual(x)
    for law, box in (
        ("flux out of the well", (..., slice(0, 2), slice(0, 2))),
        ("flux across the middle", (..., slice(0, 8), slice(None))),
    ):
        assert_close(problem.balances[law](x), rows[box].sum((1, 2, 3)) / 256 / (10 / 64), unit=float(rows.abs().max()))


def test_the_circulation_is_more_than_the_residual_can_know():
    """A mean that decays with the drag is a solution, and no velocity has such a vorticity."""
    problem = problems.kolmogorov(16)
    drifting = problem.off_law["flow + a mean that decays"](8)
    assert float(problem.balances["decay of the mean vorticity"](drifting).max()) < 1e-10
    assert float(problem.balances["circulation"](drifting).min()) > 0.1


@pytest.mark.parametrize("name", SIZES)
def test_quantities_are_one_number_of_order_one_per_sample(name):
    problem = problems.catalogue[name](SIZES[name])
    x = problem.sample(16, seed=2)
    for law, quantity in problem.quantities.items():
        values = quantity(x)
        assert values.shape == (16,)
        assert values.isfinite().all()
        assert law == "distance to 3 or 12" or 0.05 < float(values.mean()) < 20, float(values.mean())


def test_the_quantities_of_two_phases():
    """0.50 ± 0.057 of the volume is permeable; a blurred interface is off both phases."""
    problem = problems.darcy(32)
    x = problem.sample(256, seed=3)
    fraction, distance = problem.quantities["volume fraction"], problem.quantities["distance to 3 or 12"]
    assert abs(float(fraction(x).mean()) - 0.5) < 4 * 0.057 / 16
    assert 0.8 < float(fraction(x).std()) / 0.057 < 1.25
    assert not distance(x).any()
    middle = x.clone()
    middle[:, 0] = 7.5
    assert_close(distance(middle), 1.0)


def test_the_quantities_of_burgers_and_of_the_flow():
    """u = 0.274·√2 sin 2πx at rest: energy 1, nothing lost, the slope of its steepest cell.  ω = 4cos4y: ½·½ and 16/Re·½·4."""
    grid = problems.burgers(16).grid
    wave = (0.274 * math.sqrt(2) * torch.sin(2 * math.pi * grid.meshgrid()[1]))[None, None]
    measure = {name: float(of(wave)) for name, of in problems.burgers(16).quantities.items()}
    slope = 0.274 * math.sqrt(2) * math.sin(2 * math.pi / 16) * 16
    assert measure == {"energy": pytest.approx(1), "energy lost": pytest.approx(0), "steepest slope": pytest.approx(slope)}
    problem = problems.kolmogorov(16)
    wave = (4 * torch.cos(4 * problem.grid.meshgrid()[1])).expand(1, 3, 16, 16)
    measure = {name: float(of(wave)) for name, of in problem.quantities.items()}
    assert measure == {"enstrophy": pytest.approx(0.25), "dissipation of enstrophy": pytest.approx(16 / 50 * 8 / 4)}
