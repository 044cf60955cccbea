r"""Linear functionals of a field, :math:`f \mapsto Hf` with m values per sample: points, weights, and several together.

Each knows its adjoint :math:`H^T` and its Gram matrix :math:`H\,\mathrm{diag}(c^2)\,H^T`, where c is one number per channel:
what a measurement becomes in the normalised units of a model.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, final

import attrs
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pirf.errors import InputError
from pirf.tensors import Field, digest

__all__ = ["Functional", "Points", "Stacked", "Weights"]


def _on_cpu(data: Any) -> Any:
    """Measurements are kept on the CPU and follow the fields they meet."""
    return data.cpu() if isinstance(data, Tensor) else data


class Functional(ABC):
    """A linear map from one field ``(channel, *grid)`` to ``rows`` numbers."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the fields that it measures."""

    @property
    @abstractmethod
    def rows(self) -> int:
        """How many numbers it gives."""

    @property
    @abstractmethod
    def channels(self) -> Float[Tensor, "rows channel"]:
        """How much of each channel enters each row, a partition of one: noise that is given per channel is told by it."""

    @abstractmethod
    def measure(self, fields: Field) -> Float[Tensor, "batch rows"]:
        """H f of every sample."""

    @abstractmethod
    def adjoint(self, values: Float[Tensor, "batch rows"]) -> Field:
        """Hᵀ v of every sample."""

    @abstractmethod
    def gram(self, scale: Float[Tensor, "channel"]) -> Tensor:
        """H diag(scale²) Hᵀ: its diagonal ``(rows,)`` where there is nothing else, or ``(rows, rows)``."""

    def check(self, fields: Tensor) -> None:
        """Refuse fields of another shape."""
        if tuple(fields.shape[1:]) != self.shape:
            raise InputError(
                f"fields of shape (sample, {', '.join(map(str, self.shape))}) are needed",
                got=tuple(fields.shape),
                why="that is what the observation was made for",
                hint="a mask with the shape of one sample of the model",
            )


def _mask(_: object, __: object, mask: Any) -> None:
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.ndim < 2 or not bool(mask.any()):
        found = f"a {type(mask).__name__}, which is no tensor"
        if isinstance(mask, Tensor):
            found = f"{mask.dtype} of shape {tuple(mask.shape)}" + (", no point" if mask.dtype == torch.bool else "")
        raise InputError(
            "a mask with at least one measured point, boolean and of shape (channel, *grid), is needed",
            got=found,
            why="it says which channel is measured where",
            hint="mask = torch.zeros(problem.shape, dtype=torch.bool); mask[1, ::4, ::4] = True",
        )


@final
@attrs.frozen(eq=False, repr=False)
class Points(Functional):
    """The values of a field where ``mask`` is true, in the order of its memory: sensors, lines, whole channels or frames."""

    mask: Bool[Tensor, "channel *grid"] = attrs.field(converter=_on_cpu, validator=_mask)
    places: Int[Tensor, "rows"] = attrs.field(init=False)
    """Where they stand in a field's memory: known from the start, so that a graph of fixed shapes can be compiled."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "places", self.mask.flatten().nonzero()[:, 0])

    def __repr__(self) -> str:
        return f"Points(<{self.rows} of {'×'.join(map(str, self.shape))} {digest(self.mask)}>)"

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the mask."""
        return tuple(self.mask.shape)

    @property
    def rows(self) -> int:
        """Points."""
        return len(self.places)

    @property
    def channels(self) -> Float[Tensor, "rows channel"]:
        """A one for the channel of each point."""
        return torch.nn.functional.one_hot(self.mask.nonzero()[:, 0], self.shape[0]).double()

    def measure(self, fields: Field) -> Float[Tensor, "batch rows"]:
        """The values there."""
        self.check(fields)
        return fields.flatten(1).index_select(1, self.places.to(fields.device))

    def adjoint(self, values: Float[Tensor, "batch rows"]) -> Field:
        """The values in place, zero elsewhere."""
        out = values.new_zeros(len(values), self.mask.numel()).index_copy(1, self.places.to(values.device), values)
        return out.reshape(len(values), *self.shape)

    def gram(self, scale: Float[Tensor, "channel"]) -> Tensor:
        """Scale² of each point's channel."""
        return scale.square()[self.mask.nonzero()[:, 0].to(scale.device)]


