r"""Bilinear finite elements for :math:`-\nabla\cdot\sigma`, :math:`\sigma = E\,C(\bar\varepsilon + \varepsilon(u))`, periodic.

Plane strain; u = (u_x, u_y) at the nodes, E constant on each element (stored at the place of its lowest corner), and a given
mean strain :math:`\bar\varepsilon`.  With δ the difference over h and μ the mean of two neighbours, the deformation of a
rectangle is

.. math:: Du = (\delta_x\mu_y u_x,\; \mu_x\delta_y u_y,\; \mu_x\delta_y u_x + \delta_x\mu_y u_y,\; \delta_x\delta_y u):

its mean strain and, for each component, the twist (hourglass).  These do not work upon each other, so that the element's
energy, exactly integrated, is :math:`\tfrac12 E\,Du\cdot M Du` per area with M = C on the strains and
:math:`(h_y^2 C_{11} + h_x^2 C_{33})/12` on the twist of u_x (x and y exchanged for u_y).  The force per area at the nodes is

.. math:: r = D^T E M (Du + \bar\varepsilon).

*Adjoint.*  The matrix :math:`A(E) = D^T E M D` is symmetric, and each modulus meets the energy of its own element:
:math:`\lambda_u = A(E)\lambda`, :math:`\lambda_E = D\lambda \cdot M(Du + \bar\varepsilon)`.  Translations are in the kernel,
nothing else: the twists see every checkerboard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.operators.constants import constant
from pirf.tensors import Field

__all__ = [
    "Strain",
    "adjoint",
    "deformation",
    "mean_strain",
    "require_torus",
    "solve_homogeneous",
    "stress_divergence",
    "unit_stress",
]

Strain = tuple[float, float, float]
"""(ε_xx, ε_yy, 2ε_xy)."""
_NONE = (0.0, 0.0, 0.0)


def stress_divergence(modulus: Tensor, u: Field, grid: Grid, ratio: float, strain: Strain = _NONE) -> Field:
    r""":math:`-\nabla\cdot\sigma` at the nodes, of the shape of u, ``(batch, 2, n, m)``; one ``modulus`` per element.

    Derivatives in both fields are the closed forms above, in forward and in reverse mode, to any order.
    """
    require_torus(grid)
    grid.check(modulus, 1)
    grid.check(u, 2)
    if torch.compiler.is_compiling():  # custom forward derivatives cannot be traced, and a compiler fuses the plain formula
        return _apply(modulus, u, grid, ratio, strain)
    return _stress_divergence(modulus, u, grid, ratio, strain)


def mean_strain(parts: Sequence[float]) -> Strain:
    """ε̄ from its three parts, or a refusal."""
    strain = tuple(map(float, parts))
    if len(strain) != 3 or not any(strain) or not all(map(math.isfinite, strain)):
        raise InputError(
            "a mean strain has three finite parts (ε_xx, ε_yy, 2ε_xy), not all of them zero",
            got=strain,
            why="without a load nothing moves, whatever the modulus",
            hint="(1.0, 0.0, 1.0)",
        )
    return strain[0], strain[1], strain[2]


def require_torus(grid: Grid) -> None:
    """Refuse a grid on which the displacements at the nodes and the moduli of the elements are not equally many."""
    if len(grid.axes) != 2 or any(axis.layout != "periodic" for axis in grid.axes):
        raise InputError(
            "elasticity needs two periodic axes",
            got=f"{grid!r}",
            why="only then are there as many nodes, for u, as elements, for E",
            hint="Grid.square(32, 1.0, 'periodic')",
        )


def deformation(u: Tensor, grid: Grid) -> Tensor:
    """Du: ε_xx, ε_yy, 2ε_xy and the twists of u_x and u_y, ``(batch, 5, n, m)``."""
    hx, hy = [axis.spacing for axis in grid.axes]
    right = u.roll(-1, 2)
    dx, mx = (right - u) / hx, (right + u) / 2
    above, along = mx.roll(-1, 3), dx.roll(-1, 3)
    dy, slope, twist = (above - mx) / hy, (along + dx) / 2, (along - dx) / hy
    return torch.cat([slope[:, :1], dy[:, 1:], dy[:, :1] + slope[:, 1:], twist], 1)


def unit_stress(deformed: Tensor, grid: Grid, ratio: float, strain: Strain = _NONE) -> Tensor:
    """M (Du + ε̄) for Du: the mean stress of elements whose modulus is 1, and what resists their twists."""
    (c11, c12, c33), resistance = _stiffness(grid, ratio)
    xx, yy, xy, *twists = deformed.unbind(1)
    if any(strain):
        xx, yy, xy = xx + strain[0], yy + strain[1], xy + strain[2]
    against = (weight * twist for weight, twist in zip(resistance, twists, strict=True))
    return torch.stack([c11 * xx + c12 * yy, c12 * xx + c11 * yy, c33 * xy, *against], 1)


def adjoint(
    modulus: Tensor, u: Field, weight: Field, grid: Grid, ratio: float, strain: Strain, into: tuple[bool, bool] = (True, True)
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients in ``modulus`` and in ``u`` of ⟨weight, −∇·σ⟩, those that are asked ``into``."""
    first: Tensor | None = None
    if into[0]:
        stress = unit_stress(deformation(u, grid), grid, ratio, strain)
        first = (deformation(weight, grid) * stress).sum(1, keepdim=True)
    return first, stress_divergence(modulus, weight, grid, ratio) if into[1] else None


