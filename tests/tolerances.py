"""The one table of tolerances, by dtype, and the comparisons that read it.  No test brings its own."""

import math
from itertools import pairwise

import torch

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def assert_close(actual, expected, unit=None):
    """max|actual − expected| ≤ tolerance · unit; the unit is the largest |expected| unless the quantity cancels."""
    actual, expected = (v if isinstance(v, torch.Tensor) else torch.tensor(v, dtype=torch.float64) for v in (actual, expected))
    expected = torch.broadcast_to(expected, actual.shape)
    unit = float(expected.detach().abs().max()) if unit is None else unit
    worst = float((actual.detach() - expected.detach()).abs().max())
    assert worst <= TOLERANCE[actual.dtype] * unit, f"off by {worst:.3e} in units of {unit:.3e}"


def assert_moment(draws, expected, errors=4.5):
    """The mean of independent draws lies within ``errors`` standard errors (p < 1e-5) of its expectation."""
    draws = torch.as_tensor(draws, dtype=torch.float64).flatten()
    error = float(draws.std()) / math.sqrt(len(draws))
    assert abs(float(draws.mean()) - expected) <= errors * error, (
        f"{float(draws.mean()):.5g} ± {error:.2g} against {expected:.5g}"
    )


def orders(errors):
    """log2 of successive ratios of errors when the step is halved."""
    return [math.log2(a / b) for a, b in pairwise(errors)]
