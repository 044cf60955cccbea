r"""The analytic oracle: for :math:`x_0 \sim N(m, B\Lambda B^T)` the exact denoiser is
:math:`D(x, \sigma) = m + B\,\frac{\Lambda}{\Lambda + \sigma^2}\,B^T (x - m)`.

Every sampler shows its order and every strategy its closed form against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from pirf.denoisers.base import Denoiser
from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.tensors import Condition, Field, Level

__all__ = ["GaussianDenoiser"]


@final
class GaussianDenoiser(Denoiser):
    """Exact posterior mean of a Gaussian law with orthonormal ``basis`` (columns) and ``variances`` along it.

    Without a basis the coordinates are independent.  Directions outside the columns of a thin basis have variance zero.
    """

    def __init__(
        self,
        shape: Sequence[int],
        mean: Tensor | float = 0.0,
        variances: Tensor | float = 1.0,
        basis: Tensor | None = None,
        scaling: Scaling | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__(shape, scaling)
        size = int(torch.Size(self.shape).numel())
        rank = size if basis is None else basis.shape[1]
        self.mean: Tensor
        self.variances: Tensor
        self.basis: Tensor | None
        self.register_buffer("mean", torch.as_tensor(mean, dtype=dtype).expand(self.shape).reshape(size).clone())
        self.register_buffer("variances", torch.as_tensor(variances, dtype=dtype).expand(rank).clone())
        self.register_buffer("basis", None if basis is None else basis.to(dtype))
        if bool((self.variances < 0).any()) or (basis is not None and basis.shape[0] != size):
            raise InputError(
                f"non-negative variances and a basis with {size} rows are needed",
                got=f"min variance {float(self.variances.min()):g}, basis {None if basis is None else tuple(basis.shape)}",
                why="the law is N(mean, basis diag(variances) basisᵀ)",
                hint="GaussianDenoiser.from_factor",
            )

    @classmethod
    def from_factor(
        cls, shape: Sequence[int], mean: Tensor | float, factor: Tensor, scaling: Scaling | None = None
    ) -> GaussianDenoiser:
        """The law of mean + factor·ξ with ξ standard normal; ``factor`` is (size, rank), float64."""
        basis, singular, _ = torch.linalg.svd(factor.double(), full_matrices=False)
        keep = singular > 1e-12 * singular[0]
        return cls(shape, mean, singular[keep] ** 2, basis[:, keep], scaling)

    def forward(self, x: Field, sigma: Level, condition: Condition | None = None) -> Field:
        """The posterior mean."""
        flat = x.flatten(1) - self.mean
        noise = sigma.to(flat.dtype).reshape(-1, 1) ** 2
        modes = flat if self.basis is None else flat @ self.basis
        modes = self.variances / (self.variances + noise) * modes
        return (self.mean + (modes if self.basis is None else modes @ self.basis.T)).reshape(x.shape)
