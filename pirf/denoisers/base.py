r"""The seam between networks and everything else: :math:`D(x, \sigma, c) \to \hat x_0`, in normalised units.

A :class:`Denoiser` knows its preconditioning, its stages and its scaling, and nothing of samplers or rewards.  A
:class:`Staged` one can stop after its trunk, so that "train the last stage only" has a meaning at every resolution.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, final

import torch
from torch import Tensor, nn

from pirf.errors import InputError, instance
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field, Level

__all__ = ["Adapter", "Denoiser", "FrozenTrunk", "Staged", "Wrapped"]


class Adapter(nn.Module):
    """A trainable change to a frozen weight."""


class Denoiser(nn.Module, ABC):
    """x, σ, condition → estimate of x0.  Carries the shape of one sample and the :class:`Scaling` to physical units."""

    def __init__(self, shape: Sequence[int], scaling: Scaling | None = None) -> None:
        super().__init__()
        self.shape = tuple(int(n) for n in shape)
        self.scaling = scaling or Scaling.identity(self.shape[0])
        self.card: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        if len(self.scaling.scale) != self.shape[0]:
            raise InputError(
                f"a scaling with {self.shape[0]} channel(s) is needed",
                got=f"{len(self.scaling.scale)}",
                why=f"the denoiser's samples have shape {self.shape}",
                hint="the scaling of the problem whose channels the denoiser models",
            )

    @abstractmethod
    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The estimate of the clean sample."""

    if TYPE_CHECKING:

        def __call__(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field: ...

    @property
    def cost(self) -> int:
        """Network evaluations that one call makes."""
        return 1

    @property
    def vjps(self) -> int:
        """Vector–Jacobian products that one call makes inside, counted beside the evaluations."""
        return 0

    @property
    def like(self) -> Tensor:
        """A tensor with the denoiser's dtype and device."""
        for tensor in (*self.parameters(), *self.buffers()):
            if tensor.is_floating_point():
                return tensor
        return torch.empty(0)

    def start(self, z: Field) -> Field:
        """What a chain begins with in place of the white noise z.  Default: z itself."""
        return z

    def for_step(self, departure: float) -> Denoiser:
        """The network to which the whole step that departs from this noise level belongs."""
        return self

    def remember(self, x: Field, sigma: Level, condition: Condition | None = None) -> tuple[Tensor, ...]:
        """What :meth:`recall` needs of an evaluation at a fixed state, one row per sample, whatever the trained weights are."""
        return ()

    def recall(self, x: Field, sigma: Level, condition: Condition | None, known: tuple[Tensor, ...]) -> Field:
        """The evaluation with what is ``known`` of it.  Default: nothing is."""
        return self(x, sigma, condition)

    def admit(self, levels: Sequence[float]) -> None:
        """Refuse noise levels for which this denoiser was not made.  Default: all are fine."""

    def tunable(self) -> list[nn.Parameter]:
        """What fine-tuning may change.  Default: every parameter or, where there are adapters, theirs."""
        adapters = [p for module in self.modules() if isinstance(module, Adapter) for p in module.parameters()]
        return adapters or list(self.parameters())

    def last_stages(self, count: int) -> list[nn.Parameter]:
        """The tunable parameters of the last ``count`` stages."""
        raise self._stageless()

    def frozen_trunk(self, count: int, exact: bool = True) -> Denoiser:
        """The same function, all before the last ``count`` stages out of the graph: where that is ``exact``, or always."""
        raise self._stageless()

    def _stageless(self) -> InputError:
        return InputError(
            "layer truncation needs a denoiser with named stages",
            got=type(self).__name__,
            why="only the network knows where its trunk ends",
            hint="a subclass of pirf.denoisers.Staged, such as UNet",
        )


class Wrapped(Denoiser):
    """A denoiser around another one, which is asked for all that is not said here."""

    def __init__(self, inner: Denoiser) -> None:
        instance("a denoiser to wrap", inner, Denoiser, hint='pirf.load("poisson-32")')
        super().__init__(inner.shape, inner.scaling)
        self.inner = inner
        # One wrapper for each network of a step, always the same: a multistep memory is void when the network changes.
        self._steps: dict[Denoiser, Denoiser] = {}

    @abstractmethod
    def around(self, network: Denoiser) -> Denoiser:
        """The same around another network."""

    @property
    def cost(self) -> int:
        """The inner denoiser's."""
        return self.inner.cost

    @property
    def vjps(self) -> int:
        """The inner denoiser's."""
        return self.inner.vjps

    def start(self, z: Field) -> Field:
        """The inner denoiser's."""
        return self.inner.start(z)

    def for_step(self, departure: float) -> Denoiser:
        """The same around the inner denoiser's network of this step."""
        network = self.inner.for_step(departure)
        if network is self.inner:
            return self
        if network not in self._steps:
            self._steps[network] = self.around(network)
        return self._steps[network]

    def admit(self, levels: Sequence[float]) -> None:
        """The inner denoiser's."""
        self.inner.admit(levels)

    def tunable(self) -> list[nn.Parameter]:
        """The inner denoiser's."""
        return self.inner.tunable()

    def last_stages(self, count: int) -> list[nn.Parameter]:
        """The inner denoiser's."""
        return self.inner.last_stages(count)

    def frozen_trunk(self, count: int, exact: bool = True) -> Denoiser:
        """The same around the inner denoiser with its trunk out of the graph."""
        return self.around(self.inner.frozen_trunk(count, exact))


def lay_out(module: nn.Module, memory_format: torch.memory_format) -> None:
    """Store the convolution weights of ``module`` in this memory format; their values do not change."""
    for parameter in module.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)


