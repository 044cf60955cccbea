r"""Exponential time differencing for :math:`v' = Lv + N(v)` with diagonal L, to fourth order (Cox and Matthews, 2002).

With :math:`\varphi_j(z) = \sum_{m \ge 0} z^m/(m+j)!`, z = hL, and all functions at z unless said otherwise:

.. math:: a = e^{z/2} v + \tfrac h2 \varphi_1(\tfrac z2) N(v), \quad b = e^{z/2} v + \tfrac h2 \varphi_1(\tfrac z2) N(a),
   \quad c = e^{z/2} a + \tfrac h2 \varphi_1(\tfrac z2) (2N(b) - N(v)),
.. math:: v_+ = e^z v + h (\varphi_1 - 3\varphi_2 + 4\varphi_3) N(v) + h (2\varphi_2 - 4\varphi_3) (N(a) + N(b))
   + h (4\varphi_3 - \varphi_2) N(c).

Near z = 0, where the closed forms of the φ cancel, their series are summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["etdrk4", "phi"]

Array = NDArray[np.float64]
Modes = NDArray[np.complex128]
_TERMS = 20  # of the series, for |z| < 1


def phi(z: Array) -> tuple[Array, Array, Array]:
    """φ₁, φ₂, φ₃ of real numbers."""
    near = np.abs(z) < 1
    small, large = np.where(near, z, 0.0), np.where(near, 1.0, z)
    series = [sum(small**m / math.factorial(m + j) for m in range(_TERMS)) for j in (1, 2, 3)]
    first = np.expm1(large) / large
    second = (first - 1) / large
    third = (second - 0.5) / large
    one, two, three = (np.where(near, a, b) for a, b in zip(series, (first, second, third), strict=True))
    return one, two, three


def etdrk4(v: Modes, h: float, linear: Array, nonlinear: Callable[[Modes], Modes], count: int) -> Modes:
    """V after ``count`` steps of ``h``."""
    whole, half = np.exp(h * linear), np.exp(0.5 * h * linear)
    to_half = 0.5 * h * phi(0.5 * h * linear)[0]
    one, two, three = phi(h * linear)
    outer, inner, last = h * (one - 3 * two + 4 * three), h * (2 * two - 4 * three), h * (4 * three - two)
    for _ in range(count):
        n_v = nonlinear(v)
        a = half * v + to_half * n_v
        n_a = nonlinear(a)
        n_b = nonlinear(half * v + to_half * n_a)
        n_c = nonlinear(half * a + to_half * (2 * n_b - n_v))
        v = whole * v + outer * n_v + inner * (n_a + n_b) + last * n_c
    return v
