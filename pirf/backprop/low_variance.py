r"""Low-variance truncation (DRaFT-LV, Clark et al. 2023): the last step, graded again from re-noised copies of its result.

:math:`L = -\tfrac1{n+1}\bigl[r(x_N) + \sum_j r(D(\bar x_N + \sigma_{N-1}\varepsilon_j, \sigma_{N-1}))\bigr]`, where
:math:`\bar x_N` carries no gradient: n more evaluations instead of n more trajectories.  For r = −½(x − y)² and
:math:`D = c_{skip} x + c_{out}\theta` the expected gradient of a term is
:math:`c_{out}(y - c_{skip}\bar x_N - c_{out}\theta)`.
"""

from __future__ import annotations

from typing import final

import attrs

from pirf.backprop.base import Pathwise, Rollout, Visited, visitor
from pirf.samplers import Chain

__all__ = ["LowVariance"]


@final
@attrs.frozen
class LowVariance(Pathwise):
    """The last step and ``count`` re-noised copies of it."""

    count: int = attrs.field(default=2, validator=attrs.validators.ge(1))

    def first_graded(self, chain: Chain) -> int:
        """The last step."""
        return chain.steps - 1

    def rollout(self, chain: Chain) -> Rollout:
        """One trajectory, count + 1 final states."""
        visited: list[Visited] = []
        last = self.first_graded(chain)
        start, state = chain.depart(last)
        final = chain.run(state, start, visit=visitor(visited, chain)).x
        copies = [chain.renoise(final.detach(), last, chain.noise.fold("renoise", j)) for j in range(self.count)]
        visited += [(chain.levels[last], copy) for copy in copies]
        return Rollout(final, tuple(visited), tuple(chain.predict(copy, last) for copy in copies))
