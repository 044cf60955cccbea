r"""Noise in function space, a Gaussian random field in place of white noise: :math:`x = x_0 + \sigma C^{1/2} z`
(Lim et al. 2023; FunDPS, Yao et al. 2025).

It is white noise in other coordinates.  With :math:`y = C^{-1/2} x` the noise of y is white, and

.. math:: D_y(y, \sigma) = C^{-1/2}\, D(C^{1/2} y, \sigma)

is its denoiser, so that samplers, transition laws and their log-probabilities, guidance and strategies are those of white
noise.  The way back to physical fields is the model's :class:`~pirf.scaling.Scaling`, which carries the colour.

The operator is diagonal in the cosines of the grid, or in its Fourier modes along periodic axes, with variances λ that fall
with the wave vector κ (:math:`\pi k`, or :math:`2\pi k` on periodic axes, in units of the axis' extent):

.. math:: \lambda = \big(1 + |\ell\kappa|^2/2\nu\big)^{-(\nu + d/2)}, \qquad \text{or} \qquad \lambda = e^{-|\ell\kappa|^2/2}.

*Size.*  λ has the mean 1, which makes the variance of a point 1 on the average over the grid: σ means what it means for white
noise.  Along periodic axes it is 1 everywhere; at the ends of others the even reflection of the cosines makes it larger.

*Floor.*  No λ lies below ``floor`` times the largest: a spectrum that falls to nothing has no inverse in float32.  At 10⁻³
whitening multiplies a rounding error by up to 32, and the fine modes carry a little white noise, without which a model would
never learn to remove what the data has there.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import attrs
import torch
from torch import Tensor

from pirf.denoisers.base import Denoiser, Wrapped
from pirf.errors import InputError, instance
from pirf.operators.constants import constant
from pirf.operators.transforms import cosine_matrix
from pirf.scaling import Colour
from pirf.tensors import Condition, Field, Level

__all__ = ["Coloured", "Matern", "SpectralColour", "SquaredExponential", "described", "read"]


def _each(values: float | Sequence[float]) -> float | tuple[float, ...]:
    return float(values) if isinstance(values, int | float) else tuple(float(value) for value in values)


def _flags(values: bool | Sequence[bool]) -> bool | tuple[bool, ...]:
    return values if isinstance(values, bool) else tuple(values)


def _positive(instance: object, attribute: attrs.Attribute[Any], values: float | tuple[float, ...]) -> None:
    if not all(value > 0 and math.isfinite(value) for value in (values if isinstance(values, tuple) else (values,))):
        raise InputError(
            f"a positive {attribute.name} is needed",
            got=f"{attribute.name}={values}",
            why="a random field is smooth over some length, to some degree",
            hint="Matern(length=0.1, smoothness=1.5)",
        )


@attrs.frozen
class SpectralColour(Colour):
    """Diagonal in the modes of the grid.  ``length`` and ``periodic`` may differ from axis to axis."""

    length: float | tuple[float, ...] = attrs.field(default=0.1, converter=_each, validator=_positive)
    """The correlation length, as a share of the axis' extent."""
    periodic: bool | tuple[bool, ...] = attrs.field(default=False, converter=_flags, kw_only=True)
    floor: float = attrs.field(default=1e-3, kw_only=True, converter=float)

    @floor.validator
    def _invertible(self, _: object, floor: float) -> None:
        if not 0 < floor <= 1:
            raise InputError(
                "a floor above 0, up to 1, is needed",
                got=f"floor={floor}",
                why="without one whitening divides by next to nothing; at 1 the noise is white",
                hint="floor=1e-3",
            )

    @abstractmethod
    def spectrum(self, squares: Tensor, dimensions: int) -> Tensor:
        """The variance of modes whose squared ℓκ is given, on a grid of so many dimensions, up to a factor."""

    def colour(self, z: Field) -> Field:
        """C^{1/2} z."""
        return self._filtered(z, self.deviations(z))

    def whiten(self, x: Field) -> Field:
        """C^{-1/2} x."""
        return self._filtered(x, 1 / self.deviations(x))

    def deviations(self, x: Field) -> Tensor:
        """√λ of every mode, shaped like the grid of x."""
        return _deviations(self, tuple(x.shape[2:]), x.dtype, x.device)

    def _filtered(self, x: Field, gains: Tensor) -> Field:
        axes = range(2, x.ndim)
        bases = [_basis(x.shape[axis], along, x) for axis, along in zip(axes, self._periodic(len(axes)), strict=True)]
        # Whitening in bfloat16 would lose the fine modes: the casts of the network are not for its units.
        with torch.autocast(x.device.type, enabled=False):
            for axis, basis in zip(axes, bases, strict=True):
                x = (x.movedim(axis, -1) @ basis).movedim(-1, axis)
            x = gains * x
            for axis, basis in zip(axes, bases, strict=True):
                x = (x.movedim(axis, -1) @ basis.T).movedim(-1, axis)
        return x

    def _periodic(self, dimensions: int) -> tuple[bool, ...]:
        return cast(tuple[bool, ...], self._per_axis("periodic", self.periodic, dimensions))

    def _lengths(self, dimensions: int) -> tuple[float, ...]:
        return self._per_axis("length", self.length, dimensions)

    @staticmethod
    def _per_axis(name: str, values: float | tuple[float, ...], dimensions: int) -> tuple[float, ...]:
        found = values if isinstance(values, tuple) else (values,) * dimensions
        if len(found) != dimensions or not dimensions:
            raise InputError(
                f"fields on a grid, and one {name} for all of its {dimensions} axes or for each, are needed",
                got=f"{name}={values}",
                why="the noise is a random field on that grid",
                hint=f"{name}={found[0] if found else 0.1!r}",
            )
        return found


