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

from pirf.denoisers.base import Denoiser, Staged
from pirf.denoisers.tails import tail_of
from pirf.errors import InputError, instance
from pirf.tensors import Condition, Field, Level

__all__ = ["Handover"]


@final
class Handover(Denoiser):
    """``base`` for steps departing at σ ≥ ``below``, ``tuned`` for the rest.

    With ``channels`` the tuned network writes only those and the base keeps the others, at one more evaluation per tail
    step.  When a single step follows the handover, the law of the other channels is then exactly the base's.

    With ``reads`` the tuned network sees only those channels, all others at their mean.  The solution that a base draws
    agrees with its given fields up to some per cent: that difference is a faint direction of the input, the last that a
    network learns to use.  ``reads=problem.given`` makes of the last step a solver of its own, which is right only where
    the given fields determine the solution.

    ``floor`` asks the tuned network as at max(σ, floor).  At σ = 0.002 one unit of an EDM network's output moves the
    estimate by 0.002: a tuned last step could hardly repair an error larger than that.

    With ``stages`` the tuned network is the base but for its last ``stages`` stages: the trunk is one, evaluated once for
    both, and never trains.  Such a tail still counts as two evaluations, which is more than it takes.

    ``levels`` records the tail levels that ``tuned`` was trained on; a chain with other tail levels is refused.
    """

    def __init__(
        self,
        base: Denoiser,
        tuned: Denoiser,
        below: float,
        channels: Sequence[int] | None = None,
        reads: Sequence[int] | None = None,
        floor: float = 0.0,
        stages: int | None = None,
        levels: Sequence[float] | None = None,
    ) -> None:
        for network in (base, tuned):
            instance("a denoiser on either side", network, Denoiser, hint="Handover.split(base, below=sampler.before_last(1))")
        super().__init__(base.shape, base.scaling)
        if tuned.shape != base.shape or tuned.scaling != base.scaling or not below > 0:
            raise InputError(
                "a handover needs two denoisers of the same fields and a positive level",
                got=f"{base.shape} and {tuned.shape}, below={below}",
                why="the state of one is handed to the other",
                hint="Handover.split(base, below=sampler.before_last(1))",
            )
        self.base, self.tuned, self.below, self.floor = base, tuned, float(below), float(floor)
        self.channels, self.reads = _known(channels, self.shape), _known(reads, self.shape)
        self.levels = None if levels is None else tuple(levels)
        if (self.reads is not None and self.channels is None) or not self.floor >= 0:
            raise InputError(
                "reads= needs channels=, and floor ≥ 0",
                got=f"channels={channels}, reads={reads}, floor={floor}",
                why="a channel that is written without being read would lose its state",
                hint="channels=problem.solved, reads=problem.given",
            )
        self.stages = stages
        # In a tuple, so that the networks are registered once: as base and as tuned.
        self._tail = (tail_of(base, tuned, self.channels, self.reads, self.floor, stages),)

    @classmethod
    def split(
        cls,
        base: Denoiser,
        below: float,
        channels: Sequence[int] | None = None,
        reads: Sequence[int] | None = None,
        floor: float = 0.0,
        stages: int | None = None,
    ) -> Handover:
        """Start the tuned network as a copy of the base, or of its last ``stages`` stages."""
        tuned = base.branch(stages) if stages is not None and isinstance(base, Staged) else copy.deepcopy(base)
        return cls(base, tuned, below, channels, reads, floor, stages)

    def extra_repr(self) -> str:
        """Where the hand is given over, and what the tail sees and writes."""
        options = ("below", "channels", "reads", "floor", "stages", "levels")
        return ", ".join(f"{name}={getattr(self, name)}" for name in options)

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
        """What takes the steps below σ*: the tuned network, asked and spliced as the options say."""
        return self._tail[0]

    def start(self, z: Field) -> Field:
        """The base's: the chain begins with its steps."""
        return self.base.start(z)

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
        return self.tuned.tunable() if self.stages is None else self.tuned.last_stages(self.stages)

    def last_stages(self, count: int) -> list[nn.Parameter]:
        """The tuned network's."""
        self._check_ends(count)
        return self.tuned.last_stages(count)

    def frozen_trunk(self, count: int, exact: bool = True) -> Denoiser:
        """The same handover with the tuned network's trunk out of the graph; a shared one is, where that is exact."""
        self._check_ends(count)
        if self.stages is not None and exact:
            return self
        tuned = self.tuned.frozen_trunk(count, exact)
        return Handover(self.base, tuned, self.below, self.channels, self.reads, self.floor, levels=self.levels)

    def _check_ends(self, count: int) -> None:
        if self.stages is not None and count > self.stages:
            raise InputError(
                f"this handover has {self.stages} stage(s) of its own to train",
                got=count,
                why="the stages before them are the base's",
                hint=f"LayerTruncated(inner, stages={self.stages}), or a handover with stages={count}",
            )


def _known(channels: Sequence[int] | None, shape: Sequence[int]) -> tuple[int, ...] | None:
    if channels is None:
        return None
    if not channels or not all(0 <= c < shape[0] for c in channels):
        raise InputError(
            f"channels among 0 … {shape[0] - 1} are needed",
            got=tuple(channels),
            why="the fields have no others",
            hint="problem.solved to write, problem.given to read",
        )
    return tuple(channels)
