"""Boundary conditions as values.  Each one says what the ghost cells outside the grid hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import attrs
import torch
from torch import Tensor

__all__ = ["Boundary", "Dirichlet", "Neumann", "Periodic", "homogeneous"]


class Boundary(ABC):
    """A rule for the ghost values beyond the first and the last cell of one axis."""

    @abstractmethod
    def ghosts(self, u: Tensor, dim: int, spacing: float, width: int = 1) -> tuple[Tensor, Tensor]:
        """The ``width`` slices before the first and after the last cell along ``dim``, both in the order of the axis."""


@final
@attrs.frozen
class Dirichlet(Boundary):
    """u = value on the face: the ghosts are the odd reflection 2·value − u."""

    value: float = 0.0

    def ghosts(self, u: Tensor, dim: int, spacing: float, width: int = 1) -> tuple[Tensor, Tensor]:
        """Odd reflection about the face."""
        low, high = _reflected(u, dim, width)
        return 2 * self.value - low, 2 * self.value - high


@final
@attrs.frozen
class Neumann(Boundary):
    """∂u/∂n = flux along the outward normal on the face: the ghosts are u + distance·flux."""

    flux: float = 0.0

    def ghosts(self, u: Tensor, dim: int, spacing: float, width: int = 1) -> tuple[Tensor, Tensor]:
        """Even reflection plus the flux times the distance from the mirrored cell, h, 3h, ..."""
        low, high = _reflected(u, dim, width)
        if self.flux == 0:
            return low, high
        steps = self.flux * spacing * torch.arange(1, 2 * width, 2, dtype=u.dtype, device=u.device)
        steps = steps.reshape(-1, *[1] * (u.ndim - 1 - dim % u.ndim))
        return low + steps.flip(0), high + steps


@final
@attrs.frozen
class Periodic(Boundary):
    """u(x + extent) = u(x): the ghosts are the cells of the other end."""

    def ghosts(self, u: Tensor, dim: int, spacing: float, width: int = 1) -> tuple[Tensor, Tensor]:
        """Wrap around."""
        return u.narrow(dim, -width, width), u.narrow(dim, 0, width)


_NO_VALUE, _NO_FLUX = Dirichlet(0.0), Neumann(0.0)


def homogeneous(boundary: Boundary) -> Boundary:
    """The same kind of condition with zero data: what differences of two solutions satisfy."""
    return _NO_VALUE if isinstance(boundary, Dirichlet) else _NO_FLUX if isinstance(boundary, Neumann) else boundary


def _reflected(u: Tensor, dim: int, width: int) -> tuple[Tensor, Tensor]:
    """The outermost ``width`` slices of either end, mirrored about its face."""
    return u.narrow(dim, 0, width).flip(dim), u.narrow(dim, -width, width).flip(dim)
