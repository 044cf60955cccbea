r"""Score as Action (arXiv 2502.01819): fine-tuning as control in continuous time, the score being the action.

For :math:`dX = (-f + g^2 a)\,dt + g\,dB` with actions :math:`a \sim N(s_\theta, \Sigma)` and the objective
:math:`J = E\,r(X_T) - \tfrac{\beta}{2} E\!\int\! g^2 \|a - s_{pre}\|^2 dt`, the advantage rate is

.. math:: q = \partial_t V + (-f + g^2 a)\cdot\nabla V + \tfrac12 g^2 \Delta V - \tfrac{\beta}{2} g^2 \|a - s_{pre}\|^2 .

Along a trajectory it integrates to :math:`A_k = V(x_{k+1}) - V(x_k) - \beta\,\mathrm{KL}_k` over one step: an advantage of the
step itself, which needs no gradient of the reward and, unlike the score of the whole trajectory, carries no noise of the other
steps.  Since the drift is linear in a, the policy gradient has a closed form as well,
:math:`\nabla_\theta J = E\!\int\! g^2 (\partial_\theta s_\theta)^T [\nabla V - \beta (s_\theta - s_{pre})]\,dt` with the
optimum :math:`s_{pre} + \nabla V / \beta`: ``form="gradient"``.

V is a function of the noise level, never of the step's index (:mod:`pirf.backprop.values`): what was learned with one N is
sampled with another.  Everything is read from the transitions of the sampler, so that its kernels may be plug-in or exact
(``Ancestral(spread=s)``), its stochasticity η anything: the divergence per step tends to
:math:`((1+\eta^2)/2\eta)^2\, \tfrac12 g^2\|\Delta s\|^2 dt`.  On a deterministic sampler the policy alone explores:
``Ancestral(eta=0, spread=c)`` is Euler with the estimate drawn around D with variance :math:`c^2\sigma^2/(c^2+\sigma^2)`; train
with it, sample with ``Euler`` or ``Heun``.
"""

from __future__ import annotations

from typing import Any, Literal, final

import attrs
from torch import Tensor

from pirf.backprop.base import Loss
from pirf.backprop.experience import Experience, standardised
from pirf.backprop.policy import Policy
from pirf.backprop.value_gradient import climb
from pirf.backprop.values import Fitted, Value
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain

__all__ = ["ContinuousTime"]


@final
@attrs.frozen
class ContinuousTime(Policy):
    """Advantages from a structured value, standardised per step over the batch and cut at ±``limit``, clipped ratios.

    With ``standardised=False`` an advantage is a difference of scores, and β has the unit of the score.
    ``form="gradient"`` climbs ∇V instead: no ratio, no clipping, no second epoch, β in the unit of the score.
    """

    value: Value = Fitted()
    form: Literal["advantage", "gradient"] = attrs.field(
        default="advantage", validator=attrs.validators.in_(("advantage", "gradient"))
    )
    standardised: bool = True
    limit: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))

    @property
    def needs_gradient(self) -> bool:
        """Of a structured value, where its gradient is taken."""
        return self.form == "gradient" and self.value.needs_gradient

    def advantages(self, chain: Chain, experience: Experience, learned: Any, prices: Tensor | None) -> Tensor:
        """V(x_{k+1}) − V(x_k) − β KL_k."""
        along = self.value.along(learned, chain, experience)
        gained = along.diff(dim=0) if prices is None else along.diff(dim=0) - prices
        chosen = gained[[k - experience.start for k in experience.steps]]
        return standardised(chosen, "advantages", self.limit) if self.standardised else chosen

    def loss(self, chain: Chain, reward: Reward, noise: Noise, state: Any = None) -> Loss:
        """The clipped surrogate, or the closed form."""
        if self.form == "advantage":
            return Policy.loss(self, chain, reward, noise, state)
        return climb(self, chain, reward, noise, state, self.value, self.kl, True, self.window)