S = TypeVar("S", bound="Staged")


class Staged(Denoiser):
    """A denoiser that names its stages and can stop between two of them: forward = head ∘ trunk."""

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """Names of the stages, in the order of evaluation."""

    @abstractmethod
    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters of one stage."""

    @abstractmethod
    def trunk(self, x: Field, sigma: Level, condition: Condition | None, last: int) -> tuple[Tensor, ...]:
        """The features that enter the last ``last`` stages."""

    @abstractmethod
    def head(self, x: Field, sigma: Level, features: tuple[Tensor, ...], last: int) -> Field:
        """The last ``last`` stages and the preconditioning."""

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """All stages."""
        return self.head(x, sigma, self.trunk(x, sigma, condition, 1), 1)

    def last_stages(self, count: int) -> list[nn.Parameter]:
        """The parameters of the last ``count`` stages."""
        ours = {id(p) for p in self.tunable()}
        return [p for p in self.end_parameters(count) if id(p) in ours]

    def end_parameters(self, count: int) -> list[nn.Parameter]:
        """All parameters of the last ``count`` stages, frozen ones as well."""
        self._check_stages(count)
        return [p for name in self.stages[-count:] for p in self.stage_parameters(name)]

    def branch(self: S, count: int) -> S:
        """A copy of the last ``count`` stages on this network's own trunk: all other parameters are the same objects."""
        copied = {id(p) for p in self.end_parameters(count)}
        return copy.deepcopy(self, {id(p): p for p in self.parameters() if id(p) not in copied})

    def frozen_trunk(self, count: int, exact: bool = True) -> Denoiser:
        """The trunk out of the graph: whenever the incoming state carries no gradient or, not ``exact``, always."""
        self._check_stages(count)
        return FrozenTrunk(self, count, exact)

    def _check_stages(self, count: int) -> None:
        if not 1 <= count <= len(self.stages):
            raise InputError(
                f"between 1 and {len(self.stages)} stages can be trained",
                got=count,
                why=f"the stages of this network are {', '.join(self.stages)}",
                hint="LayerTruncated(inner, stages=1)",
            )


@final
class FrozenTrunk(Denoiser):
    """The trunk runs without gradient when the incoming x needs none; with a state gradient it stays in.

    Dropping the state path instead would give a wrong gradient as soon as two evaluations are chained.  Not ``exact``, the
    path is approximated: the trunk is always out, and the state's gradient passes the skip connection around the network only.
    """

    def __init__(self, inner: Staged, stages: int, exact: bool = True) -> None:
        super().__init__(inner.shape, inner.scaling)
        self.inner = inner
        self.count = stages
        self.exact = exact

    def start(self, z: Field) -> Field:
        """The inner denoiser's."""
        return self.inner.start(z)

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """Equal to the inner denoiser's value, always."""
        if x.requires_grad and self.exact:
            return self.inner(x, sigma, condition)
        with torch.no_grad():
            features = self.inner.trunk(x, sigma, condition, self.count)
        return self.inner.head(x, sigma, features, self.count)

    def remember(self, x: Field, sigma: Level, condition: Condition | None = None) -> tuple[Tensor, ...]:
        """The trunk's features."""
        with torch.no_grad():
            features = self.inner.trunk(x, sigma, condition, self.count)
        return tuple(f.expand(len(x), *f.shape[1:]) for f in features)  # one row may stand for all samples

    def recall(self, x: Field, sigma: Level, condition: Condition | None, known: tuple[Tensor, ...]) -> Field:
        """The last stages alone."""
        return self.inner.head(x, sigma, known, self.count)
