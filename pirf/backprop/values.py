r"""Values: :math:`V(x_k, \sigma_k) \approx E[\text{return} \mid x_k]`, what a state before the end is worth.

The structured value of Score as Action (arXiv 2502.01819) uses what diffusion knows, an estimate of the end at every state,

.. math:: V(t, x) = \cos\tfrac{\pi t}{2}\; r(\hat x_0(x)) + \sin\tfrac{\pi t}{2}\; F_\varphi(x, \sigma),
          \qquad t = \tfrac{2}{\pi} \arctan(\sigma / s),

so that V(0, ·) = r whatever φ is, and the network is believed where the estimate says little.  t is a function of σ, never
of the step's index: a value learned at one N holds at another.  With ``structured=False`` V is the network alone, smooth in x
even where the reward has no gradient.

Values are fitted by least squares to the returns of trajectories, first to those of the untuned model.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, final

import attrs
import torch
from torch import Tensor

from pirf.backprop.base import score
from pirf.backprop.critic import Critic
from pirf.backprop.experience import Experience, explore, random_steps
from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.parallel import gathered, share
from pirf.rewards import Reward
from pirf.samplers import Chain, Sampler
from pirf.tensors import Field

_log = logging.getLogger(__name__)

__all__ = ["Fitted", "Known", "Value"]


class Value(ABC):
    """How states are valued: a frozen value; what it has learned is a state of its own."""

    @property
    def needs_gradient(self) -> bool:
        """Whether ∇V asks for the reward's gradient.  Default: it does not."""
        return False

    @property
    def guesses(self) -> bool:
        """Whether the reward of every estimate is asked for.  Default: only that of the end."""
        return False

    def init(self, chain: Chain, reward: Reward, noise: Noise, start: int) -> Any:
        """What is learned before the first update.  Default: nothing."""
        return None

    def learn(self, learned: Any, chain: Chain, experience: Experience, returns: Tensor, noise: Noise) -> None:
        """Fit to the ``returns`` (N − start, batch) of the visited states.  Default: nothing is learned."""

    @abstractmethod
    def along(self, learned: Any, chain: Chain, experience: Experience) -> Tensor:
        """V of all visited states, (N − start + 1, batch), at the end the score itself; no graph."""

    @abstractmethod
    def at(self, learned: Any, chain: Chain, reward: Reward, x: Field, k: int) -> Tensor:
        """V(x_k), one per sample, differentiable in x; at k = N the reward."""


@final
@attrs.frozen
class Known(Value):
    """A function (x, σ) → V that is known beforehand, also at σ = 0."""

    function: Callable[[Field, float], Tensor]

    def along(self, learned: Any, chain: Chain, experience: Experience) -> Tensor:
        """The function."""
        levels = chain.levels[experience.start :]
        return torch.stack([self.function(x, level) for x, level in zip(experience.states, levels, strict=True)])

    def at(self, learned: Any, chain: Chain, reward: Reward, x: Field, k: int) -> Tensor:
        """The function."""
        return self.function(x, chain.levels[k])