def solve_homogeneous(f: Field, grid: Grid, ratio: float) -> Field:
    """The u with A(1)u + mean(u) = f, wave by wave."""
    p, q, s = _inverse_symbol(grid, ratio, f.dtype, f.device)
    x, y = torch.fft.rfftn(f, dim=(2, 3)).unbind(1)
    out: Tensor = torch.fft.irfftn(torch.stack([p * x + s * y, s * x + q * y], 1), s=grid.shape, dim=(2, 3))
    return out


@final
class _StressDivergence(torch.autograd.Function):
    """Saves E and u, nothing else."""

    generate_vmap_rule = True

    @staticmethod
    def forward(modulus: Tensor, u: Tensor, grid: Grid, ratio: float, strain: Strain) -> Tensor:
        return _apply(modulus, u, grid, ratio, strain)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        modulus, u, *ctx.rest = inputs
        ctx.save_for_backward(modulus, u)
        ctx.save_for_forward(modulus, u)

    @staticmethod
    def jvp(ctx: Any, tangent_modulus: Tensor | None, tangent_u: Tensor | None, *_: None) -> Tensor:
        modulus, u = ctx.saved_tensors
        grid, ratio, strain = ctx.rest
        out = torch.zeros_like(u)
        if tangent_u is not None:
            out = out + stress_divergence(modulus, tangent_u, grid, ratio)
        if tangent_modulus is not None:
            out = out + stress_divergence(tangent_modulus, u, grid, ratio, strain)  # linear in E: it need not be > 0
        return out

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        modulus, u = ctx.saved_tensors
        grid, ratio, strain = ctx.rest
        return (*adjoint(modulus, u, weight, grid, ratio, strain, ctx.needs_input_grad[:2]), None, None, None)


_stress_divergence: Callable[..., Tensor] = _StressDivergence.apply


def _apply(modulus: Tensor, u: Tensor, grid: Grid, ratio: float, strain: Strain) -> Tensor:
    return _transposed(modulus * unit_stress(deformation(u, grid), grid, ratio, strain), grid)


def _transposed(s: Tensor, grid: Grid) -> Tensor:
    """Dᵀ."""
    hx, hy = [axis.spacing for axis in grid.axes]
    xx, yy, xy, twist = s[:, :1], s[:, 1:2], s[:, 2:3], s[:, 3:]
    by_x, by_y = torch.cat([xx, xy], 1), torch.cat([xy, yy], 1)  # what stands before δx and δy of (u_x, u_y)
    below, beside = by_x.roll(1, 3), torch.cat([by_y, twist], 1).roll(1, 3)
    dx = (below + by_x) / 2 + (beside[:, 2:] - twist) / hy
    mx = (beside[:, :2] - by_y) / hy
    return (dx.roll(1, 2) - dx) / hx + (mx.roll(1, 2) + mx) / 2


def _stiffness(grid: Grid, ratio: float) -> tuple[Strain, tuple[float, float]]:
    """(C₁₁, C₁₂, C₃₃) of plane strain, and the entries of M for the twists."""
    scale = 1 / ((1 + ratio) * (1 - 2 * ratio))
    c11, c12, c33 = scale * (1 - ratio), scale * ratio, 0.5 / (1 + ratio)
    hx, hy = [axis.spacing for axis in grid.axes]
    return (c11, c12, c33), ((hy**2 * c11 + hx**2 * c33) / 12, (hx**2 * c11 + hy**2 * c33) / 12)


@constant
def _inverse_symbol(grid: Grid, ratio: float, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The 2×2 inverse (p, q on the diagonal, s beside it) of A(1) for each wave; the identity for the mean."""
    (c11, c12, c33), (twist_x, twist_y) = _stiffness(grid, ratio)
    half = [
        math.pi * frequencies(axis.n, dtype=torch.float64)
        for axis, frequencies in zip(grid.axes, (torch.fft.fftfreq, torch.fft.rfftfreq), strict=True)
    ]
    a, b = torch.meshgrid(*half, indexing="ij")
    hx, hy = [axis.spacing for axis in grid.axes]
    dx, dy = 2 / hx * a.sin() * b.cos(), 2 / hy * a.cos() * b.sin()  # δxμy and μxδy, but for a common phase
    twist = (4 / (hx * hy) * a.sin() * b.sin()) ** 2
    mean = ((a == 0) & (b == 0)).double()
    xx = c11 * dx**2 + c33 * dy**2 + twist_x * twist + mean
    yy = c11 * dy**2 + c33 * dx**2 + twist_y * twist + mean
    xy = (c12 + c33) * dx * dy
    determinant = xx * yy - xy**2
    p, q, s = (part.to(device, dtype) for part in (yy / determinant, xx / determinant, -xy / determinant))
    return p, q, s
