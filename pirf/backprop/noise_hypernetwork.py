r"""Noise hypernetworks (Eyring et al. 2025): tune where the chain begins, and nothing that happens in it,
:math:`\min_\varphi E\left[\tfrac12 \|f_\varphi(z)\|^2 - r(G(z + f_\varphi(z)))/\alpha\right]`.

The generator G is the frozen base under the sampler, :math:`x_N = G(z)`; f belongs to :class:`pirf.NoiseMap`.  The first term
is the divergence of the new noise from the old, :math:`KL = E[\tfrac12\|f\|^2 + \mathrm{tr}\,J - \ln\det(1 + J)]` with
:math:`J = \partial f/\partial z`, up to second order in J.  The gradient passes the whole chain; with ``segments`` it is
recomputed as in :class:`pirf.Full`.

*Linear case.*  For Gaussian data N(m, s²) and an ODE sampler G(z) = c + gz with c → m and g → s as its steps become many: a
reward bx gives f = gb/α exactly, and the mean of p·exp(r/α); a reward −½λ(x − y)² gives output of variance
:math:`g^2/(1 + \lambda g^2/\alpha)^2`, the square of the factor in p·exp(r/α), which is the price of dropping
tr J − ln det(1 + J).
"""

from __future__ import annotations

from typing import Any, final

import attrs
from torch import nn

from pirf.backprop.base import Loss, Pathwise, Rollout
from pirf.backprop.full import Full
from pirf.denoisers import Denoiser, NoiseMap
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, StochasticSampler

__all__ = ["NoiseHypernetwork"]


@final
@attrs.frozen
class NoiseHypernetwork(Pathwise):
    """For a :class:`pirf.NoiseMap` on a sampler that remembers its noise; ``temperature`` is α."""

    temperature: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))
    segments: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))

    def trainable(self, denoiser: Denoiser) -> list[nn.Parameter]:
        """The weights of f."""
        return _mapped(denoiser).tunable()

    def first_graded(self, chain: Chain) -> int:
        """All steps, of a sampler whose end depends on its beginning."""
        _mapped(chain.denoiser)
        if isinstance(chain.sampler, StochasticSampler) and chain.sampler.memoryless:
            raise InputError(
                "NoiseHypernetwork needs a sampler that remembers its initial noise",
                got=repr(chain.sampler),
                why="the final sample hardly depends on where such a chain begins",
                hint="Heun(steps=20)",
            )
        return 0

    def rollout(self, chain: Chain) -> Rollout:
        """The whole chain, in the graph."""
        return Full(self.segments).rollout(chain)

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """−mean score / α + mean ½‖f‖²."""
        self.first_graded(chain)
        outcome = Pathwise.loss(self, chain, reward, noise, state)
        offset = _mapped(chain.denoiser).offset(chain.keyed(noise).white())
        size = 0.5 * offset.square().flatten(1).sum(1).mean()
        return attrs.evolve(outcome, value=outcome.value / self.temperature + size)


def _mapped(denoiser: Denoiser) -> NoiseMap:
    if not isinstance(denoiser, NoiseMap):
        raise InputError(
            "NoiseHypernetwork trains a map of the initial noise",
            got=type(denoiser).__name__,
            why="it has none",
            hint="NoiseMap(base)",
        )
    return denoiser
