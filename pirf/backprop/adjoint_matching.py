r"""Adjoint matching (Domingo-Enrich et al. 2025): regress every step's drift on what the reward asks of it.

The tuned law :math:`p^* \propto p\, e^{r/\alpha}` is that of the base's transitions
:math:`N(\mu_k, v_k)` with their means shifted by :math:`-v_k a_{k+1}`, where the adjoint runs backwards through the *base*,

.. math:: a_N = -\nabla r / \alpha, \qquad a_k = (\partial \mu^{base}_k / \partial x)^T a_{k+1},

along trajectories of the current model.  The loss is
:math:`\sum_k \| (\mu^\theta_k - \mu^{base}_k)/\sqrt{v_k} + \sqrt{v_k}\, a_{k+1} \|^2`.  It regularises by itself (α is the
weight of the KL divergence from the base), needs the memoryless sampler, ``Ancestral(eta=1)``, and never differentiates
through the trained network's trajectory: memory is that of one evaluation.  Steps without variance are not trained.

*Linear case.*  For a reward bx and Gaussian data N(m, s²) with exact kernels, a is the same for every sample (the target has
no variance), and the mean shifts by :math:`s^2 b/\alpha` whatever the number of steps.
"""

from __future__ import annotations

import copy
import math
from typing import Any, final

import attrs
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pirf.backprop.base import GradientStrategy, Loss, Visited, first_trained, score
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, State, StochasticSampler
from pirf.tensors import spoiled

__all__ = ["AdjointMatching"]


@final
@attrs.frozen
class AdjointMatching(GradientStrategy):
    """Towards p·exp(r/``temperature``) of a differentiable reward; the state of the strategy is the frozen base."""

    temperature: float = attrs.field(default=1.0, validator=attrs.validators.gt(0))

    def init(self, chain: Chain, reward: Reward, noise: Noise) -> Any:
        """A copy of the denoiser as it is before the first update."""
        return copy.deepcopy(chain.denoiser).requires_grad_(False)

    def first_graded(self, chain: Chain) -> int:
        """All steps, of a memoryless sampler."""
        if not (isinstance(chain.sampler, StochasticSampler) and chain.sampler.memoryless):
            raise InputError(
                "AdjointMatching needs a memoryless stochastic sampler",
                got=repr(chain.sampler),
                why="only then is the final sample independent of the initial noise, as p·exp(r/α) asks",
                hint="Ancestral(steps=40, eta=1.0)",
            )
        if first_trained(chain) == chain.steps:
            raise InputError(
                "AdjointMatching needs steps with trainable weights",
                got=f"{type(chain.denoiser).__name__} without one",
                why="it regresses the drift of every step",
                hint="the denoiser inside, or NoiseHypernetwork for a NoiseMap",
            )
        return 0

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """One trajectory without a graph, its adjoint through the base, one regression per step."""
        self.admit(reward)
        if state is None:
            raise InputError(
                "AdjointMatching needs its base",
                got="state=None",
                why="the adjoint runs through the untuned model",
                hint="state = strategy.init(chain, reward, noise), before the first update",
            )
        mine = attrs.evolve(chain, noise=noise, tally=type(chain.tally)())
        base = attrs.evolve(mine, denoiser=state, quick=None, prefixes=None)
        start, departed = mine.depart(self.first_graded(chain))
        visited: list[Visited] = []
        with torch.no_grad():
            final = mine.run(departed, start, visit=lambda k, at: visited.append((mine.levels[k], at.x))).x
        leaf = final.detach().requires_grad_()
        scores = score(reward, mine.physical(leaf), mine.condition)
        if not scores.requires_grad:
            raise InputError(
                "AdjointMatching needs a differentiable reward",
                got=f"a score without gradient from {reward!r}",
                why="the adjoint starts from its gradient",
                hint="a PDEReward",
            )
        (gradient,) = torch.autograd.grad(scores.sum(), leaf)
        if not bool(torch.isfinite(gradient).all()):
            raise NumericalError(
                f"the gradient of {reward!r} is not finite in channel(s) {spoiled(gradient)}; weights untouched. "
                "Try a smaller lr."
            )
        adjoint = -gradient / self.temperature
        total = torch.zeros((), dtype=final.dtype, device=final.device)
        vjps = 0
        for k in reversed(range(start, chain.steps)):
            x = visited[k - start][1].detach().requires_grad_()
            law = base.transition(k, State(x))
            if law.variance > 0:
                mean: Tensor = checkpoint(lambda y, k=k: mine.transition(k, State(y)).mean, x.detach(), use_reentrant=False)
                gap = (mean - law.mean.detach()) / math.sqrt(law.variance) + math.sqrt(law.variance) * adjoint
                total = total + gap.square().flatten(1).sum(1).mean()
                vjps += 1
            (adjoint,) = torch.autograd.grad(law.mean, x, adjoint)
            vjps += 1
        chain.tally.evaluations += mine.tally.evaluations
        return Loss(total, float(scores.detach().mean()), tuple(visited), mine.tally.evaluations, vjps, state)
