r"""A network that is told where the residual of its own noisy state falls (PG-Diffusion, Shu, Li & Barati Farimani 2023):

.. math:: D(x, \sigma, c) = F(x, \sigma, \{c, \delta(x)\}), \qquad
          \delta(x) = \nabla_x \overline{R(x)^2} \big/ \mathrm{rms}(\nabla_x \overline{R(x)^2}),

the residual of the physical fields, the gradient in normalised units.  Every sample's δ has the root mean square 1: what a
residual measures grows without bound with the noise, and its size is known from σ anyway.  Where the gradient is zero, δ is.

δ is data to the network: no gradient flows through it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch

from pirf.denoisers.base import Denoiser, Wrapped
from pirf.errors import NumericalError
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field, Level, Score, spoiled

__all__ = ["NAME", "ResidualGradient", "downhill"]

NAME = "residual gradient"
"""What the network is told δ by."""


def downhill(
    score: Callable[[Field, Condition | None], Score], x: Field, scaling: Scaling, condition: Condition | None
) -> Field:
    """The gradient of −score at the physical fields of x, of root mean square 1 in every sample."""
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        leaf = x.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(-score(scaling.physical(leaf), condition).sum(), leaf)
    size = gradient.flatten(1).square().mean(1).sqrt().reshape(-1, *[1] * (x.ndim - 1))
    if not torch.compiler.is_compiling() and not bool(torch.isfinite(size).all()):
        raise NumericalError(
            f"the gradient of {score!r} is not finite in channel(s) {spoiled(gradient)}; weights untouched. Try a smaller lr."
        )
    return torch.where(size > 0, gradient / size, 0)


@final
class ResidualGradient(Wrapped):
    """``denoiser``, which takes a field of that :data:`NAME`, told δ of ``score``: a reward, or any differentiable function."""

    def __init__(self, denoiser: Denoiser, score: Callable[[Field, Condition | None], Score]) -> None:
        super().__init__(denoiser)
        self.score = score

    def extra_repr(self) -> str:
        """The score."""
        return repr(self.score)

    def around(self, network: Denoiser) -> Denoiser:
        """Another network, told the gradient of the same score."""
        return ResidualGradient(network, self.score)

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The estimate of a network that is told δ beside the condition."""
        return self.inner(x, sigma, {**(condition or {}), NAME: downhill(self.score, x, self.scaling, condition)})
