r"""The seam for faithfulness: a penalty in the loss, and a proximal map after the optimizer's step."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from pirf.denoisers import Denoiser
from pirf.tensors import Field

__all__ = ["Regularizer", "anchored"]


class Regularizer(ABC):
    """``base`` is a frozen copy of the denoiser as it was before the first update."""

    def penalty(self, tuned: Denoiser, base: Denoiser, states: Sequence[tuple[float, Field]]) -> Tensor:
        """A scalar added to the loss; ``states`` are the (level, detached x) that graded steps departed from."""
        return tuned.like.new_zeros(())

    def after_step(self, tuned: Denoiser, base: Denoiser, optimizer: torch.optim.Optimizer) -> None:
        """What happens to the weights after each update.  Default: nothing."""


def anchored(tuned: Denoiser, base: Denoiser) -> Iterator[tuple[nn.Parameter, nn.Parameter]]:
    """(trained tensor, its value in the base) for every tensor that trains."""
    origin = dict(base.named_parameters())
    for name, parameter in tuned.named_parameters():
        if parameter.requires_grad:
            yield parameter, origin[name]
