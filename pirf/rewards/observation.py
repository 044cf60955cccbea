r"""Measurements as a reward: :math:`y = Hf + \tau\varepsilon`, so that
:math:`\log p(y \mid f) = -\tfrac12\sum_i (H_if - y_i)^2/\tau_i^2` up to a constant.

The residual is :math:`(Hf - y)/\tau`, in standard deviations of the noise; where a measurement is exact (τ = 0) it is
:math:`Hf - y` in physical units.  What needs more than the residual (a pseudo-inverse, a projection) finds H, y and τ here.

An observation is a value by its content: its ``repr`` carries a hash of what was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from pirf.errors import InputError
from pirf.rewards.base import ResidualReward
from pirf.rewards.functionals import Functional, Points
from pirf.tensors import Condition, Field, Residual, digest

__all__ = ["Observation"]

_EXACT = 1e-9
"""Relative: how far apart exact measurements of the same thing may be."""


def _functional(what: Tensor | Functional) -> Functional:
    return what if isinstance(what, Functional) else Points(what)


def _float64(what: str, values: object) -> Tensor:
    """Numbers in any container."""
    try:
        return torch.as_tensor(values, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{what} in numbers are needed",
            got=f"{type(values).__name__} {values if isinstance(values, str) else ''}",
            why=str(error).splitlines()[0],
            hint="Observation(mask, field, noise=0.01)",
        ) from error


@final
@attrs.frozen(eq=False, repr=False)
class Observation(ResidualReward):
    """``Observation(mask, values, noise)``: what was measured, in physical units.

    ``operator`` is a boolean mask of shape ``(channel, *grid)``, or any :class:`~pirf.rewards.functionals.Functional`.
    ``values`` are one number per row, or a whole field of which the operator's rows are taken.  ``noise`` is a standard
    deviation: one for all, one per channel, or one per row, which as many numbers as rows always are.
    """

    operator: Functional = attrs.field(converter=_functional)
    values: Tensor = attrs.field()
    noise: Tensor | float | Sequence[float] = 0.0

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "values", self._rows())
        object.__setattr__(self, "noise", self._deviations())
        if not bool((self.deviations > 0).all()):
            self._refuse_conflicts()

    def __repr__(self) -> str:
        return f"Observation({self.operator!r}, <values {digest(self.values)}>, noise=<{self._noise()}>)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Observation) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))

    @property
    def deviations(self) -> Float[Tensor, "rows"]:
        """τ of every row."""
        return torch.as_tensor(self.noise)

    @property
    def exact(self) -> bool:
        """Whether some rows carry no noise."""
        return not bool((self.deviations > 0).all())

    def misfit(self, fields: Field) -> Float[Tensor, "batch rows"]:
        """H f − y, in physical units."""
        return self.operator.measure(fields) - self.values.to(fields)

    def residuals(self, x: Field, condition: Condition | None = None) -> Residual:
        """(H f − y)/τ; rows without noise in physical units."""
        noise = self.deviations.to(x)
        return self.misfit(x) / torch.where(noise > 0, noise, torch.ones_like(noise))

    def _rows(self) -> Tensor:
        rows, values = self.operator.rows, _float64("measured values", self.values)
        if tuple(values.shape) == self.operator.shape:
            values = self.operator.measure(values[None])[0]  # a mask may leave out points that are NaN
        if tuple(values.shape) != (rows,):
            raise InputError(
                f"{rows} measured value(s), or a field of shape {self.operator.shape}, are needed",
                got=tuple(values.shape),
                why=f"{self.operator!r} measures as many",
                hint="Observation(mask, field, noise=0.01) with mask and field of the same shape",
            )
        bad = (~torch.isfinite(values)).nonzero().flatten().tolist()
        if bad:
            raise InputError(
                "finite measurements are needed",
                got=f"{float(values[bad[0]])} in {len(bad)} of {rows} (first: row {bad[0]})",
                why="one of them would make every guided sample NaN",
                hint="mask & torch.isfinite(field)",
            )
        return values

    def _deviations(self) -> Tensor:
        noise = _float64("standard deviations", self.noise)
        rows, channels = self.operator.rows, self.operator.shape[0]
        if noise.ndim == 1 and len(noise) == channels != rows:
            noise = (self.operator.channels @ noise.square()).sqrt()
        if noise.ndim > 1 or (noise.ndim == 1 and len(noise) != rows) or not bool(((noise >= 0) & torch.isfinite(noise)).all()):
            raise InputError(
                f"a noise of 0 or more for all, for each of {channels} channel(s) or for each of {rows} row(s) is needed",
                got=noise.tolist() if noise.numel() < 9 else f"{noise.numel()} numbers",
                why="it is a standard deviation",
                hint="noise=0.01",
            )
        return noise.expand(rows).clone()

    def _refuse_conflicts(self) -> None:
        """Exact rows that no field can satisfy together."""
        if isinstance(self.operator, Points):
            return  # every point is measured once
        hard = self.deviations == 0
        unit = torch.eye(self.operator.rows, dtype=torch.float64)[hard]
        rows, values = self.operator.adjoint(unit).flatten(1), self.values[hard]
        closest = torch.linalg.lstsq(rows, values[:, None], driver="gelsd").solution
        gap = float(((rows @ closest)[:, 0] - values).abs().max())
        if gap > _EXACT * max(1.0, float(values.abs().max())):
            raise InputError(
                "exact measurements that can hold together are needed",
                got=f"a contradiction of {gap:.3g} among {len(values)} rows without noise",
                why="no field satisfies all of them",
                hint="noise= for those that are uncertain",
            )

    def _noise(self) -> str:
        found = self.deviations
        return f"{float(found[0]):g}" if bool((found == found[0]).all()) else digest(found)
