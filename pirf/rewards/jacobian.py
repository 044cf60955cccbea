r"""The Jacobian J of a residual, probed: directional derivatives, the adjoint identity, and what finite jumps reveal.

:math:`\langle Jv, w\rangle = \langle v, J^T w\rangle` compares forward with reverse mode, which catches a wrong closed-form
adjoint.  Autograd agrees with itself even through a hard threshold, so :func:`sensitivity` compares the derivative along a
finite jump with the change that the jump makes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pirf.noise import Noise
from pirf.rewards.base import ResidualReward
from pirf.tensors import Condition, Field

__all__ = ["adjoint_gap", "directional", "sensitivity"]


def directional(reward: ResidualReward, x: Field, v: Field, condition: Condition | None = None) -> Tensor:
    """J v at x, in forward mode."""
    out: Tensor = torch.func.jvp(lambda y: reward.residuals(y, condition), (x,), (v,))[1]
    return out


def adjoint_gap(reward: ResidualReward, x: Field, noise: Noise, condition: Condition | None = None) -> float:
    """``|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| / (‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖)`` for random v (in units of each channel) and w."""
    noise = noise[range(len(x))]
    v = spread(x) * noise.fold("v").normal(x.shape[1:], x.dtype, x.device)
    jv = directional(reward, x, v, condition)
    w = noise.fold("w").normal(jv.shape[1:], x.dtype, x.device)
    leaf = x.clone().requires_grad_()
    residuals = reward.residuals(leaf, condition)
    if not residuals.requires_grad:
        return 0.0 if not bool(jv.any()) else 1.0
    (jtw,) = torch.autograd.grad(residuals, leaf, w)
    size = jv.norm() * w.norm() + v.norm() * jtw.norm()
    return float(((jv * w).sum() - (v * jtw).sum()).abs() / size.clamp_min(1e-300))


def sensitivity(reward: ResidualReward, x: Field, channel: int, condition: Condition | None = None) -> tuple[float, float]:
    """(‖ΔR‖, ‖Jv‖) for the jump v that exchanges one channel between neighbouring samples on every other row of the grid.

    On all rows, the jump of a problem with one channel would lead from one solution to another and change nothing.
    """
    jump = torch.zeros_like(x)
    jump[:, channel, ::2] = (x.roll(1, 0) - x)[:, channel, ::2]
    change = reward.residuals(x + jump, condition) - reward.residuals(x, condition)
    return float(change.norm()), float(directional(reward, x, jump, condition).norm())


def spread(x: Field) -> Tensor:
    """Standard deviation per channel, shaped to multiply fields."""
    return x.transpose(0, 1).flatten(1).std(1).clamp_min(1e-12).reshape(1, -1, *[1] * (x.ndim - 2))
