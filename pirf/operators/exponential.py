r"""Steps of a semilinear equation :math:`v' = Lv + N(v)` with diagonal L: ETDRK4, exact for N = 0, of fourth order else.

Cox and Matthews (2002); the weights are the means over a circle of Kassam and Trefethen (2005), which have no cancellation
at small L.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

__all__ = ["etdrk4", "repeated"]


def etdrk4(v: Tensor, step: float, linear: Tensor, nonlinear: Callable[[Tensor], Tensor], count: int = 1) -> Tensor:
    """V after ``count`` steps of ``step`` units of time; ``linear`` are the real eigenvalues L, broadcast against v."""
    weights = tuple(w.to(v) for w in _weights(step, linear))
    return repeated(lambda v: _step(v, weights, nonlinear), v, count)


def repeated(step: Callable[[Tensor], Tensor], v: Tensor, count: int) -> Tensor:
    """V after ``count`` applications of ``step``; the backward pass runs each again instead of remembering what happened in it.

    A compiler decides by itself what to remember, and a single step has nothing to share.
    """
    for _ in range(count):
        if count > 1 and torch.is_grad_enabled() and v.requires_grad and not torch.compiler.is_compiling():
            v = checkpoint(step, v, use_reentrant=False, preserve_rng_state=False)
        else:
            v = step(v)
    return v


def _step(v: Tensor, weights: tuple[Tensor, ...], nonlinear: Callable[[Tensor], Tensor]) -> Tensor:
    whole, half, q, f1, f2, f3 = weights
    n_v = nonlinear(v)
    a = half * v + q * n_v
    n_a = nonlinear(a)
    n_b = nonlinear(half * v + q * n_a)
    n_c = nonlinear(half * a + q * (2 * n_b - n_v))
    return whole * v + f1 * n_v + 2 * f2 * (n_a + n_b) + f3 * n_c


def _weights(step: float, linear: Tensor) -> tuple[Tensor, ...]:
    """e^{hL}, e^{hL/2} and the four integrals, float64."""
    z = step * linear.double()
    # The upper half of the circle: L is real, so the lower half would add the complex conjugates.
    roots = torch.exp(1j * torch.pi * (torch.arange(32, dtype=torch.float64, device=z.device) + 0.5) / 32)
    w = z[..., None] + roots
    e = torch.exp(w)
    integrals = (
        (torch.exp(w / 2) - 1) / w,
        (-4 - w + e * (4 - 3 * w + w**2)) / w**3,
        (2 + w + e * (w - 2)) / w**3,
        (-4 - 3 * w - w**2 + e * (4 - w)) / w**3,
    )
    return (torch.exp(z), torch.exp(z / 2), *(step * f.mean(-1).real for f in integrals))
