"""Boundary conditions as values.  Each one says what the ghost cells outside the grid hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import attrs
from torch import Tensor

__all__ = ["Boundary", "Dirichlet", "Neumann", "Periodic"]


class Boundary(ABC):
    """A rule for the ghost values beside the first and the last cell of one axis."""

    @abstractmethod
    def ghosts(self, u: Tensor, dim: int, spacing: float) -> tuple[Tensor, Tensor]:
        """The slices before the first and after the last cell along ``dim``."""


@final
@attrs.frozen
class Dirichlet(Boundary):
    """u = value on the face: the ghost is the odd reflection 2·value − u_edge."""

    value: float = 0.0

    def ghosts(self, u: Tensor, dim: int, spacing: float) -> tuple[Tensor, Tensor]:
        """Odd reflection about the face."""
        return 2 * self.value - u.narrow(dim, 0, 1), 2 * self.value - u.narrow(dim, -1, 1)


@final
@attrs.frozen
class Neumann(Boundary):
    """∂u/∂n = flux along the outward normal on the face: the ghost is u_edge + h·flux."""

    flux: float = 0.0

    def ghosts(self, u: Tensor, dim: int, spacing: float) -> tuple[Tensor, Tensor]:
        """Even reflection plus the flux."""
        step = self.flux * spacing
        return u.narrow(dim, 0, 1) + step, u.narrow(dim, -1, 1) + step


@final
@attrs.frozen
class Periodic(Boundary):
    """u(x + extent) = u(x): the ghosts are the cells of the other end."""

    def ghosts(self, u: Tensor, dim: int, spacing: float) -> tuple[Tensor, Tensor]:
        """Wrap around."""
        return u.narrow(dim, -1, 1), u.narrow(dim, 0, 1)
