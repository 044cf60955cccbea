r"""Pseudo-inverse guidance (ΠGDM, Song et al. 2023), as an estimate of :math:`E[x_0 \mid x, y]`:
:math:`\tilde D = D + \sigma^2 \Big(\frac{\partial D}{\partial x}\Big)^{\!T} H^T (r^2 H H^T + T^2)^{-1} (y - H D)`.

H measures normalised fields, T holds the noise of its rows, and :math:`r^2 = \sigma^2 s^2/(\sigma^2 + s^2)` is the variance
that an isotropic prior of standard deviation s (``spread``) leaves at level σ.

By Tweedie's formula :math:`\sigma^2\,\partial D/\partial x` is the covariance of x0 given x, so that the correction is linear
regression on what the measurement says beyond the estimate.  For an isotropic Gaussian prior it is :math:`E[x_0 \mid x, y]`.
With ``iterations`` the covariance stands inside the inverse as well, in place of r² (Tweedie moment projection, Boys et al.
2023): an iteration that begins with the isotropic inverse, one product with the network's Jacobian each.  That is exact for
every Gaussian prior once it has converged, with as many iterations as there are rows at the most.

*Smooth fields.*  An isotropic prior takes neighbouring points for independent, so that the plain form moves a smooth field by a
small part of what a measurement asks; a few iterations repair that.

*Exact measurements* have T = 0.  Rows that repeat each other are told apart by a ridge of rounding size, relative to each row.

*Cost.*  One evaluation and 1 + ``iterations`` vector–Jacobian products wherever the sampler asks for an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance, numbers
from pirf.guidance.base import Term, fitting
from pirf.guidance.estimate import EstimateGuidance
from pirf.guidance.krylov import Rows, smallest_residual
from pirf.guidance.weights import Below, Weight
from pirf.rewards import Observation, Reward
from pirf.tensors import Condition, Field, Level

__all__ = ["PseudoinverseGuidance"]


@final
class PseudoinverseGuidance(EstimateGuidance):
    """``PseudoinverseGuidance(denoiser, observation)``: every estimate is conditioned on the observation.

    ``terms`` join at no further evaluation or product: the estimate follows the covariance against the gradient of weight · L,
    as for a likelihood exp(−weight · L); a ``relative`` term's step is taken in units of r².  When they act is said by the
    noise level: a weight such as :class:`~pirf.guidance.weights.Below`.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        observation: Observation,
        terms: Sequence[Term] = (),
        *,
        spread: float = 0.5,
        iterations: int = 0,
    ) -> None:
        super().__init__(denoiser)
        self.observation, self.terms = fitting(denoiser, observation), tuple(terms)
        self.spread, self.iterations = spread, iterations
        numbers("spread=0.5, iterations=0", spread=spread, iterations=iterations)
        if not spread > 0 or iterations < 0:
            raise InputError(
                "a positive spread and a count of iterations are needed",
                got=f"spread={spread}, iterations={iterations}",
                why="they say how uncertain an estimate is taken to be",
                hint="spread=0.5, iterations=0",
            )
        for term in self.terms:
            instance("a term", term, Term, hint="terms=[Term(reward, Below(1.0), relative=True)]")
        by_step = [term for term in self.terms if term.active != (0.0, 1.0) or term.together]
        if by_step:
            raise InputError(
                "terms that act by the noise level, sample by sample, are needed",
                got=repr(by_step[0]),
                why="an estimate is corrected without knowing of steps and neighbours",
                hint="Term(reward, weight=Below(1.0, level=1.0))",
            )
        self._gram = _gram(observation, denoiser)

    @classmethod
    def posterior(
        cls,
        denoiser: Denoiser,
        observation: Observation,
        reward: Reward | None = None,
        *,
        weight: float | Weight = Below(1.0),
        spread: float = 0.5,
        iterations: int = 5,
    ) -> PseudoinverseGuidance:
        """Guided by an observation and, where there is one, an equation."""
        terms = () if reward is None else (Term(reward, weight, relative=True),)
        return cls(denoiser, observation, terms, spread=spread, iterations=iterations)

    def extra_repr(self) -> str:
        """The observation and the options."""
        return f"{self.observation!r}, {self.terms!r}, spread={self.spread}, iterations={self.iterations}"

    @property
    def products(self) -> int:
        """One, and one for every iteration."""
        return 1 + self.iterations

    def corrected(self, network: Denoiser, x: Field, sigma: Level, condition: Condition | None) -> Field:
        """E[x0 | x, y]."""
        estimate = network(x, sigma, condition)
        told = -self.observation.misfit(self.scaling.physical(estimate))
        variance = sigma.square().reshape(-1, 1)
        assumed = variance * self.spread**2 / (variance + self.spread**2)

        def isotropic(rhs: Rows) -> Rows:
            return self._solve(rhs, assumed)

        def covariance(w: Rows) -> Rows:
            (along,) = torch.autograd.grad(told, x, -w, retain_graph=True)
            with torch.no_grad():
                rows = self.observation.operator.measure(
                    self.scaling.physical(along) - self.scaling.physical(torch.zeros_like(x))
                )
                return variance * rows + self.observation.deviations.to(w).square() * w

        w = isotropic(told.detach())
        if self.iterations:
            w = smallest_residual(covariance, told.detach(), self.iterations, isotropic, self._unit(assumed).expand_as(w))
        (along,) = torch.autograd.grad((told, estimate), x, (-w, -self._pull(estimate, sigma, assumed, condition)))
        column = (-1, *[1] * (x.ndim - 1))
        return estimate + variance.reshape(column) * along

    def _pull(self, estimate: Field, sigma: Level, assumed: Tensor, condition: Condition | None) -> Field:
        pull = torch.zeros_like(estimate)
        for term in self.terms:
            if term.at(_one(sigma)) == 0:
                continue
            step = term.gradient(estimate, self.scaling, condition, _one(sigma))
            pull = pull + (step / assumed.reshape(-1, *[1] * (step.ndim - 1)) if term.relative else step)
        return pull

    def _unit(self, variance: Tensor) -> Tensor:
        """What each row's measurement varies by, under the isotropic prior."""
        diagonal = self._gram if self._gram.ndim == 1 else self._gram.diagonal()
        return (variance * diagonal.to(variance) + self.observation.deviations.to(variance).square()).sqrt()

    def _solve(self, rhs: Rows, variance: Tensor) -> Rows:
        """(variance · H Hᵀ + T²)⁻¹, in float64 where rows meet."""
        noise, gram = self.observation.deviations.to(rhs.device).square(), self._gram.to(rhs.device)
        if gram.ndim == 1:
            return rhs / (variance * gram.to(rhs) + noise.to(rhs))
        matrix = variance.double()[..., None] * gram + torch.diag(noise)
        size = matrix.diagonal(dim1=1, dim2=2).sqrt()
        matrix = matrix / (size[:, :, None] * size[:, None, :])
        ridge = 10 * len(noise) * torch.finfo(torch.float64).eps
        factor = torch.linalg.cholesky(matrix + ridge * torch.eye(len(noise), dtype=torch.float64, device=rhs.device))
        return (torch.cholesky_solve((rhs.double() / size)[..., None], factor)[..., 0] / size).to(rhs.dtype)


def _gram(observation: Observation, denoiser: Denoiser) -> Tensor:
    """H Hᵀ of the normalised fields, float64."""
    operator, scaling = observation.operator, denoiser.scaling
    scale = torch.tensor(scaling.scale, dtype=torch.float64)
    if scaling.colour is None:
        return operator.gram(scale)
    fields = operator.adjoint(torch.eye(operator.rows, dtype=torch.float64)) * scale.reshape(
        -1, *[1] * (len(operator.shape) - 1)
    )
    rows = scaling.colour.colour(fields).flatten(1)
    return rows @ rows.T


def _one(sigma: Level) -> float:
    """The level of the whole batch."""
    if bool((sigma != sigma.max()).any()):
        raise InputError(
            "guidance with terms needs one noise level for the batch",
            got=f"{float(sigma.min()):.4g} to {float(sigma.max()):.4g}",
            why="a term's weight is a rule of the level",
            hint="a chain, whose steps have one",
        )
    return float(sigma.max())