def _weights(_: object, __: object, weights: Tensor) -> None:
    finite = bool(torch.isfinite(weights).all())
    if weights.ndim < 3 or not weights.is_floating_point() or not finite or not bool(weights.flatten(1).any(1).all()):
        raise InputError(
            "finite weights of shape (row, channel, *grid), no row of zeros, are needed",
            got=f"{weights.dtype} of shape {tuple(weights.shape)}" + ("" if finite else " with NaN or infinity"),
            why="each row is one measurement Σ w f",
            hint="Weights(torch.ones(1, *problem.shape) / torch.Size(problem.shape).numel()), the mean of a sample",
        )


@final
@attrs.frozen(eq=False, repr=False)
class Weights(Functional):
    """Σ w f for every row of ``weights``: averages, line integrals, Fourier coefficients, any linear functional."""

    weights: Float[Tensor, "rows channel *grid"] = attrs.field(converter=_on_cpu, validator=_weights)

    def __repr__(self) -> str:
        return f"Weights(<{self.rows} of {'×'.join(map(str, self.shape))} {digest(self.weights)}>)"

    @property
    def shape(self) -> tuple[int, ...]:
        """That of one row."""
        return tuple(self.weights.shape[1:])

    @property
    def rows(self) -> int:
        """Rows."""
        return len(self.weights)

    @property
    def channels(self) -> Float[Tensor, "rows channel"]:
        """Shares of the squared weights."""
        squares = self.weights.double().square().flatten(2).sum(2)
        return squares / squares.sum(1, keepdim=True)

    def measure(self, fields: Field) -> Float[Tensor, "batch rows"]:
        """One product for every row."""
        self.check(fields)
        with torch.autocast(fields.device.type, enabled=False):  # casts are for networks: measurements are compared with values
            return fields.flatten(1) @ self.weights.to(fields).flatten(1).T

    def adjoint(self, values: Float[Tensor, "batch rows"]) -> Field:
        """The rows, summed with these values."""
        with torch.autocast(values.device.type, enabled=False):
            return (values @ self.weights.to(values).flatten(1)).reshape(len(values), *self.shape)

    def gram(self, scale: Float[Tensor, "channel"]) -> Tensor:
        """All products of rows."""
        rows = (self.weights.to(scale) * scale.reshape(-1, *[1] * (self.weights.ndim - 2))).flatten(1)
        return rows @ rows.T


@final
@attrs.frozen
class Stacked(Functional):
    """Several functionals of the same field, one below the other."""

    parts: tuple[Functional, ...] = attrs.field(converter=tuple, validator=attrs.validators.min_len(1))

    @parts.validator
    def _alike(self, _: object, parts: Sequence[object]) -> None:
        shapes = {part.shape if isinstance(part, Functional) else None for part in parts}
        if len(shapes) > 1 or None in shapes:
            raise InputError(
                "functionals of the same field are needed",
                got=", ".join(repr(part) if isinstance(part, Functional) else f"a {type(part).__name__}" for part in parts),
                why="they are measured on one sample",
                hint="Stacked((Points(mask), Weights(weights))) with masks and weights of the shape of one sample",
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """That of every part."""
        return self.parts[0].shape

    @property
    def rows(self) -> int:
        """The sum."""
        return sum(part.rows for part in self.parts)

    @property
    def channels(self) -> Float[Tensor, "rows channel"]:
        """Those of the parts."""
        return torch.cat([part.channels for part in self.parts])

    def measure(self, fields: Field) -> Float[Tensor, "batch rows"]:
        """Every part's."""
        return torch.cat([part.measure(fields) for part in self.parts], 1)

    def adjoint(self, values: Float[Tensor, "batch rows"]) -> Field:
        """The sum of the parts'."""
        ends = list(accumulate(part.rows for part in self.parts))
        pieces = [part.adjoint(values[:, end - part.rows : end]) for part, end in zip(self.parts, ends, strict=True)]
        return torch.stack(pieces).sum(0)

    def gram(self, scale: Float[Tensor, "channel"]) -> Tensor:
        """Dense: parts may overlap."""
        unit = torch.eye(self.rows, dtype=scale.dtype, device=scale.device)
        column = scale.square().reshape(-1, *[1] * (len(self.shape) - 1))
        return self.measure(column * self.adjoint(unit))
