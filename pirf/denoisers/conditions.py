r"""What a network is told beside the state: :math:`D(x, \sigma, c)`, c by name, or nothing.

Numbers are standardised and pass a small map into the space of the noise embedding; fields are standardised and pass a 1 × 1
and a 3 × 3 convolution into the features of the full grid.  Both maps end in weights that are zero at first: a network that has
just been given conditions ignores them to the last bit, and what it learns of them starts from what it knew without.  Only the
last weights are zero; were the first ones as well, neither would ever receive a gradient.

*Nothing told* contributes nothing: the same weights hold :math:`D(x, \sigma)`, which they learn where the condition of a
sample is dropped while training (classifier-free guidance, Ho & Salimans 2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import attrs
import torch
from torch import Tensor, nn

from pirf.denoisers.base import Denoiser, Wrapped
from pirf.denoisers.dropout import lost
from pirf.errors import InputError
from pirf.tensors import Condition, Field, Level, digest

__all__ = ["Bound", "FieldInput", "Input", "ScalarInput", "Told", "inputs_for"]


_CONDITIONS = -1
"""The number of the layer that drops them: those of the network count from 0."""


@final
@attrs.frozen
class ScalarInput:
    """One number per sample, of this mean and standard deviation."""

    shift: float = attrs.field(default=0.0, converter=float)
    scale: float = attrs.field(default=1.0, converter=float, validator=attrs.validators.gt(0))

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """``(batch,)``."""
        return (len(x),)


@final
@attrs.frozen
class FieldInput:
    """Fields on the grid of the samples, of this mean and standard deviation."""

    channels: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    shift: float = attrs.field(default=0.0, converter=float)
    scale: float = attrs.field(default=1.0, converter=float, validator=attrs.validators.gt(0))

    def shape(self, x: Tensor) -> tuple[int, ...]:
        """``(batch, channels, *grid)``."""
        return (len(x), self.channels, *x.shape[2:])


Input = ScalarInput | FieldInput
Inputs = Mapping[str, Input]


def inputs_for(condition: Condition) -> dict[str, Input]:
    """What takes conditions like these: a number or a field by their shape, standardised by their mean and deviation."""
    found: dict[str, Input] = {}
    for name, value in condition.items():
        rows = value.double()
        units = (float(rows.mean()), float(rows.std()) or 1.0)
        found[name] = ScalarInput(*units) if value.ndim == 1 else FieldInput(value.shape[1], *units)
    return found


def described(inputs: Inputs) -> dict[str, dict[str, Any]]:
    """The inputs in what JSON can hold."""
    return {name: {"kind": type(told).__name__, **attrs.asdict(told)} for name, told in inputs.items()}


def read(description: Mapping[str, Mapping[str, Any]]) -> dict[str, Input]:
    """The inputs that were described."""
    kinds: dict[str, type[Input]] = {kind.__name__: kind for kind in (ScalarInput, FieldInput)}
    return {name: kinds[d["kind"]](**{k: v for k, v in d.items() if k != "kind"}) for name, d in description.items()}


@final
class Told(nn.Module):
    """The maps of all conditions of a network whose embedding has ``width`` and whose stem has ``channels``."""

    def __init__(self, inputs: Inputs, width: int, channels: int, drop: float) -> None:
        super().__init__()
        if not 0 <= drop <= 1:
            raise InputError(
                "a share between 0 and 1 is needed", got=f"drop={drop}", why="conditions are dropped by it", hint="drop=0.1"
            )
        wrong = {name: told for name, told in inputs.items() if not isinstance(told, Input)}
        if wrong:
            raise InputError(
                "a ScalarInput or a FieldInput for every condition is needed",
                got=wrong,
                why="it says what is told, and in which units",
                hint='conditions={"nu": ScalarInput(mean, deviation)}, or inputs_for(condition)',
            )
        self.inputs, self.drop = dict(inputs), drop
        numbers = sum(isinstance(told, ScalarInput) for told in inputs.values())
        planes = sum(told.channels for told in inputs.values() if isinstance(told, FieldInput))
        self.numbers = nn.Sequential(nn.Linear(numbers, width), nn.SiLU(), nn.Linear(width, width)) if numbers else None
        self.planes = (
            nn.Sequential(nn.Conv2d(planes, channels, 1), nn.GELU(), nn.Conv2d(channels, channels, 3, padding=1))
            if planes
            else None
        )
        for maps in (self.numbers, self.planes):
            for parameter in () if maps is None else maps[-1].parameters():
                nn.init.zeros_(parameter)

    def extra_repr(self) -> str:
        """What is told."""
        return f"{self.inputs}, drop={self.drop}"

    def forward(self, condition: Condition, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the condition adds to the embedding, ``(batch, width)``, and to the stem, ``(batch, channels, *grid)``."""
        told = self._standardised(condition, x)
        kept = torch.ones(len(x), dtype=x.dtype, device=x.device)
        if self.training and self.drop:
            # Drawn on the CPU: the same samples on every device.
            forgotten = lost((len(x),), self.drop, _CONDITIONS, torch.device("cpu"))
            kept = (torch.rand(len(x)) >= self.drop if forgotten is None else ~forgotten).to(kept)
        row, plane = None, None
        if self.numbers is not None:
            numbers = torch.stack([v for name, v in told.items() if isinstance(self.inputs[name], ScalarInput)], 1)
            row = self.numbers(numbers) * kept[:, None]
        if self.planes is not None:
            planes = torch.cat([v for name, v in told.items() if isinstance(self.inputs[name], FieldInput)], 1)
            plane = self.planes(planes) * kept.reshape(-1, *[1] * (x.ndim - 1))
        return row, plane

    def _standardised(self, condition: Condition, x: Tensor) -> dict[str, Tensor]:
        if condition.keys() != self.inputs.keys():
            raise InputError(
                f"a condition with {', '.join(self.inputs)} is needed",
                got=f"one with {', '.join(condition) or 'no entry'}",
                why="that is what the network is told, all of it or nothing",
                hint="condition=None, the estimate of a network that is told nothing",
            )
        return {name: (self._usable(name, condition[name], x) - i.shift) / i.scale for name, i in self.inputs.items()}

    def _usable(self, name: str, value: Tensor, x: Tensor) -> Tensor:
        shape = self.inputs[name].shape(x)
        if tuple(value.shape) != shape:
            raise InputError(
                f"the condition {name!r} needs the shape {shape}",
                got=tuple(value.shape),
                why=f"it is a {self.inputs[name]!r}, with one entry per sample",
                hint="one entry for every sample of the batch",
            )
        if not torch.compiler.is_compiling() and not bool(torch.isfinite(value).all()):
            raise InputError(
                f"a finite condition {name!r} is needed",
                got=f"{int((~torch.isfinite(value)).sum())} of {value.numel()} entries that are not",
                why="the estimate would be NaN",
                hint="condition=None where nothing is known",
            )
        return value.to(x)


@final
class Bound(Wrapped):
    """A denoiser that is told the same by itself wherever nothing else is told: for whoever knows no conditions."""

    def __init__(self, inner: Denoiser, condition: Condition) -> None:
        super().__init__(inner)
        self.condition = condition

    def extra_repr(self) -> str:
        """What is told, by its content."""
        return ", ".join(f"{name}=<{digest(value)}>" for name, value in sorted(self.condition.items()))

    def around(self, network: Denoiser) -> Denoiser:
        """Another network, told the same."""
        return Bound(network, self.condition)

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The estimate under the condition."""
        return self.inner(x, sigma, self.condition if condition is None else condition)
