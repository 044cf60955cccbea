r"""Fields from measurements: :math:`p(f \mid y) \propto p(f)\,p(y \mid f)`, the prior a diffusion model, base or tuned.

``reconstruct(denoiser, observation, reward)`` draws an ensemble under guidance, and a :class:`Posterior` is what it says: a
mean, how uncertain it is, whether it fits the measurements and the equation and, where truth is known, whether the uncertainty
is right.

*Intervals* are those of an ensemble of M samples: the quantile of rank k stands at probability k/(M + 1), so that a further
field from the same law lies below it with just that probability.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import attrs
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pirf.calibration import Calibration, calibration
from pirf.denoisers import Denoiser
from pirf.errors import InputError, NumericalError, instance, numbers
from pirf.guidance import Guidance, PseudoinverseGuidance
from pirf.guidance.base import fitting
from pirf.inference import draw
from pirf.plotting import reconstruction
from pirf.problems import fits
from pirf.rewards import Functional, Observation, Points, ResidualReward, Reward, Stacked
from pirf.samplers import Heun, Sampler
from pirf.tensors import Condition, Field, Residual

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Posterior", "reconstruct"]

Whole = Float[Tensor, "channel *grid"]
"""One field of every channel."""


@final
@attrs.frozen(eq=False, repr=False)
class Posterior:
    """An ensemble in physical units, what it was conditioned on, and the cost of one sample.

    Everything is on the CPU, and figures are float64.
    """

    fields: Field
    observation: Observation
    reward: Reward | None
    evaluations: float
    vjps: float
    seconds: float
    condition: Condition | None = None
    """What a conditional model and a conditional equation were told, one entry per sample."""

    def __repr__(self) -> str:
        return f"Posterior({', '.join(f'{name}: {value}' for name, value in self._figures().items())})"

    def _repr_html_(self) -> str:
        cells = "".join(f"<tr><th>{html.escape(k)}</th><td>{html.escape(v)}</td></tr>" for k, v in self._figures().items())
        return f"<table>{cells}</table>"

    @property
    def mean(self) -> Whole:
        """The estimate with the smallest expected square error."""
        return self.fields.double().mean(0)

    @property
    def std(self) -> Whole:
        """How uncertain each value is, from two samples on."""
        if len(self.fields) < 2:
            raise InputError(
                "two samples or more are needed", got=len(self.fields), why="one has no spread", hint="reconstruct(samples=16)"
            )
        return self.fields.double().std(0)

    def quantile(self, q: float) -> Whole:
        """Below which the value lies with probability q; never beyond the outermost samples."""
        _probability("q", q)
        found = np.quantile(self.fields.double().numpy(), q, axis=0, method="weibull")
        return torch.from_numpy(np.asarray(found))

    def interval(self, level: float = 0.9) -> tuple[Whole, Whole]:
        """Between which the value lies with probability ``level``, half of the rest on either side."""
        _probability("level", level)
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    @property
    def misfit(self) -> Float[Tensor, "batch"]:
        """Root mean square of (H f − y)/τ of every sample: 1 is as far as truth is; exact rows count in physical units."""
        return self.observation.residuals(self.fields.double()).square().mean(1).sqrt()

    def residual(self) -> Float[Tensor, "batch"]:
        """Mean square of the equation's residual of every sample."""
        rows = self._residuals()
        if rows is None:
            raise InputError(
                "a posterior with an equation is needed",
                got=repr(self.reward),
                why="without one there is no residual",
                hint="reconstruct(denoiser, observation, problem.reward)",
            )
        return rows.flatten(1).square().mean(1)

    def score(self, truth: Tensor, where: Bool[Tensor, "channel *grid"] | None = None) -> Calibration:
        """How right the ensemble is about ``truth`` at the points that were not measured, or ``where``.

        What one truth says is little: :func:`pirf.calibration.calibration` takes many.
        """
        where = unmeasured(self.observation.operator) if where is None else where
        return calibration(self.fields[None], _one(truth, self.observation)[None], where)

    def picture(self, truth: Tensor | None = None, *, channels: Sequence[str] | None = None) -> Figure:
        """Truth, what was measured, mean, uncertainty, error and residual: one row per channel."""
        known, rows = None if truth is None else _one(truth, self.observation), self._residuals()
        residual = None if rows is None else rows.square().mean(0).sqrt()
        return reconstruction(self.fields, self.observation, residual, known, channels)

    def _residuals(self) -> Residual | None:
        if not isinstance(self.reward, ResidualReward):
            return None
        told = None
        if self.condition is not None:
            told = {name: value.double() if value.is_floating_point() else value for name, value in self.condition.items()}
        with torch.no_grad():
            return self.reward.residuals(self.fields.double(), told)

    def _figures(self) -> dict[str, str]:
        shape = "×".join(map(str, self.fields.shape[1:]))
        figures = {
            "samples": f"{len(self.fields)} of {shape}",
            "measured": f"{self.observation.operator.rows} rows",
            "misfit": f"{float(self.misfit.mean()):.3g}",
        }
        if isinstance(self.reward, ResidualReward):
            figures["mean-square residual"] = f"{float(self.residual().mean()):.3g}"
        products = f" + {self.vjps:g} products" if self.vjps else ""
        return {**figures, "cost of a sample": f"{self.evaluations:g} evaluations{products}, {self.seconds:.2g} s"}