@final
@attrs.frozen
class Matern(SpectralColour):
    """``smoothness`` ν: fields have as many derivatives, all but the fraction."""

    smoothness: float = attrs.field(default=1.5, converter=float, validator=_positive)

    def spectrum(self, squares: Tensor, dimensions: int) -> Tensor:
        """A power of the shifted Laplacian."""
        return (1 + squares / (2 * self.smoothness)) ** -(self.smoothness + dimensions / 2)


@final
@attrs.frozen
class SquaredExponential(SpectralColour):
    """The limit of infinite smoothness: fields are analytic, but for what the floor adds."""

    def spectrum(self, squares: Tensor, dimensions: int) -> Tensor:
        """A Gaussian."""
        return torch.exp(-squares / 2)


@constant
def _deviations(colour: SpectralColour, grid: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    squares = torch.zeros((), dtype=torch.float64)
    for n, length, periodic in zip(grid, colour._lengths(len(grid)), colour._periodic(len(grid)), strict=True):
        k = torch.arange(n, dtype=torch.float64)
        waves = 2 * math.pi * torch.minimum(k, n - k) if periodic else math.pi * k
        squares = squares[..., None] + (length * waves) ** 2
    found = colour.spectrum(squares, len(grid))
    found = (found / found.max()).clamp_min(colour.floor)
    return (found / found.mean()).sqrt().to(device=device, dtype=dtype)


def _basis(n: int, periodic: bool, like: Tensor) -> Tensor:
    """The orthonormal modes of an axis in columns."""
    return _hartley_matrix(n, like.dtype, like.device) if periodic else cosine_matrix(n, like)


@constant
def _hartley_matrix(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Sums of cosine and sine: real Fourier modes, of which k and n − k share a frequency; the matrix is its own inverse."""
    k = torch.arange(n, dtype=torch.float64)
    angle = 2 * math.pi / n * (k[:, None] * k % n)
    return ((torch.cos(angle) + torch.sin(angle)) / math.sqrt(n)).to(device=device, dtype=dtype)


_KINDS: dict[str, type[SpectralColour]] = {kind.__name__: kind for kind in (Matern, SquaredExponential)}


def described(colour: Colour | None) -> dict[str, Any]:
    """The colour in what JSON can hold, or nothing for white."""
    if colour is None:
        return {}
    if not isinstance(colour, SpectralColour) or type(colour).__name__ not in _KINDS:
        raise InputError(
            "a colour of the package is needed for saving",
            got=type(colour).__name__,
            why="its card could not say how to build it",
            hint="Matern(length=0.1, smoothness=1.5), or saving the state_dict yourself",
        )
    return {"colour": {"kind": type(colour).__name__, **attrs.asdict(colour)}}


def read(description: Mapping[str, Any]) -> Colour | None:
    """The colour that was described."""
    if "colour" not in description:
        return None
    options = dict(description["colour"])
    return _KINDS[options.pop("kind")](**options)


@final
class Coloured(Wrapped):
    """``inner``, an estimate from x0 + σ C^{1/2} z, as a denoiser of the whitened state, whose noise is white.

    Give the network plain units: the scaling of the whole is the inner one's with the ``colour``.
    """

    def __init__(self, inner: Denoiser, colour: Colour) -> None:
        super().__init__(inner)
        instance("a colour", colour, Colour, hint="Matern(length=0.1)")
        if inner.scaling.colour is not None:
            raise InputError(
                "a model without a colour is needed",
                got=f"{type(inner).__name__} with {inner.scaling.colour!r}",
                why="its state would be whitened twice",
                hint="Coloured(inner, colour) of the network itself",
            )
        colour.colour(torch.zeros(1, *self.shape))  # refuses a grid that it does not fit
        self.colour = colour
        self.scaling = attrs.evolve(inner.scaling, colour=colour)

    def extra_repr(self) -> str:
        """The colour."""
        return f"colour={self.colour!r}"

    def around(self, network: Denoiser) -> Denoiser:
        """Another network under noise of the same colour."""
        return Coloured(network, self.colour)

    def start(self, z: Field) -> Field:
        """The inner denoiser's, which begins with coloured noise."""
        noise = self.colour.colour(z)
        begun = self.inner.start(noise)
        return z if begun is noise else self.colour.whiten(begun)

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """C^{-1/2} D(C^{1/2} x, σ) of a whitened x."""
        return self.colour.whiten(self.inner(self.colour.colour(x), sigma, condition).to(x.dtype))

    def remember(self, x: Field, sigma: Level, condition: Condition | None = None) -> tuple[Tensor, ...]:
        """What the inner denoiser does."""
        return self.inner.remember(self.colour.colour(x), sigma, condition)

    def recall(self, x: Field, sigma: Level, condition: Condition | None, known: tuple[Tensor, ...]) -> Field:
        """What is left of the inner denoiser's evaluation."""
        return self.colour.whiten(self.inner.recall(self.colour.colour(x), sigma, condition, known).to(x.dtype))
