"""Seconds that tell whether this machine computes what the package promises."""

from __future__ import annotations

import copy
from typing import Any, Literal

import torch
from torch.optim import SGD

from pirf.backprop import Full
from pirf.cli.choices import problem_of, size_of
from pirf.denoisers import storage
from pirf.inference import sample
from pirf.metrics import mean_squares
from pirf.noise import Noise
from pirf.problems import poisson
from pirf.rewards.jacobian import adjoint_gap
from pirf.samplers import Chain, Heun
from pirf.testing import ConstantNetwork
from pirf.training import finetune

__all__ = ["Answer", "Verdict", "adjoint", "model_figure", "update"]

Verdict = Literal["OK", "WARN", "FAIL"]
Answer = tuple[Verdict, str]


def model_figure(name: str) -> Answer:
    """One sample against the mean of the many that the card tells of."""
    model = storage.load(name)
    problem = problem_of(name.rpartition("-")[0], size_of(model))
    fields = sample(model, Heun(steps=20), 1, seed=1_000_000).double()
    rho = float(mean_squares(problem.reward, fields)) / problem.scale
    stored = float(model.card["figures"]["base"]["adherence"]["rho"])
    return ("OK" if rho < 5 * stored else "FAIL"), f"ρ {rho:.3g} of a sample, {stored:.3g} on its card"


def adjoint() -> Answer:
    """⟨Jv, w⟩ = ⟨v, Jᵀw⟩ for the residual of Poisson."""
    problem = poisson(16)
    gap = adjoint_gap(problem.reward, problem.sample(4), Noise(0))
    return ("OK" if gap < 1e-10 else "FAIL"), f"⟨Jv, w⟩ and ⟨v, Jᵀw⟩ are {gap:.1e} apart"


def update() -> Answer:
    """One update Δ of plain descent: along it the loss, a quadratic here, must fall with the slope −‖Δ‖²/lr."""
    problem, sampler, lr, strategy = poisson(8), Heun(steps=4), 1e-3, Full()
    base = ConstantNetwork(problem.shape, problem.scaling, theta=0.1)
    recipe: dict[str, Any] = {"sampler": sampler, "gradient": strategy, "optimizer": SGD, "lr": lr, "steps": 1, "batch": 4}
    tuned = finetune(base, problem.reward, **recipe, progress=False)
    changes = [2 * (after - before).detach() for after, before in zip(tuned.parameters(), base.parameters(), strict=True)]

    def loss(share: float) -> float:  # the average that comes back has gone half the way
        moved = copy.deepcopy(base)
        with torch.no_grad():
            for parameter, change in zip(moved.parameters(), changes, strict=True):
                parameter.add_(share * change)
        noise = Noise(0).fold("update", 0)[range(4)]
        return float(strategy.loss(Chain(sampler, moved), problem.reward, noise).value.detach())

    asked = -sum(float(change.square().sum()) for change in changes) / lr
    gap = abs((loss(1.0) - loss(-1.0)) / 2 / asked - 1)
    return ("OK" if gap < 1e-6 else "FAIL"), f"the loss falls as its gradient says, to {gap:.1e}"
