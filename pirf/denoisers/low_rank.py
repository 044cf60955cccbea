r"""Low-rank adaptation (LoRA, Hu et al. 2022): every weight matrix becomes :math:`W + BA` with W frozen and B = 0 at first.

A convolution's weight is a matrix of (outputs) × (inputs · kernel).  B is (outputs, rank), A is (rank, columns): the
function is the base's to the last bit until the first update, and :func:`merged` adds the product into the weight for good.
A regularizer on the weights acts on A and B, a gradient strategy trains them and nothing else.
"""

from __future__ import annotations

import copy
import math
from typing import Any, TypeVar, final

from torch import Tensor, nn
from torch.nn.utils import parametrize

from pirf.denoisers.base import Adapter, Denoiser
from pirf.errors import InputError
from pirf.noise import Noise

__all__ = ["low_rank", "merged"]

D = TypeVar("D", bound=Denoiser)


@final
class _Product(Adapter):
    """W → W + BA."""

    def __init__(self, weight: Tensor, rank: int, noise: Noise) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        down = noise.normal((rank, columns), weight.dtype, weight.device)[0] / math.sqrt(columns)
        self.down, self.up = nn.Parameter(down), nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).reshape(weight.shape)


def low_rank(denoiser: D, rank: int = 4, seed: int = 0) -> D:
    """A copy whose convolutions and linear maps have low-rank changes, which are all that fine-tuning may touch."""
    if rank < 1:
        raise InputError("a rank of at least 1 is needed", got=rank, why="there would be nothing to train", hint="rank=4")
    if _adapted(denoiser):
        raise InputError(
            "a denoiser without low-rank changes is needed",
            got=type(denoiser).__name__ + " that has some",
            why="they would be stacked",
            hint="merged(denoiser) first",
        )
    model = copy.deepcopy(denoiser)
    layers = [module for module in model.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    if not layers:
        raise InputError(
            "a denoiser with convolutions or linear maps is needed",
            got=type(denoiser).__name__,
            why="only their weights are matrices",
            hint="pirf.UNet",
        )
    for index, layer in enumerate(layers):
        product = _Product(layer.weight.detach(), rank, Noise(seed).fold("low rank", index))
        parametrize.register_parametrization(layer, "weight", product)
    return model


def merged(denoiser: D) -> D:
    """A copy with every product added into its weight: the same function, plain weights."""
    model = copy.deepcopy(denoiser)
    for module in _adapted(model):
        # torch's own removal takes the property off the class, which a deep copy shares with its original.
        weight = nn.Parameter(module.weight.detach(), module.parametrizations.weight.original.requires_grad)
        module.__class__ = type(module).__mro__[1]
        del module.parametrizations
        module._parameters = {"weight": weight, **module._parameters}
    return model


def _adapted(denoiser: Denoiser) -> list[Any]:
    return [m for m in denoiser.modules() if parametrize.is_parametrized(m, "weight") and _has_product(m)]


def _has_product(module: Any) -> bool:
    return any(isinstance(part, _Product) for part in module.parametrizations.weight)
