r"""A problem is a grid, named channels, a law with its reference solver, a reward and a scaling, under one name.

``problem.sample(count, seed)`` draws ground truth in physical units, float64, keyed by sample index: sample i depends on
(seed, start + i) alone.  ``problem.scale`` is the constant S of ρ = MSE/S; ``problem.floor`` is what truth itself scores
after a round trip through the model's normalised float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, final

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pirf.denoisers import GaussianDenoiser
from pirf.errors import InputError
from pirf.grids import Grid
from pirf.metrics import round_trip_floor
from pirf.problems.facts import facts
from pirf.rewards import Given, ResidualReward, balance
from pirf.scaling import Scaling
from pirf.tensors import Field

__all__ = ["Problem", "grafted"]

Array = NDArray[np.float64]
FIT_SEED = 2**32 - 1  # the samples that fit the scaling; disjoint from any seed a user is likely to pick


@final
@attrs.frozen(slots=False, eq=False, repr=False)
class Problem:
    """One PDE, whole.  Two problems are the same when their call is."""

    name: str
    n: int
    grid: Grid
    channels: tuple[str, ...]
    solved: tuple[int, ...]
    reward: ResidualReward
    scale: float
    white: Callable[[range, int], Array]
    """(draws, seed) → the white noise from which the given fields are made."""
    law: Callable[[Array], Array]
    """White noise → physical fields, given and solved channels, ``per_draw`` samples for each draw."""
    solve: Callable[[Field], Field]
    """Fields → the same fields with the solved channels replaced by the reference solution."""
    refine: Callable[[int], Problem]
    """The same problem on another grid."""
    manufactured: Callable[[Grid], Field] | None = None
    """A smooth exact solution on any grid, for the order of convergence."""
    manufactured_options: Mapping[str, object] = attrs.field(factory=dict)
    """What a reward must be told for that case: its source, say.  A reward without these options is not judged on it."""
    manufactured_in_time: Callable[[float], Field] | None = None
    """Smooth exact frames that are this far apart, for the order of a reward with an ``interval``."""
    order: float = 2.0
    """The order of convergence that the reward's discretisation claims."""
    tolerance: float = 1e-12
    """What any sample of truth may score, MSE/S: round-off, unless the reward discretises more coarsely than the solver."""
    per_draw: int = 1
    """How many consecutive samples come from one draw of white noise."""
    fitted_on: int = 512
    """How many samples fit the scaling: fewer where they are dear."""
    impostors: Mapping[str, Callable[[Field], Field]] = attrs.field(factory=dict)
    """Problem-specific non-solutions for the hackability table."""
    off_law: Mapping[str, Callable[[int], Field]] = attrs.field(factory=dict)
    """Valid states off the data's law: no residual can see them."""
    balances: Mapping[str, Callable[[Field], Tensor]] = attrs.field(factory=dict)
    """Integral laws: fields → each sample's defect, in units of its own natural size, 0 for solutions; ``(batch,)``."""
    quantities: Mapping[str, Callable[[Field], Tensor]] = attrs.field(factory=dict)
    """What else tells data from imitations: fields → one number per sample in units of its natural size, ``(batch,)``."""
    solution_norm: ResidualReward | None = None
    """The reward in the norm of the solution, where the problem is linear in the solved channel."""
    evolution: bool = False
    """Whether the first axis of the grid is time: then the first frame is given and the later ones are solved for."""
    gaussian: bool = False
    """Whether the law is a linear map of white noise, so that the exact denoiser is known."""
    parameters: Mapping[str, object] = attrs.field(factory=dict)
    """The arguments beside ``n`` of the call that made this problem: parameters of its equation."""
    published: Mapping[str, ResidualReward] = attrs.field(factory=dict)
    """The residuals that published code evaluates, for comparison, by the name of the method: pirf, diffusionpde, pidm."""

    def __repr__(self) -> str:
        arguments = {"n": self.n, **self.parameters}
        return f"pirf.problems.{self.name}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})"

    def __reduce__(self) -> tuple[Callable[..., Problem | None], tuple[object, ...]]:
        # Laws are closures, which other processes cannot receive: what travels is the call that made the problem.
        if _again(self.name, self.n, self.parameters) is not self:
            raise InputError(
                "only a problem of the catalogue can go to another process",
                got=repr(self),
                why="it is sent as the call that makes it",
                hint="workers=1, or an entry in pirf.problems.catalogue",
            )
        return _again, (self.name, self.n, dict(self.parameters))

    @cached_property
    def facts(self) -> Mapping[str, Any]:
        """What the card of a model of its fields says of them."""
        return facts(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample."""
        return (len(self.channels), *self.grid.shape)

    @property
    def given(self) -> tuple[int, ...]:
        """The channels that are not solved for."""
        return tuple(c for c in range(len(self.channels)) if c not in self.solved)

    @property
    def given_frames(self) -> int:
        """How many frames of the solved channels are given all the same: an evolution starts somewhere."""
        return 1 if self.evolution else 0

    def graft(self, truth: Field, source: Field) -> Field:
        """``truth`` with what is solved for taken from ``source``."""
        return grafted(truth, source, self.solved, first=self.given_frames)

    def sample(self, count: int, seed: int = 0, start: int = 0) -> Field:
        """Ground truth in physical units, float64, ``(count, channel, *grid)``."""
        if count < 1 or start < 0:
            raise InputError(
                "at least one sample from a non-negative index is needed",
                got=f"count={count}, start={start}",
                why="samples are addressed by index",
                hint="sample(64, seed=0)",
            )
        first, last = start // self.per_draw, (start + count - 1) // self.per_draw
        fields = torch.from_numpy(self.law(self.white(range(first, last + 1), seed)))
        return fields[start - first * self.per_draw :][:count]

    @cached_property
    def scaling(self) -> Scaling:
        """Mean 0 and standard deviation ½ per channel, fitted once on samples of a reserved seed."""
        return Scaling.fit(self.sample(self.fitted_on, seed=FIT_SEED))

    @cached_property
    def floor(self) -> float:
        """Mean-square residual of truth after normalise → float32 → de-normalise."""
        return round_trip_floor(self.reward, self.sample(64, seed=FIT_SEED - 1), self.scaling)

    def balanced_reward(self, fields: Field, solution: float = 3.0) -> Given:
        """What to fine-tune on: decades gained on ``fields``, samples of the untuned model.

        A decade of the mean-square residual counts 1, one of the squared error in the solution, where it is known, counts
        ``solution``: the residual falls by itself.  No gradient flows into what is given.
        """
        both = [self.reward] if self.solution_norm is None else [self.reward, self.solution_norm]
        return Given(balance(both, fields, (1.0, solution)[: len(both)]), self.given, frames=self.given_frames)

    def oracle(self) -> GaussianDenoiser:
        """The exact denoiser of a Gaussian law, float64."""
        if not self.gaussian:
            raise InputError(
                "an exact denoiser exists for Gaussian laws only",
                got=repr(self),
                why="its fields are not a linear map of white noise",
                hint="pirf.problems.poisson(n)",
            )
        noise = self.white(range(1), 0).shape[1:]
        unit = np.eye(int(np.prod(noise))).reshape(-1, *noise)
        columns = self.scaling.normalise(torch.from_numpy(self.law(unit)))
        centre = self.scaling.normalise(torch.zeros(1, *self.shape, dtype=torch.float64))
        return GaussianDenoiser.from_factor(self.shape, centre[0], (columns - centre).flatten(1).T, scaling=self.scaling)


def grafted(truth: Field, source: Field, solved: Sequence[int], first: int = 0) -> Field:
    """``truth`` with the ``solved`` channels of ``source``, from index ``first`` of the first axis on."""
    out = truth.clone()
    out[:, list(solved), first:] = source[:, list(solved), first:]
    return out


def _again(name: str, n: int, parameters: Mapping[str, object]) -> Problem | None:
    from pirf.problems import catalogue

    return catalogue[name](n, **parameters) if name in catalogue else None
