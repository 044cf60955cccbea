r"""Projection of the estimate on constraints (physics-constrained flow matching, PCFM, Utkarsh et al. 2025):
:math:`\tilde D = D - J^T (JJ^T + \varepsilon I)^{-1} h(D)`, h the residuals of normalised fields and J their Jacobian at D.

The product with the inverse is an iteration on products with J and its transpose (CGLS, Hestenes and Stiefel 1952), so that no
matrix is made and no network is differentiated.  Rows are measured in units of their constraint's root-mean-square row norm
in J, which makes h a distance in normalised units and lets constraints of different stiffness stand side by side.

*The ridge* ε is PCFM's relaxed correction as well: δ = D̃ − D minimises :math:`\|\delta\|^2 + \|h + J\delta\|^2/\varepsilon`, a
compromise between the constraint and the estimate.  With ε = 0 linear constraints hold to rounding.

*After the last step* Newton's method repeats the projection without ridge until the constraints hold.  Its corrections lie in
the row space of J: nothing moves that no constraint sees.

*What it does to the law.*  What is constrained is right; what is not constrained is not regressed on it.  For Gaussian data
whose coordinates are independent, exact measurements of some give exactly the conditional law.  Where coordinates are
correlated the others follow only as far as the network carries the noisy state of the constrained ones to them, and neither
mean nor covariance is that of the conditional law: :class:`~pirf.guidance.pseudoinverse.PseudoinverseGuidance` is for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor

from pirf.denoisers import Denoiser
from pirf.errors import InputError, NumericalError, numbers
from pirf.guidance.base import fitting
from pirf.guidance.estimate import EstimateGuidance
from pirf.guidance.krylov import Rows, least_squares
from pirf.noise import Noise
from pirf.rewards import Observation, ResidualReward
from pirf.samplers import Chain
from pirf.tensors import Condition, Field, Level

__all__ = ["Projection"]

Residuals = Callable[[Field], Rows]


@final
class Projection(EstimateGuidance):
    """``Projection(denoiser, constraints)``: estimates at σ ≤ ``below`` are projected, and the final sample.

    ``iterations`` bounds those of one projection, ``newton`` the projections after the last step; they end when the root mean
    square of h is below ``tolerance``.  A sample for which they do not end keeps its best state or, if ``strict``, is refused.
    Measurements are taken as exact, whatever their noise.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        constraints: ResidualReward | Sequence[ResidualReward],
        *,
        below: float = math.inf,
        ridge: float = 0.0,
        iterations: int = 100,
        newton: int = 10,
        tolerance: float = 1e-5,
        strict: bool = False,
    ) -> None:
        super().__init__(denoiser)
        self.constraints = tuple(constraints) if isinstance(constraints, Sequence) else (constraints,)
        wrong = [c for c in self.constraints if not isinstance(c, ResidualReward) or not c.differentiable]
        if wrong or not self.constraints:
            raise InputError(
                "at least one reward with a differentiable residual, and none without, is needed",
                got=repr(wrong[0]) if wrong else "none",
                why="projection solves for its zero",
                hint="Projection(base, (observation, problem.reward))",
            )
        options = {"below": below, "ridge": ridge, "iterations": iterations, "newton": newton, "tolerance": tolerance}
        numbers("Projection(base, constraints)", **options)
        if not (ridge >= 0 and tolerance > 0 and below > 0 and iterations >= 1 and newton >= 0):
            raise InputError(
                "a positive level, tolerance and count of iterations are needed, and a ridge of 0 or more",
                got=f"below={below}, ridge={ridge}, iterations={iterations}, newton={newton}, tolerance={tolerance}",
                why="they say when and how closely constraints are met",
                hint="Projection(base, constraints)",
            )
        self.below, self.ridge, self.iterations = below, ridge, iterations
        self.newton, self.tolerance, self.strict = newton, tolerance, strict

    @classmethod
    def posterior(
        cls,
        denoiser: Denoiser,
        observation: Observation,
        reward: ResidualReward | None = None,
        *,
        below: float = math.inf,
        ridge: float = 0.0,
        iterations: int = 100,
        newton: int = 10,
        tolerance: float = 1e-5,
        strict: bool = False,
    ) -> Projection:
        """Measurements, taken as exact, and the equation as constraints."""
        constraints = (fitting(denoiser, observation), *([] if reward is None else [reward]))
        options = {"below": below, "ridge": ridge, "tolerance": tolerance}
        return cls(denoiser, constraints, iterations=iterations, newton=newton, strict=strict, **options)

    def extra_repr(self) -> str:
        """The constraints and the options."""
        names = ("below", "ridge", "iterations", "newton", "tolerance", "strict")
        return ", ".join((repr(self.constraints), *(f"{name}={getattr(self, name)}" for name in names)))

    def corrected(self, network: Denoiser, x: Field, sigma: Level, condition: Condition | None) -> Field:
        """The projected estimate."""
        with torch.no_grad():
            estimate = network(x, sigma, condition)
            due = (sigma <= self.below).expand(len(x)).reshape(-1, *[1] * (x.ndim - 1))
            if not bool(due.any()):
                return estimate
            return torch.where(due, self._projected(estimate, condition, self.ridge)[0], estimate)

    def finish(self, chain: Chain, x: Field) -> Field:
        """Newton's method from the final state, sample by sample."""
        with torch.no_grad():
            left = self._left(x, chain.condition)
            for _ in range(self.newton):
                if not bool((left > self.tolerance).any()):
                    break
                moved, _ = self._projected(x, chain.condition, 0.0)
                found = self._left(moved, chain.condition)
                better = (left > self.tolerance) & (found < left)
                if not bool(better.any()):
                    break
                x = torch.where(better.reshape(-1, *[1] * (x.ndim - 1)), moved, x)
                left = torch.where(better, found, left)
        if self.strict and not bool((left <= self.tolerance).all()):
            worst = int(torch.where(left.isnan(), math.inf, left).argmax())
            raise NumericalError(
                f"Newton's method did not meet {self.constraints!r}: sample {worst} ends {float(left[worst]):.3g} away, "
                f"tolerance {self.tolerance:g}. Try more newton= or iterations=, or strict=False."
            )
        return x

    def _projected(self, x: Field, condition: Condition | None, ridge: float) -> tuple[Field, Rows]:
        residuals = self._measured(x, condition)
        with torch.enable_grad():
            leaf = x.detach().clone().requires_grad_()
            rows = residuals(leaf)
            weights = torch.zeros_like(rows, requires_grad=True)
            (pulled,) = torch.autograd.grad(rows, leaf, weights, create_graph=True)

        def transposed(w: Rows) -> Field:
            return torch.autograd.grad(rows, leaf, w, retain_graph=True)[0]

        def forward(v: Field) -> Rows:  # Jᵀw is linear in w, so that its transpose is J: reverse mode twice beats forward mode
            return torch.autograd.grad(pulled, weights, v, retain_graph=True)[0]

        left = rows.detach()
        return x - least_squares(forward, transposed, left, self.iterations, ridge), left

    def _left(self, x: Field, condition: Condition | None) -> Tensor:
        """Root mean square of h, one per sample: of the worst constraint."""
        residuals, found = self._measured(x, condition)(x), []
        for constraint in self.constraints:
            count = constraint.residuals(self.scaling.physical(x[:1]), _first(condition)).numel()
            found.append(residuals[:, :count].square().mean(1).sqrt())
            residuals = residuals[:, count:]
        return torch.stack(found).amax(0)

    def _measured(self, x: Field, condition: Condition | None) -> Residuals:
        """The residuals of all constraints, each in units of its rows' root-mean-square norm in J at x, for every sample."""
        units = []
        for number, constraint in enumerate(self.constraints):
            with torch.enable_grad():
                leaf = x.detach().clone().requires_grad_()
                rows = constraint.residuals(self.scaling.physical(leaf), condition).flatten(1)
                probe = Noise(0).fold("rows", number).normal((rows.shape[1],), x.dtype, x.device).expand_as(rows)
                (image,) = torch.autograd.grad(rows, leaf, probe)
            size = image.flatten(1).square().sum(1, keepdim=True).sqrt() / math.sqrt(rows.shape[1])
            units.append(torch.where(size > 0, size, 1))

        def measured(z: Field) -> Rows:
            fields = self.scaling.physical(z)
            found = [c.residuals(fields, condition).flatten(1) / u for c, u in zip(self.constraints, units, strict=True)]
            return torch.cat(found, 1)

        return measured


def _first(condition: Condition | None) -> Condition | None:
    return None if condition is None else {name: value[:1] for name, value in condition.items()}
