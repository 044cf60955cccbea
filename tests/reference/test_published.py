import math

import numpy as np
from scipy.interpolate import RectBivariateSpline
from tolerances import orders

from pirf.reference import darcy, poisson, published, random_fields


def test_an_even_permeability_gives_the_nodal_poisson_solution():
    """−∇·(3∇p) = 1 is Δp = −1/3: five points on nodes, splined to the centres."""
    n = 16
    centres, nodes = (np.arange(n) + 0.5) / n, np.arange(n) / (n - 1)
    a, p = published.splined(np.full((1, n, n), 3.0))[0]
    exact = RectBivariateSpline(nodes, nodes, poisson.solve_nodal(np.full((1, n, n), -1 / 3))[0])(centres, centres)
    assert np.abs(p - exact).max() < 1e-12 * np.abs(exact).max()
    assert (a == 3).all()


def test_a_spline_through_jumps_overshoots():
    """Why its data are not a model to imitate: of permeabilities of 3 and 12 it makes negative ones and larger ones."""
    n = 64
    centres, nodes = (np.arange(n) + 0.5) / n, np.arange(n) / (n - 1)
    fields = darcy.two_phase(random_fields.neumann_field(n, range(8), seed=0))
    ends = [(k.min(), k.max()) for k in (RectBivariateSpline(centres, centres, a)(nodes, nodes) for a in fields)]
    assert min(ends)[0] < 0
    assert max(high for _, high in ends) > 15


def test_least_squares_reach_a_smooth_flow_without_walls():
    """K = 1 + ½x and p = cos πx cos 2πy, no flux through any edge: the error falls with n, at second order or faster."""
    errors = []
    for n in (17, 33, 65):
        x, y = np.meshgrid(*2 * [np.linspace(0, 1, n)], indexing="ij")
        k, p = 1 + 0.5 * x, np.cos(math.pi * x) * np.cos(2 * math.pi * y)
        source = 5 * math.pi**2 * k * p + 0.5 * math.pi * np.sin(math.pi * x) * np.cos(2 * math.pi * y)
        given, found = published.least_squares(k[None], source)[0]
        assert (given == k).all()
        errors.append(float(np.sqrt(((found - p) ** 2).mean())))
    assert min(orders(errors)) > 1.9, orders(errors)