def reconstruct(
    denoiser: Denoiser,
    observation: Observation,
    reward: Reward | None = None,
    *,
    guidance: Callable[..., Denoiser] = PseudoinverseGuidance.posterior,
    sampler: Sampler = Heun(steps=20),
    samples: int = 16,
    seed: int = 0,
    condition: Condition | None = None,
    batch: int = 64,
    progress: bool = False,
) -> Posterior:
    """An ensemble of fields that the model deems possible, given the measurements and, where there is one, an equation.

    ``guidance(denoiser, observation, reward)`` is the ``posterior`` of any guidance, ``DPS.posterior`` say, or what
    ``functools.partial`` makes of it.  ``condition`` holds one entry, the same for all samples.  Sample i depends on (seed, i)
    alone.
    """
    instance("a sampler", sampler, Sampler, hint="sampler=Heun(steps=20)")
    if reward is not None:
        instance("a reward as the equation", reward, Reward, hint="reconstruct(denoiser, observation, problem.reward)")
        fits(denoiser, reward)
    if isinstance(denoiser, Guidance):
        raise InputError(
            "a prior without guidance is needed",
            got=type(denoiser).__name__,
            why="reconstruct adds its own",
            hint="reconstruct(guided.inner, observation, guidance=DPS.posterior)",
        )
    if not callable(guidance) or isinstance(guidance, Denoiser) or hasattr(guidance, "posterior"):
        name = guidance.__name__ if isinstance(guidance, type) else type(guidance).__name__
        raise InputError(
            "a function of (denoiser, observation, reward) that makes the guidance is needed",
            got=f"the class {name}" if isinstance(guidance, type) else f"an instance of {name}",
            why="reconstruct asks it for its own denoiser and observation",
            hint=f"guidance={name if hasattr(guidance, 'posterior') else 'DPS'}.posterior",
        )
    if not isinstance(samples, int) or samples < 1:
        raise InputError("a sample or more is needed", got=samples, why="an ensemble is drawn", hint="samples=16")
    guided = guidance(denoiser, fitting(denoiser, observation), reward)
    told = None if condition is None else {name: _alike(name, value, samples) for name, value in condition.items()}
    drawn = draw(guided, sampler, samples, seed, condition=told, batch=batch, progress=progress)
    lost = (~torch.isfinite(drawn.fields)).flatten(1).any(1)
    if bool(lost.any()):
        raise NumericalError(
            f"{type(guided).__name__} gave NaN or infinity in {int(lost.sum())} of {samples} samples. "
            "Try a smaller weight or more steps."
        )
    kept = None if told is None else {name: value.cpu() for name, value in told.items()}
    return Posterior(drawn.fields.cpu(), observation, reward, drawn.evaluations, drawn.vjps, drawn.seconds, kept)


def unmeasured(operator: Functional) -> Bool[Tensor, "channel *grid"]:
    """The points that are not measured one by one, or all of them where there are no others."""
    out = torch.ones(operator.shape, dtype=torch.bool)
    for part in operator.parts if isinstance(operator, Stacked) else (operator,):
        if isinstance(part, Points):
            out &= ~part.mask.cpu()
    return out if bool(out.any()) else torch.ones_like(out)


def _alike(name: str, value: Tensor, samples: int) -> Tensor:
    """The one entry of a condition, for every sample."""
    if not isinstance(value, Tensor) or value.ndim < 1 or len(value) != 1:
        raise InputError(
            "one entry of the condition is needed",
            got=f"{name} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"{name}={value!r}",
            why="all samples are about the same case",
            hint=f'condition={{"{name}": torch.tensor([value])}}',
        )
    return value.expand(samples, *value.shape[1:])


def _one(truth: Tensor, observation: Observation) -> Whole:
    """One field, which may come as a batch of one."""
    instance("a tensor of truth", truth, Tensor, hint="torch.from_numpy(truth)")
    shape = observation.operator.shape
    if tuple(truth.shape) not in (shape, (1, *shape)):
        raise InputError(
            f"one truth of shape {shape} is needed",
            got=tuple(truth.shape),
            why="the ensemble is about one field",
            hint="problem.sample(1)[0]",
        )
    return truth.reshape(shape).double().cpu()


def _probability(name: str, value: float) -> None:
    numbers(f"{name}=0.9", **{name: value})
    if not 0 <= value <= 1:
        raise InputError(f"a {name} between 0 and 1 is needed", got=value, why="it is a probability", hint=f"{name}=0.9")
