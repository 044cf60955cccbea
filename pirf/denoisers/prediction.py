r"""Any network on any path: what it predicts of :math:`x_t = \alpha x_0 + \beta z` says what :math:`x_0` is.

A chain's state is :math:`x = x_t/\alpha` and its level :math:`\sigma = \beta/\alpha` says the time: then

.. math:: D(x, \sigma) = \hat x_0\big(F(\alpha x,\, t(\sigma))\big),

with no approximation, so that samplers, rewards and strategies meet models of flow matching, DDPM and EDM alike.

==================  ==========================================  ===================================================
:class:`Clean`      :math:`x_0`                                 itself
:class:`Epsilon`    :math:`z`                                   :math:`(x_t - \beta z)/\alpha`
:class:`V`          :math:`v = \alpha z - \beta x_0`            :math:`(\alpha x_t - \beta v)/(\alpha^2 + \beta^2)`
:class:`Velocity`   :math:`u = \alpha' x_0 + \beta' z`          :math:`(\beta' x_t - \beta u)/(\alpha\beta' - \beta\alpha')`
==================  ==========================================  ===================================================

Only :class:`Epsilon` divides by α: what its network errs by is multiplied by σ.  The others stay of the size of the data up
to pure noise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

import attrs
from torch import Tensor, nn

from pirf.denoisers.base import Denoiser
from pirf.denoisers.paths import Path, Point
from pirf.errors import InputError, instance
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field, Level

__all__ = ["Call", "Clean", "Epsilon", "Prediction", "Target", "V", "Velocity"]

Call = Callable[[nn.Module, Tensor, Tensor, Condition | None], Tensor]
"""(network, x_t, t, condition) → prediction: how the network is called; t is ``(batch,)``."""

_ROUNDING = 1e-3
"""Relative: how far outside its path a level may lie, so that the ends may be written as they are printed."""


@attrs.frozen
class Target(ABC):
    """What a network predicts."""

    @abstractmethod
    def clean(self, prediction: Tensor, x_t: Tensor, point: Point) -> Tensor:
        """The clean sample that the prediction says x_t to have come from."""


@final
@attrs.frozen
class Clean(Target):
    """x0 itself."""

    def clean(self, prediction: Tensor, x_t: Tensor, point: Point) -> Tensor:
        """The prediction."""
        return prediction


@final
@attrs.frozen
class Epsilon(Target):
    """The noise z (Ho et al. 2020)."""

    def clean(self, prediction: Tensor, x_t: Tensor, point: Point) -> Tensor:
        """(x_t − βz)/α."""
        return (x_t - point.beta * prediction) / point.alpha


@final
@attrs.frozen
class V(Target):
    """v = αz − βx0 (Salimans & Ho 2022)."""

    def clean(self, prediction: Tensor, x_t: Tensor, point: Point) -> Tensor:
        """(αx_t − βv)/(α² + β²)."""
        return (point.alpha * x_t - point.beta * prediction) / (point.alpha**2 + point.beta**2)


@final
@attrs.frozen
class Velocity(Target):
    """u = α'x0 + β'z, dx_t/dt along a path from x0 to z in the path's own time."""

    def clean(self, prediction: Tensor, x_t: Tensor, point: Point) -> Tensor:
        """(β'x_t − βu)/(αβ' − βα'): the denominator is α² dσ/dt, so it vanishes nowhere."""
        pace = point.alpha * point.beta_slope - point.beta * point.alpha_slope
        return (point.beta_slope * x_t - point.beta * prediction) / pace


def plain(network: nn.Module, x_t: Tensor, t: Tensor, condition: Condition | None) -> Any:
    """``network(x_t, t)``, or its ``.sample`` where that is how it answers."""
    if condition is not None:
        raise InputError(
            "a call that says how the network is told conditions is needed",
            got=f"a condition with {', '.join(condition)}",
            why="without one it would be ignored silently",
            hint="Prediction(..., call=lambda network, x, t, condition: network(x, t, **(condition or {})))",
        )
    answer = network(x_t, t)
    return answer if isinstance(answer, Tensor) else getattr(answer, "sample", answer)


@final
class Prediction(Denoiser):
    """``Prediction(network, shape, LinearPath(), Velocity())``: a network of another library, or of yours.

    It is asked ``network(x_t, time_scale * t)`` with t of shape ``(batch,)``; ``call`` says so where it takes its input
    otherwise: ``lambda network, x, t, condition: network(x, timestep=t, labels=condition["label"]).logits``.
    ``scaling`` brings the units that it was trained in to physical ones.
    """

    def __init__(
        self,
        network: nn.Module,
        shape: Sequence[int],
        path: Path,
        target: Target,
        scaling: Scaling | None = None,
        *,
        time_scale: float = 1.0,
        call: Call = plain,
    ) -> None:
        super().__init__(shape, scaling)
        instance("a network", network, nn.Module, hint="Prediction(network.eval(), shape, LinearPath(), Velocity())")
        if not (math.isfinite(time_scale) and time_scale > 0):
            raise InputError(
                "a positive time_scale is needed",
                got=time_scale,
                why="the network would be told the same time at every level",
                hint="time_scale=1000 for a network that counts a unit of time in thousandths",
            )
        if not isinstance(path, Path) or not isinstance(target, Target):
            raise InputError(
                "a path and a target, instances of theirs, are needed",
                got=f"{path!r} and {target!r}",
                why="they say how the network's input was noised and what it predicts",
                hint="Prediction(network, shape, LinearPath(), Velocity())",
            )
        self.network, self.path, self.target = network, path, target
        self.time_scale, self.call = float(time_scale), call

    def extra_repr(self) -> str:
        """Path, target and unit of time."""
        return f"path={self.path!r}, target={self.target!r}, time_scale={self.time_scale:g}"

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The clean sample that the network's prediction stands for."""
        point = self.path.at(sigma)
        time = (self.time_scale * point.time).to(x.dtype).expand(len(x))
        columns = Point(*(value.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1)) for value in point))
        x_t = columns.alpha * x
        prediction = self.call(self.network, x_t, time, condition)
        if not isinstance(prediction, Tensor) or prediction.shape != x.shape:
            raise InputError(
                f"a prediction of shape {tuple(x.shape)} is needed from {type(self.network).__name__}",
                got=f"shape {tuple(prediction.shape)}" if isinstance(prediction, Tensor) else type(prediction).__name__,
                why="it is a prediction for every entry of the state",
                hint="call=lambda network, x, t, condition: network(x, t)[0], whatever brings the tensor to light",
            )
        return self.target.clean(prediction, x_t, columns).to(x.dtype)

    def admit(self, levels: Sequence[float]) -> None:
        """Refuse levels that the path does not reach."""
        low, high = self.path.span
        beyond = [s for s in levels if s > 0 and not low * (1 - _ROUNDING) <= s <= high * (1 + _ROUNDING)]
        if beyond:
            raise InputError(
                f"noise levels from {low:.4g} to {high:.4g} are needed",
                got=", ".join(f"{s:.4g}" for s in (beyond if len(beyond) < 4 else (beyond[0], beyond[-1]))),
                why=f"that is where {self.path!r} runs, and the network knows no other",
                hint=f"schedule=EDM(sigma_min={max(low, 0.002):.4g}, sigma_max={min(high, 80):.4g})",
            )