@final
@attrs.frozen
class Fitted(Value):
    """A small convolutional network; ``structured``, beside r(x̂₀), at one call of the reward per state.

    ``pretrain`` batches of ``batch`` trajectories of the untuned model come first.  Every batch, these and those of the
    updates, is gone through ``passes`` times.  ``middle`` is s, the level at which estimate and network count the same.
    """

    structured: bool = True
    width: int = attrs.field(default=32, validator=attrs.validators.ge(1))
    lr: float = attrs.field(default=1e-3, validator=attrs.validators.gt(0))
    passes: int = attrs.field(default=2, validator=attrs.validators.ge(1))
    pretrain: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    batch: int = attrs.field(default=64, validator=attrs.validators.ge(2))
    middle: float = attrs.field(default=0.5, validator=attrs.validators.gt(0))

    @property
    def needs_gradient(self) -> bool:
        """That of r(x̂₀), where it is a part."""
        return self.structured

    @property
    def guesses(self) -> bool:
        """Where r(x̂₀) is a part."""
        return self.structured

    def init(self, chain: Chain, reward: Reward, noise: Noise, start: int) -> Critic:
        """A network fitted to trajectories of the untuned model."""
        mine = share(self.batch)
        batches = [
            explore(chain, reward, noise.fold("explore")[range(first + mine.start, first + mine.stop)], start, self.structured)
            for first in range(0, self.pretrain * self.batch, self.batch)
        ]
        scores = torch.cat([found.scores for found in batches])
        spent = [len(batches) * self.batch * cost for cost in (batches[0].evaluations, batches[0].rewards)]
        _log.info(
            "%d trajectories of the untuned model come first: %d evaluations, %d calls of the reward",
            len(batches) * self.batch,
            *spent,
        )
        critic = Critic(chain.denoiser.shape, self.width, self.lr, scores, noise.fold("critic"))
        for turn in range(self.passes):
            for i, found in enumerate(batches):
                self._fit(critic, chain, found, found.returns(), noise.fold("fit", turn, i))
        return critic

    def fit(self, denoiser: Denoiser, reward: Reward, sampler: Sampler, seed: int = 0) -> Critic:
        """A network V(x, σ) of this denoiser's states, to guide with: ``SVDD(denoiser, reward, value=...)``."""
        if self.structured:
            raise InputError(
                "a value that is a network alone is needed",
                got=repr(self),
                why="r(x̂₀) is a part of this one, and what is returned is the network",
                hint="Fitted(structured=False)",
            )
        chain = Chain(sampler, denoiser)
        return self.init(chain, reward, Noise(seed).fold("value"), random_steps(chain, type(self).__name__))

    def learn(self, learned: Any, chain: Chain, experience: Experience, returns: Tensor, noise: Noise) -> None:
        """Least squares on the visited states, in mini-batches."""
        for turn in range(self.passes):
            self._fit(learned, chain, experience, returns, noise.fold("fit", turn))

    def along(self, learned: Any, chain: Chain, experience: Experience) -> Tensor:
        """The network, and the guesses that were made on the way."""
        x, levels, guesses = self._flat(chain, experience)
        with torch.no_grad():
            values = self._mixed(learned, x, levels, guesses).reshape(len(experience.states), -1)
        return torch.cat([values[:-1], experience.scores[None]])

    def at(self, learned: Any, chain: Chain, reward: Reward, x: Field, k: int) -> Tensor:
        """Network and r(D(x)); one evaluation more where it is structured."""
        guesses = None
        if self.structured:
            guesses = score(reward, chain.physical(x if k == chain.steps else chain.predict(x, k)), chain.condition)
            if x.requires_grad and not guesses.requires_grad:
                raise InputError(
                    "the gradient of a structured value needs a differentiable reward",
                    got=f"a score without gradient from {reward!r}",
                    why="r(x̂₀) is a part of the value, and the network alone would climb something else",
                    hint="Fitted(structured=False), a value that is a network alone",
                )
            if k == chain.steps:
                return guesses
        return self._mixed(learned, x, torch.full_like(x.flatten(1)[:, 0], chain.levels[k]), guesses)

    def _fit(self, critic: Critic, chain: Chain, experience: Experience, returns: Tensor, noise: Noise) -> None:
        experience = experience.whole()  # of all ranks: their critics stay the same
        x, levels, guesses = self._flat(chain, experience)
        wanted = torch.cat([gathered(returns, -1), experience.scores[None]]).reshape(-1)
        (generator,) = noise[0].generators()
        order = torch.from_numpy(generator.permutation(len(x))).to(x.device)
        for begin in range(0, len(order), self.batch):
            chosen = order[begin : begin + self.batch]
            known = None if guesses is None else guesses[chosen]
            gap = self._mixed(critic, x[chosen], levels[chosen], known) - wanted[chosen]
            critic.descend((gap / critic.spread).square().mean())

    def _mixed(self, critic: Critic, x: Field, levels: Tensor, guesses: Tensor | None) -> Tensor:
        """Cos · guess + sin · F, or F."""
        unknown: Tensor = critic(x, levels)
        if guesses is None:
            return unknown
        mixed: Tensor = (self.middle * guesses + levels * unknown) * (self.middle**2 + levels**2).rsqrt()
        return mixed

    @staticmethod
    def _flat(chain: Chain, experience: Experience) -> tuple[Field, Tensor, Tensor | None]:
        """All states, their levels and guesses, as one batch; at σ = 0 the guess is the score."""
        x, guesses = torch.cat(experience.states), experience.guesses
        levels = torch.tensor(chain.levels[experience.start :], dtype=x.dtype, device=x.device)
        known = None if guesses is None else torch.cat([guesses, experience.scores[None]]).reshape(-1)
        return x, levels.repeat_interleave(len(experience.scores)), known
