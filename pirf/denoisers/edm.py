r"""EDM preconditioning (Karras et al. 2022):
:math:`D(x, \sigma) = c_{skip} x + c_{out} F(c_{in} x, c_{noise})` with
:math:`c_{skip} = s^2/(\sigma^2+s^2)`, :math:`c_{out} = \sigma s/\sqrt{\sigma^2+s^2}`,
:math:`c_{in} = 1/\sqrt{\sigma^2+s^2}`, :math:`c_{noise} = \tfrac14 \ln\sigma` and :math:`s = \sigma_{data} = \tfrac12`,
so that the network's input and target have unit variance at every noise level.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from pirf.denoisers.base import Staged
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field, Level

__all__ = ["Preconditioned"]


class Preconditioned(Staged):
    """A network F in stages, preconditioned.  Subclasses give ``encode`` (trunk of F) and ``decode`` (its last stages)."""

    def __init__(self, shape: Sequence[int], scaling: Scaling | None = None, sigma_data: float = 0.5) -> None:
        super().__init__(shape, scaling)
        self.sigma_data = sigma_data

    @abstractmethod
    def encode(self, x: Tensor, c_noise: Tensor, condition: Condition | None, last: int) -> tuple[Tensor, ...]:
        """F up to its last ``last`` stages; ``c_noise`` has one entry if all samples share their level, else one for each."""

    @abstractmethod
    def decode(self, features: tuple[Tensor, ...], last: int) -> Tensor:
        """The last ``last`` stages of F."""

    def trunk(self, x: Field, sigma: Level, condition: Condition | None, last: int) -> tuple[Tensor, ...]:
        """The network's trunk on the scaled input."""
        column = self._column(x, sigma)
        c_in = (column**2 + self.sigma_data**2).rsqrt()
        return self.encode(c_in * x, torch.log(sigma.to(x.dtype).reshape(-1)) / 4, condition, last)

    def head(self, x: Field, sigma: Level, features: tuple[Tensor, ...], last: int) -> Field:
        """The network's last stages and the skip connection around it."""
        column = self._column(x, sigma)
        total = column**2 + self.sigma_data**2
        c_skip, c_out = self.sigma_data**2 / total, column * self.sigma_data * total.rsqrt()
        return c_skip * x + c_out * self.decode(features, last).to(x.dtype)

    @staticmethod
    def _column(x: Field, sigma: Level) -> Tensor:
        return sigma.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
