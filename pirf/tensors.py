"""The shape vocabulary of the code base.  Annotations only: tests check them at run time, production does not."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["Condition", "Field", "Level", "Residual", "Score"]

Field = Float[Tensor, "batch channel *grid"]
"""Samples of all channels of a problem on its grid, physical or normalised units as the function says."""

Residual = Float[Tensor, "batch *rows"]
"""One number per discrete equation; zero where the equation holds."""

Score = Float[Tensor, "batch"]
"""One number per sample, higher is better."""

Level = Float[Tensor, ""] | Float[Tensor, "batch"]
"""A noise level σ, for the whole batch or one per sample."""

Condition = Mapping[str, Tensor]
"""What a conditional model is told, by name: per-sample scalars ``(batch,)`` or fields ``(batch, channel, *grid)``."""


def digest(*tensors: Tensor) -> str:
    """A short hash of what tensors hold: how a value that carries data is known again."""
    found = blake2b(digest_size=6)
    for tensor in tensors:
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def spoiled(fields: Tensor) -> list[int]:
    """The channels of a batch that hold NaN or infinity."""
    return [c for c in range(fields.shape[1]) if not bool(torch.isfinite(fields[:, c]).all())]
