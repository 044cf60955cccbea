"""Settings by name: how the shipped base models were trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pirf.errors import InputError

__all__ = ["pretraining"]

# A wide distribution of training levels matters more than anything else here: with EDM's (−1.2, 1.2) the last levels of the
# sampler (down to σ = 0.002, four standard deviations out) are hardly ever seen, and they decide the residual.
_PRETRAINING: Mapping[tuple[str, int], Mapping[str, Any]] = {
    ("poisson", 32): {
        "seconds": 3600.0,
        "batch": 32,
        "lr": 3e-3,
        "p_mean": -1.7,
        "p_std": 1.6,
        "clip": 1.0,
        "precision": torch.bfloat16,
    },
}


def pretraining(name: str, n: int) -> dict[str, Any]:
    """The keyword arguments of :func:`pirf.pretrain` for a shipped base model, on two CPU cores."""
    if (name, n) not in _PRETRAINING:
        raise InputError(
            "a recipe for this problem and size is needed",
            got=f"{name} at n={n}",
            why=f"recipes exist for {', '.join(f'{p} at n={k}' for p, k in _PRETRAINING)}",
            hint="pirf.pretrain with settings of your own",
        )
    return dict(_PRETRAINING[name, n])
