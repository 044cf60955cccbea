r"""The transport of vorticity by its own velocity on a periodic plane: :math:`-\nabla\cdot P(u\,P\omega)`, P the 2/3 rule.

y is the last axis, :math:`u = (\psi_y, -\psi_x)` with :math:`-\Delta\psi = P\omega`.  Both are trigonometric polynomials, so
that ω and ψ are orthogonal to it: it neither makes nor destroys enstrophy or energy.

*Adjoint.*  With a linear part :math:`\ell` beside it, diagonal in the modes, and ω for Pω,

.. math:: \lambda_\omega = P[u\cdot\nabla P\lambda]
          + P(-\Delta)^{-1}[\partial_x(\omega\,\partial_y P\lambda) - \partial_y(\omega\,\partial_x P\lambda)] + \ell\lambda.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pirf.grids import Grid
from pirf.operators import spectral
from pirf.tensors import Field

__all__ = ["tendency", "tendency_tangent", "tendency_transpose", "transport"]


def transport(modes: Tensor, grid: Grid) -> Tensor:
    """−∇·P(u Pω), from modes to modes."""
    kept, symbols = _kept(modes, grid)
    dx, dy = symbols.gradient
    u, v, vorticity = spectral.points(torch.stack([*_velocity(kept, symbols), kept]), grid)
    flux = spectral.modes(torch.stack([u * vorticity, v * vorticity]), grid)
    return -symbols.dealias * (dx * flux[0] + dy * flux[1])


def tendency(vorticity: Field, grid: Grid, linear: Tensor, force: Tensor) -> Field:
    """−∇·P(u Pω) + ℓω + f, ``linear`` the eigenvalues ℓ of the modes, ``force`` the modes of f."""
    modes = spectral.modes(vorticity, grid)
    return spectral.points(transport(modes, grid) + linear * modes + force, grid)


def tendency_tangent(vorticity: Field, change: Field, grid: Grid, linear: Tensor) -> Field:
    """Its derivative along ``change``."""
    modes = spectral.modes(change, grid)
    kept, symbols = _kept(torch.stack([spectral.modes(vorticity, grid), modes]), grid)
    dx, dy = symbols.gradient
    (u, du), (v, dv), (w, dw) = spectral.points(torch.stack([*_velocity(kept, symbols), kept]), grid)
    flux = spectral.modes(torch.stack([u * dw + du * w, v * dw + dv * w]), grid)
    return spectral.points(linear * modes - symbols.dealias * (dx * flux[0] + dy * flux[1]), grid)


def tendency_transpose(vorticity: Field, weight: Field, grid: Grid, linear: Tensor) -> Field:
    """The adjoint above, applied to ``weight``."""
    modes = spectral.modes(weight, grid)
    kept, symbols = _kept(spectral.modes(vorticity, grid), grid)
    dx, dy = symbols.gradient
    smooth = symbols.dealias * modes
    fields = torch.stack([*_velocity(kept, symbols), kept, dx * smooth, dy * smooth])
    u, v, w, by_x, by_y = spectral.points(fields, grid)
    along, first, second = spectral.modes(torch.stack([u * by_x + v * by_y, w * by_x, w * by_y]), grid)
    turned = symbols.inverse_laplacian * (dy * first - dx * second)
    return spectral.points(symbols.dealias * (along + turned) + linear * modes, grid)


def _kept(modes: Tensor, grid: Grid) -> tuple[Tensor, spectral.Symbols]:
    symbols = spectral.symbols(grid, modes.real)
    return symbols.dealias * modes, symbols


def _velocity(kept: Tensor, symbols: spectral.Symbols) -> tuple[Tensor, Tensor]:
    """(ψ_y, −ψ_x)."""
    dx, dy = symbols.gradient
    stream = -symbols.inverse_laplacian * kept
    return dy * stream, -dx * stream
