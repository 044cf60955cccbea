r"""Hierarchical windows: the graded steps, a window of noise levels at a time, from coarse to fine.

The N steps (under a :class:`pirf.Handover`, those of the tail) are cut into ``count`` windows.  An update changes the weights
by what they do inside one window; the steps after it pass the reward's gradient on to the state with their weights held:
:math:`\nabla L_w = -\sum_{k \in w} \partial_\theta\Psi_k^T\, \partial_x\Psi_{k+1}^T \cdots\, \partial_x\Psi_{N-1}^T \nabla r`.
The gradients of all windows add up to the one of :class:`Full`.

With an ``inner`` policy gradient a window is a range of its steps: hierarchical reward fine-tuning (HRF, reconstructed from
secondary text), whose windows add up to the inner strategy.
"""

from __future__ import annotations

from typing import Any, final

import attrs
import torch

from pirf.backprop.base import GradientStrategy, Loss, Pathwise, Rollout, Visited, first_trained, visitor
from pirf.backprop.experience import drawn
from pirf.backprop.full import cuts
from pirf.backprop.policy import Policy
from pirf.denoisers import Denoiser
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain
from pirf.tensors import Condition, Field, Level

__all__ = ["Windows"]


@final
@attrs.frozen
class Windows(Pathwise):
    """``updates`` updates in one of ``count`` windows, then the next finer one; after the finest, the coarsest again."""

    count: int = attrs.field(default=4, validator=attrs.validators.ge(1))
    updates: int = attrs.field(default=50, validator=attrs.validators.ge(1))
    window: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    inner: Policy | None = None

    @property
    def needs_gradient(self) -> bool:
        """Pathwise it does."""
        return self.inner is None

    @property
    def separable(self) -> bool:
        """Pathwise it is."""
        return self.inner is None or self.inner.separable

    @property
    def period(self) -> int:
        """The inner strategy's: its trajectories go on to serve where another window begins."""
        return 1 if self.inner is None else self.inner.period

    def init(self, chain: Chain, reward: Reward, noise: Noise) -> Any:
        """The inner strategy's."""
        return None if self.inner is None else self.inner.init(chain, reward, noise)

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """Pathwise, or the inner strategy's on the steps of the window."""
        if self.inner is None:
            return Pathwise.loss(self, chain, reward, noise, state)
        return attrs.evolve(self.inner, window=self._edges(chain)).loss(chain, reward, noise, state)

    def at(self, update: int) -> GradientStrategy:
        """The window whose turn it is."""
        return attrs.evolve(self, window=(self.window + update // self.updates) % self.count)

    def first_graded(self, chain: Chain) -> int:
        """Of the coarsest window: its turn will come."""
        first = min(first_trained(chain), chain.steps - 1) if self.inner is None else self.inner.first_graded(chain)
        room = self._stop(chain, first) - first
        if self.count > room:
            raise InputError(
                f"at most {room} windows can be cut",
                got=f"Windows({self.count})",
                why="a window needs a step with a trained weight",
                hint=f"Windows({room})",
            )
        return first

    def _stop(self, chain: Chain, first: int) -> int:
        """Where the finest window ends: an inner strategy learns nothing at the step to σ = 0 that has no variance."""
        return chain.steps if self.inner is None else 1 + max(drawn(chain, first), default=first)

    def _edges(self, chain: Chain) -> tuple[int, int]:
        first = self.first_graded(chain)
        edges = cuts(first, self._stop(chain, first), self.count)
        return edges[self.window % self.count], edges[self.window % self.count + 1]

    def rollout(self, chain: Chain) -> Rollout:
        """Before the window no graph, in it the graph, after it the graph of the states alone."""
        begin, end = self._edges(chain)
        visited: list[Visited] = []
        start, state = chain.depart(begin)
        state = chain.run(state, start, end, visit=visitor(visited, chain))
        held = attrs.evolve(chain, denoiser=_Held(chain.denoiser))
        return Rollout(held.run(state, end).x, tuple(visited))


class _Held(Denoiser):
    """The same function of x, its weights out of the graph."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.shape, inner.scaling)
        self.inner = inner
        self.steps: dict[int, _Held] = {}

    @property
    def cost(self) -> int:
        return self.inner.cost

    def for_step(self, departure: float) -> Denoiser:
        network = self.inner.for_step(departure)
        return self if network is self.inner else self.steps.setdefault(id(network), _Held(network))

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        held = {name: p.detach() for name, p in self.inner.named_parameters()}
        out: Field = torch.func.functional_call(self.inner, held, (x, sigma, condition))
        return out
