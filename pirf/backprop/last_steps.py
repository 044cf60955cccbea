r"""Step truncation (PIRF; DRaFT-K): the first N − K steps without gradient, the last K with all of their evaluations.

*Leverage.*  For :math:`D = c_{skip} x + c_{out} \theta` the last K steps carry :math:`s \arctan(\sigma_{N-K}/s)` of
:math:`\partial x_N/\partial\theta`: K = 1 at N = 20 is 0.26 % of the whole.  Truncation edits the low noise levels only.
"""

from __future__ import annotations

from typing import final

import attrs

from pirf.backprop.base import Pathwise, Rollout, Visited, visitor
from pirf.errors import InputError
from pirf.samplers import Chain

__all__ = ["LastSteps"]


@final
@attrs.frozen
class LastSteps(Pathwise):
    """The last ``count`` steps are differentiated; ``LastSteps(N)`` equals :class:`Full`."""

    count: int = attrs.field(default=1)

    @count.validator
    def _positive(self, _: object, count: int) -> None:
        if not isinstance(count, int) or count < 1:
            raise InputError(
                "at least one step must be differentiated",
                got=f"LastSteps({count})",
                why="the gradient would be zero",
                hint="LastSteps(1)",
            )

    def first_graded(self, chain: Chain) -> int:
        """N − K."""
        if self.count > chain.steps:
            raise InputError(
                f"at most {chain.steps} steps can be differentiated",
                got=f"LastSteps({self.count})",
                why=f"the sampler takes {chain.steps} steps",
                hint=f"LastSteps({chain.steps}), which is Full()",
            )
        return chain.steps - self.count

    def rollout(self, chain: Chain) -> Rollout:
        """Prefix without gradient, suffix with."""
        visited: list[Visited] = []
        start, state = chain.depart(self.first_graded(chain))
        return Rollout(chain.run(state, start, visit=visitor(visited, chain)).x, tuple(visited))
