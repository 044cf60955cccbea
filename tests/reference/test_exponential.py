import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import expm
from tolerances import assert_close, orders

from pirf import operators
from pirf.reference import exponential


@given(st.floats(-60, 3))
def test_phi_stands_in_the_exponential_of_a_matrix(z):
    """The first row of exp([[z, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], 0]) is e^z, φ₁, φ₂, φ₃."""
    matrix = np.diag(np.ones(3), 1)
    matrix[0, 0] = z
    for found, expected in zip(exponential.phi(np.array(z)), expm(matrix)[0, 1:], strict=True):
        assert_close(float(found), float(expected))


def test_phi_has_no_seam_where_the_series_ends_and_its_values_at_zero():
    for found, at_zero in zip(exponential.phi(np.array([0.0, 1e-300])), (1, 1 / 2, 1 / 6), strict=True):
        assert_close(torch.from_numpy(found), at_zero)
    for side in (-1.0, 1.0):
        for values in exponential.phi(side * np.array([1 - 1e-13, 1 + 1e-13])):
            assert_close(float(values[0]), float(values[1]))


def test_it_agrees_with_the_differentiable_one():
    """Two spellings of one scheme, on the same stiff system: contour integrals there, series here."""
    rates = np.array([-300.0, -20.0, -1.0, -1e-8, 0.0, 0.7])
    v = np.array([0.3, -1.0, 2.0, 0.1, -0.4, 0.5]) + 0.2j
    ours = exponential.etdrk4(v, 0.1, rates, lambda y: np.roll(y, 1) ** 2, 7)
    theirs = operators.etdrk4(torch.from_numpy(v), 0.1, torch.from_numpy(rates), lambda y: y.roll(1) ** 2, 7)
    assert_close(theirs.real, torch.from_numpy(ours.real))
    assert_close(theirs.imag, torch.from_numpy(ours.imag))


def test_fourth_order_on_a_stiff_logistic_equation():
    """v' = −λv + λv² has the solution v = 1/(1 + e^{λt}) from ½."""
    errors = []
    for steps in (16, 32, 64):
        v = exponential.etdrk4(np.array([0.5 + 0j]), 1 / steps, np.array([-5.0]), lambda y: 5 * y * y, steps)
        errors.append(abs(v[0].real - 1 / (1 + np.exp(5))))
    assert abs(orders(errors)[-1] - 4) < 0.1, orders(errors)
