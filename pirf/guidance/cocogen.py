r"""Physically consistent sampling (CoCoGen, Jacobsen et al. 2023): in the last steps the state itself is corrected,
:math:`x \leftarrow x - \varepsilon\, \nabla \overline{R^2} / \max|\nabla \overline{R^2}|` after the sampler's move, and a few
times more, with a smaller ε, when the chain has ended.

No network is evaluated or differentiated for it.  The residual is that of the noisy state, so that a correction means something
only where little noise is left.  A correction moves the component that moves most by ε, in normalised units, whatever the
residual is: it does not converge but hover, at the distance of ε, around what it seeks.  The maximum is that of each sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from pirf.denoisers import Denoiser
from pirf.errors import InputError, numbers
from pirf.guidance.base import Guidance, fitting
from pirf.noise import Noise
from pirf.rewards import Observation, Reward
from pirf.samplers import Chain, State
from pirf.tensors import Condition, Field

__all__ = ["CoCoGen"]


@final
class CoCoGen(Guidance):
    """``CoCoGen(denoiser, reward)``: ``corrections`` of size ``step`` after each of the ``last`` steps, ``post`` smaller ones.

    Several rewards are corrected for at once, each with a step of its own.  The correction after the very last step counts as
    one of the chain's: the ``post`` follow.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        reward: Reward | Sequence[Reward],
        step: float = 2e-3,
        post: int = 10,
        *,
        last: int = 5,
        corrections: int = 1,
        post_step: float = 2e-4,
    ) -> None:
        super().__init__(denoiser)
        self.rewards = tuple(reward) if isinstance(reward, Sequence) else (reward,)
        blind = [r for r in self.rewards if not isinstance(r, Reward) or not r.differentiable]
        if blind or not self.rewards:
            raise InputError(
                "at least one reward, and differentiable ones only, are needed",
                got=repr(blind[0]) if blind else "none",
                why="their gradients move the state",
                hint="CoCoGen(base, problem.reward)",
            )
        options = {"step": step, "post": post, "last": last, "corrections": corrections, "post_step": post_step}
        numbers("CoCoGen(base, reward, step=2e-3, post=10)", **options)
        if not (step > 0 and post_step > 0 and min(post, last, corrections) >= 0):
            raise InputError(
                "positive steps, and counts of 0 or more, are needed",
                got=f"step={step}, post={post}, last={last}, corrections={corrections}, post_step={post_step}",
                why="they say how far and how often the state is corrected",
                hint="CoCoGen(base, reward, step=2e-3, post=10)",
            )
        self.size, self.post, self.last = step, post, last
        self.corrections, self.post_step = corrections, post_step

    @classmethod
    def posterior(
        cls,
        denoiser: Denoiser,
        observation: Observation,
        reward: Reward | None = None,
        *,
        step: float = 0.1,
        post: int = 100,
        last: int = 10,
        corrections: int = 10,
        post_step: float = 2e-3,
    ) -> CoCoGen:
        """Corrected for the measurements beside the equation, in steps that can reach them."""
        rewards = (fitting(denoiser, observation), *([] if reward is None else [reward]))
        return cls(denoiser, rewards, step, post, last=last, corrections=corrections, post_step=post_step)

    def extra_repr(self) -> str:
        """The rewards and the options."""
        names = ("post", "last", "corrections", "post_step")
        return ", ".join((repr(self.rewards), f"step={self.size}", *(f"{name}={getattr(self, name)}" for name in names)))

    def step(self, chain: Chain, k: int, state: State, noise: Noise) -> State:
        """The sampler's move and, among the last steps, the corrections."""
        moved = chain.advance(k, state)
        if k < chain.steps - self.last:
            return moved
        return State(self._corrected(moved.x, self.size, self.corrections, chain.condition), moved.memory)

    def finish(self, chain: Chain, x: Field) -> Field:
        """The corrections after the last step."""
        return self._corrected(x, self.post_step, self.post, chain.condition)

    def _corrected(self, x: Field, size: float, times: int, condition: Condition | None) -> Field:
        x = x.detach()
        for _ in range(times):
            x = x - size * torch.stack([self._direction(reward, x, condition) for reward in self.rewards]).sum(0)
        return x

    def _direction(self, reward: Reward, x: Field, condition: Condition | None) -> Field:
        """The gradient of −score; its largest component is 1."""
        with torch.enable_grad():
            leaf = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(-reward(self.scaling.physical(leaf), condition).sum(), leaf)
        largest = gradient.flatten(1).abs().amax(1).reshape(-1, *[1] * (x.ndim - 1))
        return torch.where(largest > 0, gradient / largest, 0)
