r"""Gradients through every step (DRaFT): :math:`\nabla_\theta\, r(x_N)` with all of
:math:`\Psi_{N-1} \circ \dots \circ \Psi_0` in the graph.

With ``segments`` the chain is cut into that many pieces whose activations are recomputed in the backward pass
(``torch.utils.checkpoint``): memory of one piece plus one state per cut, one more forward pass, bit-equal gradients.  N pieces
or more are single evaluations: one network's activations at a time, at the same price.
"""

from __future__ import annotations

from itertools import pairwise
from typing import final

import attrs
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pirf.backprop.base import Pathwise, Rollout, Visited, visitor
from pirf.samplers import Chain, State

__all__ = ["Full"]


@final
@attrs.frozen
class Full(Pathwise):
    """All N steps; ``segments=None`` keeps every activation, ``segments=N`` recomputes evaluation by evaluation."""

    segments: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))

    def rollout(self, chain: Chain) -> Rollout:
        """The whole chain, in the graph."""
        visited: list[Visited] = []
        first, state = chain.depart(0)
        if self.segments is None or self.segments >= chain.steps - first:
            chain = attrs.evolve(chain, recompute=chain.recompute or self.segments is not None)
            return Rollout(chain.run(state, first, visit=visitor(visited, chain)).x, tuple(visited))
        for start, stop in pairwise(cuts(first, chain.steps, self.segments)):
            visited.append((chain.levels[start], state.x.detach()))
            state = self._piece(chain, state, start, stop)
        return Rollout(state.x, tuple(visited))

    @staticmethod
    def _piece(chain: Chain, state: State, start: int, stop: int) -> State:
        def piece(x: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
            moved = chain.run(State(x, memory), start, stop)
            return (moved.x, *moved.memory)

        x, *memory = checkpoint(piece, state.x, *state.memory, use_reentrant=False)
        return State(x, tuple(memory))


def cuts(first: int, last: int, pieces: int) -> list[int]:
    """``pieces`` nearly equal pieces of the steps ``first`` … ``last`` − 1, or single steps where there are fewer."""
    pieces = min(pieces, last - first)
    return [first + round(i * (last - first) / pieces) for i in range(pieces + 1)]
