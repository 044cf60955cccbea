r"""One random step (ReFL, Xu et al. 2023): stop the chain at a random step k and grade the estimate there,
:math:`L = -r(D(x_k, \sigma_k))`, with :math:`x_k` free of gradient.

One evaluation in the graph wherever it is: for :math:`D = c_{skip} x + c_{out}\theta` the gradient is exactly
:math:`c_{out}(\sigma_k)\, r'(D)`.  The estimate at a high level is a mean over many solutions and solves no equation itself:
grade few of the last steps.
"""

from __future__ import annotations

from typing import final

import attrs

from pirf.backprop.base import Pathwise, Rollout, first_trained
from pirf.errors import InputError
from pirf.samplers import Chain

__all__ = ["OneStep"]


@final
@attrs.frozen
class OneStep(Pathwise):
    """One of the last ``among`` steps, the same for all samples of an update; of those with a trained weight."""

    among: int = attrs.field(default=5, validator=attrs.validators.ge(1))

    def first_graded(self, chain: Chain) -> int:
        """The earliest that can be drawn."""
        if self.among > chain.steps:
            raise InputError(
                f"at most {chain.steps} steps can be drawn from",
                got=f"OneStep({self.among})",
                why=f"the sampler takes {chain.steps} steps",
                hint=f"OneStep({chain.steps})",
            )
        return max(chain.steps - self.among, min(first_trained(chain), chain.steps - 1))

    def rollout(self, chain: Chain) -> Rollout:
        """The estimate at the drawn step, from the address of the update's noise."""
        (generator,) = chain.noise.fold("step")[0].generators()
        step, state = chain.depart(int(generator.integers(self.first_graded(chain), chain.steps)))
        return Rollout(chain.predict(state.x, step), ((chain.levels[step], state.x),))
