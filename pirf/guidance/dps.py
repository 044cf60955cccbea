r"""Diffusion posterior sampling in DiffusionPDE's form (Huang et al. 2024):
:math:`x_{k+1} \leftarrow \Psi_k(x_k) - \nabla_{x_k} \sum_j \zeta_j L_j(\hat x_0(x_k))`.

:math:`\hat x_0` is the last estimate of the step (the corrector's, for Heun), and the gradient runs through all evaluations
of the step, so that a guided step costs about three plain ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.guidance.base import Guidance, Term
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, State

__all__ = ["DPS"]


@final
class DPS(Guidance):
    """``DPS(denoiser, reward, weight)``: one PDE term, active in the last fifth of the steps; or a sequence of terms."""

    def __init__(
        self,
        denoiser: Denoiser,
        reward: Reward | Sequence[Term],
        weight: float = 1.0,
        active: tuple[float, float] = (0.8, 1.0),
    ) -> None:
        super().__init__(denoiser)
        self.terms = (Term(reward, weight, active),) if isinstance(reward, Reward) else tuple(reward)
        if not self.terms:
            raise InputError(
                "guidance needs at least one term", got="none", why="nothing would guide", hint="DPS(base, reward)"
            )

    def extra_repr(self) -> str:
        """The terms."""
        return ", ".join(map(repr, self.terms))

    def step(self, chain: Chain, k: int, state: State, noise: Noise) -> State:
        """The sampler's move minus the gradient with respect to the state before it."""
        terms = [term for term in self.terms if term.weight > 0 and term.acts(k, chain.steps)]
        if not terms:
            return chain.advance(k, state)
        before = chain.tally.evaluations
        with torch.enable_grad():
            departure = State(state.x.detach().clone().requires_grad_(), state.memory)
            moved = chain.advance(k, departure)
            estimate = chain.physical(moved.x if moved.estimate is None else moved.estimate)
            loss = torch.stack([term.losses(estimate, chain.condition).sum() for term in terms]).sum()
            (gradient,) = torch.autograd.grad(loss, departure.x)
        chain.tally.vjps += chain.tally.evaluations - before
        return State(moved.x.detach() - gradient, moved.memory)
