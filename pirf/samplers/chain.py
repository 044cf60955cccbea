r"""The chain :math:`x_0 = \sigma_0 z,\; x_{k+1} = \Psi_k(x_k)`: the only loop over noise levels in the code base.

Sampler × denoiser (× guidance) × noise levels × keyed noise.  Everything that touches a trajectory goes through here:
sampling, the gradient strategies' suffixes, guidance, caches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cached_property
from typing import Protocol, final, runtime_checkable

import attrs
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance
from pirf.noise import Noise
from pirf.samplers.base import Sampler, State, StochasticSampler, Transition
from pirf.tensors import Condition, Field

__all__ = ["Chain", "Guided", "Tally"]


@runtime_checkable
class Guided(Protocol):
    """A denoiser that changes what happens around a step and after the last one."""

    def step(self, chain: Chain, k: int, state: State, noise: Noise) -> State:
        """Step k; ``chain.advance`` makes the sampler's own move."""

    def finish(self, chain: Chain, x: Field) -> Field:
        """After the last step."""


@attrs.define(eq=False)
class Tally:
    """Network evaluations and vector–Jacobian products per sample, counted where they are made."""

    evaluations: int = 0
    vjps: int = 0
    ungraded: int = 0
    """Those of the evaluations that were made without a graph."""


