r"""Diffusion posterior sampling in DiffusionPDE's form (Huang et al. 2024):
:math:`x_{k+1} \leftarrow \Psi_k(x_k) - \nabla_{x_k} \sum_j \zeta_j L_j(\hat x_0(x_k))`.

:math:`\hat x_0` is the last estimate of the step (the corrector's, for Heun), and the gradient runs through all evaluations
of the step, so that a guided step costs about three plain ones.

*Relative terms.*  With J the Jacobian of the step's estimate, the pull g on the estimate reaches the state as :math:`J^T g`.
Where the terms are ``relative`` that step is stretched by :math:`\langle g, g\rangle/\langle g, J^T g\rangle`: the
direction is that of regression on the measurement, the length the one at which the term is satisfied.  Weights then have no
unit, and do not depend on how much is measured.

*Bias.*  The reward of an estimate is not the expected reward.  For a Gaussian posterior of variance v, a reward
:math:`-\tfrac12\lambda(x_0 - y)^2` and a temperature α, its gradient exceeds that of the soft value
:math:`\alpha \ln E[e^{r/\alpha} \mid x]` by the factor :math:`1 + \lambda v/\alpha`, which is large at high noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import torch

from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance
from pirf.guidance.base import Guidance, Term, fitting
from pirf.guidance.weights import Below, Fading
from pirf.noise import Noise
from pirf.rewards import Observation, Reward
from pirf.samplers import Chain, State
from pirf.tensors import Field

__all__ = ["DPS"]

_SPREAD = 0.5
"""Standard deviation of normalised data."""
_LONGEST = 30.0
"""How much further a relative step may go than for data without correlations, where Jᵀ pull = pull · s²/(s² + σ²)."""


@final
class DPS(Guidance):
    """``DPS(denoiser, reward, weight)``: one PDE term, active in the last fifth of the steps; or a sequence of terms.

    With ``checkpoint`` a guided step keeps the inputs of its evaluations only and makes them again in the backward pass: the
    memory of one evaluation, the same gradient to the last bit, and evaluations that are counted.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        reward: Reward | Sequence[Term],
        weight: float = 1.0,
        active: tuple[float, float] = (0.8, 1.0),
        *,
        checkpoint: bool = False,
    ) -> None:
        super().__init__(denoiser)
        self.terms = tuple(reward) if isinstance(reward, Sequence) else (Term(reward, weight, active),)
        self.checkpoint = checkpoint
        wrong = [term for term in self.terms if not isinstance(term, Term)]
        if wrong or not self.terms:
            raise InputError(
                f"guidance needs {'terms alone' if wrong else 'at least one term'}",
                got=repr(wrong[0]) if wrong else "none",
                why="each says of its reward how much it counts and when",
                hint="DPS(base, reward), or DPS(base, [Term(reward, 1.0), Term(observation, 1.0)])",
            )

    @classmethod
    def posterior(
        cls,
        denoiser: Denoiser,
        observation: Observation,
        reward: Reward | None = None,
        *,
        observed: float = 1.0,
        weight: float = 1.0,
        relative: bool = True,
        checkpoint: bool = False,
    ) -> DPS:
        """DiffusionPDE's schedule: ζ_obs = ``observed`` until .8N, then a tenth of it beside ζ_pde = ``weight``.

        The weights of the paper, which have units and differ by problem, are those of ``relative=False``.
        """
        fitting(denoiser, observation)
        instance("a number as observed=", observed, (int, float), hint="DPS(denoiser, [Term(observation, Below(1.0))])")
        terms = [
            Term(observation, observed, (0.0, 0.8), relative=relative),
            Term(observation, 0.1 * observed, (0.8, 1.0), relative=relative),
        ]
        if reward is not None:
            terms.append(Term(reward, weight, (0.8, 1.0), relative=relative))
        return cls(denoiser, terms, checkpoint=checkpoint)

    @classmethod
    def fundps(
        cls,
        denoiser: Denoiser,
        observation: Observation,
        reward: Reward | None = None,
        *,
        observed: float = 1.0,
        weight: float = 1.0,
        relative: bool = True,
        checkpoint: bool = False,
    ) -> DPS:
        """The coefficients of FunDPS: ``observed`` · (1 if σ > 1 else σ), and ``weight`` · (0 if σ > 1 else σ)."""
        terms = [Term(fitting(denoiser, observation), Fading(observed), relative=relative)]
        if reward is not None:
            terms.append(Term(reward, Below(Fading(weight)), relative=relative))
        return cls(denoiser, terms, checkpoint=checkpoint)

    def extra_repr(self) -> str:
        """The terms."""
        return ", ".join(map(repr, self.terms))

    def step(self, chain: Chain, k: int, state: State, noise: Noise) -> State:
        """The sampler's move minus the gradient with respect to the state before it."""
        sigma = chain.levels[k]
        terms = [term for term in self.terms if term.acts(k, chain.steps) and term.at(sigma) > 0]
        if not terms:
            return chain.advance(k, state)
        chain = attrs.evolve(chain, recompute=chain.recompute or self.checkpoint)
        before = chain.tally.evaluations
        with torch.enable_grad():
            departure = State(state.x.detach().clone().requires_grad_(), state.memory)
            moved = chain.advance(k, departure)
        estimate, made = moved.x if moved.estimate is None else moved.estimate, chain.tally.evaluations - before
        x = moved.x.detach()
        for relative in sorted({term.relative for term in terms}):
            pulls = [t.gradient(estimate, self.scaling, chain.condition, sigma) for t in terms if t.relative is relative]
            pull = torch.stack(pulls).sum(0)
            (along,) = torch.autograd.grad(estimate, departure.x, pull, retain_graph=True)
            x = x - (_stretched(along, pull, sigma) if relative else along)
            chain.tally.vjps += made
            chain.tally.evaluations += made if self.checkpoint else 0
        return State(x, moved.memory)


def _stretched(along: Field, pull: Field, sigma: float) -> Field:
    """The direction Jᵀ pull, as long as the pull itself goes; bounded where the estimate hardly goes that way."""
    asked, got = (torch.sum(pull * other, tuple(range(1, pull.ndim)), keepdim=True) for other in (pull, along))
    least = asked / (_LONGEST * (1 + (sigma / _SPREAD) ** 2))
    return torch.where(asked > 0, asked / torch.maximum(got, least), 0) * along
