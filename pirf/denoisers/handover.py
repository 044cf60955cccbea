r"""Two networks, one trajectory: steps that depart from σ ≥ σ* belong to the base, the others to the tuned copy.

What happens above σ* is then the base's to the last bit, so the prefix of a sampling chain does not depend on the trained
weights: its states can be computed once and reused exactly.  This is our variant, opt-in, beside faithful PIRF.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import final

import torch
from torch import nn

from pirf.denoisers.base import Denoiser
from pirf.denoisers.edm import Preconditioned
from pirf.errors import InputError
from pirf.tensors import Condition, Field, Level

__all__ = ["Handover"]


@final
class Handover(Denoiser):
    """``base`` for steps departing at σ ≥ ``below``, ``tuned`` for the rest.

    With ``channels`` the tuned network writes only those and the base keeps the others, at one more evaluation per tail
    step.  When a single step follows the handover, the law of the other channels is then exactly the base's.
    ``levels`` records the tail levels that ``tuned`` was trained on; a chain with other tail levels is refused.
    """

    def __init__(
        self,
        base: Denoiser,
        tuned: Denoiser,
        below: float,
        channels: Sequence[int] | None = None,
        levels: Sequence[float] | None = None,
    ) -> None:
        super().__init__(base.shape, base.scaling)
        if tuned.shape != base.shape or tuned.scaling != base.scaling or not below > 0:
            raise InputError(
                "a handover needs two denoisers of the same fields and a positive level",
                got=f"{base.shape} and {tuned.shape}, below={below}",
                why="the state of one is handed to the other",
                hint="Handover.split(base, below=sampler.before_last(1))",
            )
        self.base, self.tuned, self.below = base, tuned, float(below)
        self.channels = None if channels is None else tuple(channels)
        self.levels = None if levels is None else tuple(levels)
        # In a tuple, so that the networks are registered once: as base and as tuned.
        self._tail = (tuned if self.channels is None else _Spliced(base, tuned, self.channels),)

    @classmethod
    def split(cls, base: Denoiser, below: float, channels: Sequence[int] | None = None, floor: float = 0.0) -> Handover:
        """Start the tuned network as a copy of the base.

        ``floor`` gives the copy the leverage of that noise level (see :class:`pirf.denoisers.edm.Preconditioned`): it then
        starts away from the base and moves much further per update.  Combine it with ``channels``: nothing else holds the
        given fields in place.
        """
        tuned = copy.deepcopy(base)
        if floor:
            if not isinstance(tuned, Preconditioned) or not floor > 0:
                raise InputError(
                    "a floor needs a preconditioned network and a positive level",
                    got=f"{type(base).__name__}, floor={floor}",
                    why="it changes c_out and c_noise",
                    hint="a UNet, or floor=0",
                )
            tuned.floor = float(floor)
        return cls(base, tuned, below, channels)

    def extra_repr(self) -> str:
        """Where the hand is given over."""
        return f"below={self.below}, channels={self.channels}, floor={self._floor}, levels={self.levels}"

    @property
    def _floor(self) -> float:
        return self.tuned.floor if isinstance(self.tuned, Preconditioned) else 0.0

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """One evaluation outside a chain: every sample goes to the network that its level belongs to."""
        level = sigma.expand(x.shape[0]).reshape(-1, *[1] * (x.ndim - 1))
        if bool((sigma >= self.below).all()):
            return self.base(x, sigma, condition)
        if bool((sigma < self.below).all()):
            return self.tail(x, sigma, condition)
        return torch.where(level >= self.below, self.base(x, sigma, condition), self.tail(x, sigma, condition))

    @property
    def tail(self) -> Denoiser:
        """What takes the steps below σ*: the tuned network, or with ``channels`` both, spliced."""
        return self._tail[0]

    def for_step(self, departure: float) -> Denoiser:
        """The base at and above σ*, the tail below."""
        return self.base if departure >= self.below else self.tail

    def admit(self, levels: Sequence[float]) -> None:
        """Refuse tail levels that the tuned network has not seen."""
        tail = [s for s in levels if 0 < s < self.below]
        if not tail:
            raise InputError(
                f"at least one step must depart below the handover at σ={self.below:.4g}",
                got=f"departures down to {min((s for s in levels if s > 0), default=0):.4g}",
                why="the tuned network would never be evaluated",
                hint="below=sampler.before_last(1) of the sampler in use",
            )
        foreign = [s for s in tail if self.levels is not None and not any(abs(s - t) <= 1e-9 * t for t in self.levels)]
        if foreign:
            raise InputError(
                f"tail levels {', '.join(f'{t:.4g}' for t in self.levels or ())} are what this handover was trained on",
                got=", ".join(f"{s:.4g}" for s in foreign),
                why="a tail is valid only on the levels it has seen",
                hint="the sampler used for training, or fine-tuning on both",
            )

    def tunable(self) -> list[nn.Parameter]:
        """The tuned network's."""
        return self.tuned.tunable()

    def last_stages(self, count: int) -> list[nn.Parameter]:
        """The tuned network's."""
        return self.tuned.last_stages(count)

    def frozen_trunk(self, count: int) -> Denoiser:
        """The same handover with the tuned network's trunk out of the graph."""
        return Handover(self.base, self.tuned.frozen_trunk(count), self.below, self.channels, self.levels)


@final
class _Spliced(Denoiser):
    """The tuned network's estimate in ``channels``, the base's in all others."""

    def __init__(self, base: Denoiser, tuned: Denoiser, channels: Sequence[int]) -> None:
        super().__init__(base.shape, base.scaling)
        self.base, self.tuned, self.channels = base, tuned, tuple(channels)

    @property
    def cost(self) -> int:
        return self.base.cost + self.tuned.cost

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        with torch.set_grad_enabled(x.requires_grad and torch.is_grad_enabled()):
            given = self.base(x, sigma, condition)
        mine = torch.zeros(self.shape[0], dtype=torch.bool, device=x.device)
        mine[list(self.channels)] = True
        return torch.where(mine.reshape(-1, *[1] * (x.ndim - 2)), self.tuned(x, sigma, condition), given)