@final
@attrs.frozen(eq=False, slots=False)
class Chain:
    """``run(state, start, stop)`` moves a state from level ``start`` to level ``stop``."""

    sampler: Sampler
    denoiser: Denoiser
    noise: Noise = Noise(0)
    told: Condition | Callable[[Noise], Condition] | None = attrs.field(default=None, alias="condition")
    """One entry per sample of the noise, or what finds them: a function of the seed and the samples alone, so that whoever keys
    the chain to other samples gets theirs, under every stream of noise the same."""
    prefixes: Callable[[Chain], tuple[int, State] | None] | None = None
    """Stored states: chain → (step, the state that its samples depart from there), or None for samples that are not stored."""
    quick: Sampler | None = attrs.field(default=None)
    """What takes the steps that carry no gradient, on the same levels; by default the sampler itself."""
    precision: torch.dtype | None = None
    """What the networks of those steps are cast to (bfloat16, say); by default nothing is."""
    graded_precision: torch.dtype | None = None
    """What the networks of the other steps, those in a graph, are cast to."""
    recompute: bool = False
    """Evaluations in a graph keep their input only and are made again in the backward pass."""
    at_once: int | None = None
    """So many samples at most meet a network together; where there are more of them, it is as if ``recompute`` were set."""
    tally: Tally = attrs.field(factory=Tally)
    levels: tuple[float, ...] = attrs.field(init=False)

    @quick.validator
    def _same_levels(self, _: object, quick: Sampler | None) -> None:
        if quick is not None and quick.levels != self.sampler.levels:
            raise InputError(
                "the prefix needs the levels of the sampler",
                got=f"{quick!r} before {self.sampler!r}",
                why="the graded steps go on from where the prefix stops",
                hint="the same steps and schedule in both",
            )

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.sampler, Sampler):
            raise InputError(
                "a sampler is needed",
                got=repr(self.sampler),
                why="an instance says in how many steps, on which levels",
                hint="Heun(steps=20)",
            )
        instance("a denoiser", self.denoiser, Denoiser, hint='pirf.load("poisson-32")')
        object.__setattr__(self, "levels", self.sampler.levels)
        self.denoiser.admit(self.levels)

    @cached_property
    def condition(self) -> Mapping[str, Tensor] | None:
        """What each sample is told."""
        if self.told is None:
            return None
        told = self.told
        if not isinstance(told, Mapping):
            told = told(Noise(self.noise.seed).fold("condition")[self.noise.samples])
        like = self.denoiser.like
        return {n: v.to(like.device, like.dtype if v.is_floating_point() else None) for n, v in told.items()}

    @property
    def steps(self) -> int:
        """N."""
        return len(self.levels) - 1

    def keyed(self, noise: Noise) -> Chain:
        """The same chain for other samples or another stream of noise; the tally stays shared."""
        return attrs.evolve(self, noise=noise)

    def white(self) -> Field:
        """Z: where the samples of the noise begin."""
        like = self.denoiser.like
        return self.noise.fold("initial").normal(self.denoiser.shape, like.dtype, like.device)

    def initial(self) -> State:
        """X = σ_0 z for the samples of the noise, z as the denoiser starts from it."""
        return State(self.levels[0] * self.denoiser.start(self.white()))

    def run(
        self, state: State, start: int = 0, stop: int | None = None, visit: Callable[[int, State], None] | None = None
    ) -> State:
        """Steps start … stop − 1; ``visit`` sees every state that a step departs from."""
        stop = self.steps if stop is None else stop
        if not 0 <= start <= stop <= self.steps:
            raise InputError(
                f"0 ≤ start ≤ stop ≤ {self.steps} is needed",
                got=f"start={start}, stop={stop}",
                why=f"the chain has {self.steps} steps",
                hint="run(state, 0, None)",
            )
        for k in range(start, stop):
            if visit is not None:
                visit(k, state)
            state = self.step(k, state)
        if stop == self.steps and start < stop and isinstance(self.denoiser, Guided):
            state = attrs.evolve(state, x=self.denoiser.finish(self, state.x))
        return state

    def step(self, k: int, state: State) -> State:
        """Step k, with guidance where the denoiser brings some."""
        if isinstance(self.denoiser, Guided):
            return self.denoiser.step(self, k, state, self.noise.fold("transition", k))
        return self.advance(k, state)

    def advance(self, k: int, state: State) -> State:
        """The sampler's own step k, wholly by the network of its departure level."""
        return self.sampler.step(
            lambda x, at: self._evaluate(k, x, at, state.known if x is state.x else ()),
            self._received(k, state),
            self.levels[k],
            self.levels[k + 1],
            self.noise.fold("transition", k),
        )

    def transition(self, k: int, state: State) -> Transition:
        """Mean and variance of step k of a stochastic sampler; an estimate that lies ahead is not made again."""
        if not isinstance(self.sampler, StochasticSampler):
            raise InputError(
                "transition probabilities need a stochastic sampler",
                got=repr(self.sampler),
                why="an ODE step has no density",
                hint="Ancestral(steps=20)",
            )
        return self.sampler.transition(
            lambda x, at: state.ahead if state.ahead is not None and x is state.x else self._evaluate(k, x, at),
            self._received(k, state),
            self.levels[k],
            self.levels[k + 1],
        )

    def predict(self, x: Field, at: int) -> Field:
        """The denoiser's estimate at level ``at``, by the network of the step that departs there."""
        return self._evaluate(at, x, self.levels[at])

    def renoise(self, x0: Field, at: int, noise: Noise) -> Field:
        """x0 + σ_at ξ."""
        return x0 + self.levels[at] * noise.normal(x0.shape[1:], x0.dtype, x0.device)

    def depart(self, step: int) -> tuple[int, State]:
        """Where gradients begin: (``step``, the state there), reached without gradient, from a stored state where there is one.

        A state may be stored beyond ``step``, because no trained weight has touched it: gradients then begin there.
        """
        start, state = (self.prefixes(self) if self.prefixes is not None else None) or (0, self.initial())
        if start >= step:
            return start, state
        quick = self if self.quick is None else attrs.evolve(self, sampler=self.quick)
        cast = torch.autocast(state.x.device.type, self.precision or torch.bfloat16, enabled=self.precision is not None)
        with torch.no_grad(), cast:
            state = quick.run(state, start, step).detach()
        return step, state if quick is self else State(state.x)

    def physical(self, x: Field) -> Field:
        """Normalised to physical units."""
        return self.denoiser.scaling.physical(x)

    def _received(self, k: int, state: State) -> State:
        # A multistep memory belongs to the network that made it: at a handover it is void.
        if k and state.memory and self.denoiser.for_step(self.levels[k - 1]) is not self.denoiser.for_step(self.levels[k]):
            return State(state.x)
        return state

    def _evaluate(self, k: int, x: Field, at: float, known: tuple[Tensor, ...] = ()) -> Field:
        network, level = self.denoiser.for_step(self.levels[k]), torch.tensor(at, dtype=x.dtype, device=x.device)
        cost = 1 if known else network.cost
        self.tally.evaluations += cost
        self.tally.vjps += network.vjps
        self.tally.ungraded += 0 if torch.is_grad_enabled() else cost
        size, whole = self.at_once or len(x), self.condition
        if len(x) <= size:
            return self._network(network, x, level, whole, known, self.recompute)
        parts = []
        for rows in (slice(i, i + size) for i in range(0, len(x), size)):
            told = None if whole is None else {name: value[rows] for name, value in whole.items()}
            parts.append(self._network(network, x[rows], level, told, tuple(t[rows] for t in known), True))
        return torch.cat(parts)

    def _network(
        self,
        network: Denoiser,
        x: Field,
        level: Tensor,
        told: Mapping[str, Tensor] | None,
        known: tuple[Tensor, ...],
        recompute: bool,
    ) -> Field:
        graded = torch.is_grad_enabled()
        cast = self.graded_precision if graded else None
        with nullcontext() if cast is None else torch.autocast(x.device.type, cast):
            if known:
                out = network.recall(x, level, told, known)
            elif recompute and graded:
                out = checkpoint(network, x, level, told, use_reentrant=False)
            else:
                out = network(x, level, told)
        return out if cast is None else out.to(x.dtype)
