r"""Random truncation: the number K of graded steps is drawn anew for every update.

``law="uniform"``: :math:`K \sim U\{1 .. N-1\}` (PIRF's random truncation).  ``law="normal"``: of every fifty steps
:math:`b \sim N(42, 5)` are left out, :math:`K = N - \mathrm{round}(bN/50)`, at least 1 and at most N (AlignProp, Prabhudesai
et al. 2023).  All samples of an update share K: their graph is one.  Memory is that of the largest K that is drawn.
"""

from __future__ import annotations

from typing import Literal, final

import attrs

from pirf.backprop.base import Pathwise, Rollout
from pirf.backprop.last_steps import LastSteps
from pirf.errors import InputError
from pirf.samplers import Chain

__all__ = ["RandomSteps"]


@final
@attrs.frozen
class RandomSteps(Pathwise):
    """:class:`LastSteps` of a random count."""

    law: Literal["uniform", "normal"] = attrs.field(default="uniform", validator=attrs.validators.in_(("uniform", "normal")))

    def first_graded(self, chain: Chain) -> int:
        """The earliest that can be drawn."""
        if chain.steps < 2:
            raise InputError(
                "a sampler of two steps or more is needed",
                got=f"steps={chain.steps}",
                why="there is nothing to draw",
                hint="LastSteps(1)",
            )
        return 1 if self.law == "uniform" else 0

    def rollout(self, chain: Chain) -> Rollout:
        """K from the address of the update's noise, whatever its samples are."""
        self.first_graded(chain)
        return LastSteps(self.draw(chain)).rollout(chain)

    def draw(self, chain: Chain) -> int:
        """K."""
        (generator,) = chain.noise.fold("depth")[0].generators()
        if self.law == "uniform":
            return int(generator.integers(1, chain.steps))
        left_out = round(generator.normal(42, 5) * chain.steps / 50)
        return min(max(chain.steps - left_out, 1), chain.steps)
