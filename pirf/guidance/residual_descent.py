r"""Descent of the residual after every step: :math:`x_{k+1} \leftarrow \Psi_k(x_k) - \zeta\,\delta(x_k)` with
:math:`\delta = \nabla\overline{R^2} / \mathrm{rms}(\nabla\overline{R^2})` of the state before the step, the second half of
PG-Diffusion (Shu, Li & Barati Farimani 2023), whose first half tells the network δ.

The state is as noisy as it is: at high noise δ says nothing of the data, and ζ has to be small against the levels where it
does.
:class:`pirf.guidance.cocogen.CoCoGen` is the same idea for the last steps alone, where there is little noise left.
"""

from __future__ import annotations

from typing import final

from pirf.denoisers import Denoiser
from pirf.denoisers.residual_gradient import downhill
from pirf.errors import InputError, instance, numbers
from pirf.guidance.base import Guidance
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, State

__all__ = ["ResidualDescent"]


@final
class ResidualDescent(Guidance):
    """``step`` = ζ, in normalised units: how far the state moves, as a root mean square, after each of the sampler's steps."""

    def __init__(self, denoiser: Denoiser, reward: Reward, step: float = 1e-3) -> None:
        super().__init__(denoiser)
        instance("a reward to descend on", reward, Reward, hint="ResidualDescent(denoiser, problem.reward)")
        numbers("ResidualDescent(denoiser, problem.reward, step=1e-3)", step=step)
        if not (reward.differentiable and step > 0):
            raise InputError(
                "a differentiable reward and a positive step are needed",
                got=f"{reward!r}, step={step}",
                why="the state moves by that much against the reward's gradient",
                hint="ResidualDescent(denoiser, problem.reward, step=1e-3)",
            )
        self.reward, self.size = reward, step

    def extra_repr(self) -> str:
        """The reward and the step."""
        return f"{self.reward!r}, step={self.size}"

    def step(self, chain: Chain, k: int, state: State, noise: Noise) -> State:
        """The sampler's move, less ζδ."""
        moved = chain.advance(k, state)
        return State(moved.x - self.size * downhill(self.reward, state.x, self.scaling, chain.condition), moved.memory)
