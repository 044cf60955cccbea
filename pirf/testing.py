r"""Contracts that third parties can run on their own classes, in their own tests.

``check_reward``, ``check_sampler``, ``check_strategy`` and ``check_denoiser`` return nothing and raise
:class:`ContractError` with one line that says which law was broken and by how much.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from pirf import problems
from pirf.backprop import GradientStrategy
from pirf.denoisers import Denoiser, GaussianDenoiser, Preconditioned
from pirf.noise import Noise
from pirf.rewards import ResidualReward, Reward
from pirf.rewards.jacobian import adjoint_gap, directional, sensitivity, spread
from pirf.samplers import Chain, Sampler
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field

__all__ = ["ConstantNetwork", "ContractError", "check_denoiser", "check_reward", "check_sampler", "check_strategy"]


class ContractError(AssertionError):
    """A law of the house that a class does not keep."""


@final
class ConstantNetwork(Preconditioned):
    r"""F ≡ θ, so that :math:`D = c_{skip} x + c_{out} \theta`: every sensitivity to θ is known in closed form.

    Two stages, ``trunk`` (an offset that enters the features) and ``head``, so that layer truncation can be tried on it.
    """

    def __init__(self, shape: Sequence[int], scaling: Scaling | None = None, theta: float = 0.0) -> None:
        super().__init__(shape, scaling)
        self.offset = nn.Parameter(torch.zeros(self.shape, dtype=torch.float64))
        self.theta = nn.Parameter(torch.full(self.shape, theta, dtype=torch.float64))

    @property
    def stages(self) -> tuple[str, ...]:
        """Two of them."""
        return ("trunk", "head")

    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        """One each."""
        return [{"trunk": self.offset, "head": self.theta}[name]]

    def encode(self, x: Tensor, c_noise: Tensor, condition: Condition | None, last: int) -> tuple[Tensor, ...]:
        """Zero, of the shape of x, plus the offset where the trunk is asked for."""
        return (torch.zeros_like(x) + (self.offset if last == 1 else 0.0),)

    def decode(self, features: tuple[Tensor, ...], last: int) -> Tensor:
        """θ plus what came in."""
        return features[0] + self.theta + (self.offset if last == 2 else 0.0)


def _require(held: bool, subject: object, law: str, measured: object = "") -> None:
    if not held:
        raise ContractError(f"{subject!r}: {law}" + (f" (measured {measured})" if measured != "" else ""))


def check_reward(reward: Reward, example: Field, condition: Condition | None = None, cases: int = 25, seed: int = 0) -> None:
    """Shapes, dtypes, independence of samples, value semantics, gradient, adjoint and sensitivity.

    ``example`` holds at least two different fields in physical units.
    """
    _require(len(example) >= 2, reward, "the example needs two samples or more", len(example))
    x = example.double()
    scores = reward(x, condition)
    _require(tuple(scores.shape) == (len(x),), reward, f"one score per sample: shape ({len(x)},)", tuple(scores.shape))
    _require(bool(torch.isfinite(scores).all()), reward, "scores of finite fields are finite")
    single = reward(x.float(), condition)
    _require(single.dtype == torch.float32, reward, "float32 fields give float32 scores", single.dtype)
    _require(
        hash(reward) == hash(copy.deepcopy(reward)) and reward == copy.deepcopy(reward), reward, "rewards are hashable values"
    )
    order = torch.arange(len(x) - 1, -1, -1)
    if condition is None:
        apart = torch.cat([reward(x[i : i + 1]) for i in range(len(x))])
        gap = float(((apart - scores).abs() / scores.abs().clamp_min(1e-30)).max())
        _require(gap < 1e-9, reward, "samples of a batch must not influence each other", f"{gap:.1e}")
        gap = float(((reward(x[order]) - scores[order]).abs() / scores[order].abs().clamp_min(1e-30)).max())
        _require(gap < 1e-9, reward, "a permuted batch gives permuted scores", f"{gap:.1e}")
    if isinstance(reward, ResidualReward):
        _check_residual(reward, x, condition, cases, seed)


def _check_residual(reward: ResidualReward, x: Field, condition: Condition | None, cases: int, seed: int) -> None:
    for case in range(cases):
        gap = adjoint_gap(reward, x, Noise(seed).fold("contract", case), condition)
        _require(gap <= 1e-10, reward, "⟨Jv, w⟩ = ⟨v, Jᵀw⟩ to 1e-10", f"{gap:.1e}")
    v = spread(x) * Noise(seed).fold("contract")[range(len(x))].normal(x.shape[1:], x.dtype)
    slope, step = directional(reward, x, v, condition), 1e-5
    numeric = (reward.residuals(x + step * v, condition) - reward.residuals(x - step * v, condition)) / (2 * step)
    error = float((numeric - slope).norm() / slope.norm().clamp_min(1e-300))
    _require(error < 1e-5, reward, "the derivative equals central differences to 1e-5", f"{error:.1e}")
    for channel in range(x.shape[1]):
        change, size = sensitivity(reward, x, channel, condition)
        _require(change > 0, reward, f"channel {channel} is seen: exchanging it between samples changes the residual")
        _require(size > 1e-9 * change, reward, f"channel {channel}: jumps change the residual, so its derivative is not 0")


def check_sampler(sampler: Sampler) -> None:
    """Levels, split ≡ unsplit, independence of samples, and the moments of a Gaussian law."""
    levels = sampler.levels
    _require(len(levels) == sampler.steps + 1 and levels[-1] == 0, sampler, "steps + 1 levels, the last one 0", levels)
    _require(all(a > b for a, b in pairwise(levels)), sampler, "levels decrease strictly", levels)
    oracle = GaussianDenoiser((1, 4, 4), mean=0.3, variances=0.25)
    chain = Chain(sampler, oracle, Noise(0)[range(256)])
    whole = chain.run(chain.initial()).x
    for split in range(sampler.steps + 1):
        pieces = chain.run(chain.run(chain.initial(), 0, split), split).x
        _require(torch.equal(whole, pieces), sampler, f"a run split at step {split} equals the unsplit one bit for bit")
    alone = Chain(sampler, oracle, Noise(0)[[7]])
    _require(torch.equal(alone.run(alone.initial()).x[0], whole[7]), sampler, "sample 7 alone equals sample 7 of a batch")
    if sampler.steps >= 20:
        mean, spread = float(whole.mean()), float(whole.std())
        _require(abs(mean - 0.3) < 0.05 and abs(spread - 0.5) < 0.1, sampler, "samples N(0.3, ½²)", f"{mean:.3f}, {spread:.3f}")


def check_strategy(strategy: GradientStrategy, sampler: Sampler | None = None) -> None:
    """Gradient on exactly the trainable tensors, determinism, and a batch loss that is the mean over its samples."""
    problem = problems.poisson(8)
    denoiser = ConstantNetwork(problem.shape, problem.scaling, theta=0.1)
    from pirf.samplers import Heun

    chain = Chain(sampler or Heun(steps=4), denoiser)
    before = [p.detach().clone() for p in denoiser.parameters()]
    trained = strategy.trainable(denoiser)

    def run(samples: Sequence[int]) -> tuple[float, list[Tensor]]:
        noise = Noise(3).fold("update", 0)[samples]
        loss = strategy.loss(chain, problem.reward, noise, strategy.init(chain, problem.reward, noise))
        return float(loss.value.detach()), list(torch.autograd.grad(loss.value, trained))

    _require(len(trained) > 0, strategy, "something is trainable")
    value, gradients = run(range(4))
    again, repeated = run(range(4))
    _require(
        value == again and all(map(torch.equal, gradients, repeated)),
        strategy,
        "the same noise gives the same loss and gradient",
    )
    _require(any(bool(g.abs().max() > 0) for g in gradients), strategy, "the gradient is not zero")
    first, second = run([0, 1])[0], run([2, 3])[0]
    gap = abs(0.5 * (first + second) - value) / max(abs(value), 1e-30)
    _require(gap < 1e-10, strategy, "the loss is the mean over samples", f"{gap:.1e}")
    same = all(torch.equal(a, b) for a, b in zip(before, denoiser.parameters(), strict=True))
    _require(same and all(p.grad is None for p in denoiser.parameters()), strategy, "computing a loss changes nothing")


def check_denoiser(denoiser: Denoiser) -> None:
    """Shape, dtype, independence of samples, per-sample levels, and D(x, σ) → x as σ → 0."""
    like = denoiser.like
    x = 0.5 * Noise(0)[range(3)].normal(denoiser.shape, like.dtype, like.device)
    tolerance = 1e-9 if like.dtype == torch.float64 else 1e-4
    with torch.no_grad():
        for level in (0.01, 1.0, 50.0):
            sigma = torch.tensor(level, dtype=like.dtype, device=like.device)
            out = denoiser(x, sigma)
            _require(
                out.shape == x.shape and out.dtype == x.dtype, denoiser, "the estimate has the shape and dtype of x", out.shape
            )
            gap = float((denoiser(x[1:2], sigma) - out[1:2]).abs().max())
            _require(gap < tolerance, denoiser, "samples of a batch must not influence each other", f"{gap:.1e}")
            gap = float((denoiser(x, sigma.expand(3)) - out).abs().max())
            _require(gap < tolerance, denoiser, "one level per sample equals one level for all", f"{gap:.1e}")
