r"""What is measured of a set of samples: adherence to the equation, fidelity to the data's law, and alarms.

*Adherence.*  :math:`\rho = \mathrm{MSE}/S` with a constant S per problem, its quantiles, interior and boundary rows apart,
MSE over the data's own floor, the share of samples with ρ ≤ τ, the re-solve error :math:`\|u - S(a)\|/\|S(a)\|` with a
reference solver that is handed in, and the share of samples that keep every integral law of the problem.

*Fidelity.*  No residual fixes a distribution, so every figure here compares with truth and is divided by its
truth-against-truth value, the one that two independent sets of exact samples show: 1 means "as good as data".  Quantities
are named numbers per sample, such as an energy: their laws are compared as well.

*Alarms* name the ways in which a row has been paid for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import final

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from pirf.errors import InputError
from pirf.noise import Noise
from pirf.operators.transforms import cosine_matrix
from pirf.rewards import ResidualReward
from pirf.scaling import Scaling
from pirf.tensors import Field

__all__ = [
    "SMALL",
    "Adherence",
    "Fidelity",
    "Quantity",
    "adherence",
    "alarms",
    "defects",
    "fidelity",
    "mean_squares",
    "resolve_errors",
    "round_trip_floor",
]

PerSample = Callable[[Field], Tensor]
"""Fields → one number for each."""

_TINY = 1e-300
SMALL = 0.01
"""What counts as small, of a natural size: an integral law holds up to it, and no unit of a distance is finer.  (Two sets of
truth may agree better by chance, or exactly where a quantity is 0 on truth.)"""


@final
@attrs.frozen
class Adherence:
    """How well samples obey the equation; all in units of the problem's S, medians and quantiles over samples."""

    rho: float
    """Mean of MSE/S."""
    rho_median: float
    rho_90: float
    over_floor: float
    """Mean MSE over the floor of truth in float32."""
    interior: float
    boundary: float
    """Mean of MSE/S over the outermost frame of the rows."""
    satisfied: float
    """Share of samples with ρ ≤ τ."""
    resolve: float
    """Median relative distance of the solved channels from the reference solution."""
    conserved: float = math.nan
    """Share of samples in which every integral law holds within 1 % of its natural size; NaN without such laws."""
    defect: float = math.nan
    """Median defect of the law that is kept worst, in units of its natural size."""


@final
@attrs.frozen
class Quantity:
    """One number per sample, in units of its natural size: its law against truth's."""

    w1: float
    """Wasserstein-1 distance."""
    mean: float
    """Mean over truth's; both count as 1 % at least."""
    spread: float
    """Standard deviation over truth's; both count as 1 % at least."""


@final
@attrs.frozen
class Fidelity:
    """How close samples are to the law of the data.  ``variance`` are ratios; the others are distances."""

    variance: tuple[float, ...]
    """Per channel: variance over truth's variance."""
    w1: tuple[float, ...]
    """Per channel: Wasserstein-1 distance of the pointwise values, in truth's standard deviations."""
    spectrum: tuple[float, ...]
    """Per channel: rms difference of the log radial spectra."""
    sliced: float
    """Sliced Wasserstein-2 distance of the standardised lowest cosine coefficients, all channels jointly."""
    diversity: float
    """Mean pairwise distance over truth's."""
    quantities: Mapping[str, Quantity] = attrs.field(factory=dict)
    """The problem's named quantities."""

    def over(self, unit: Fidelity) -> Fidelity:
        """Distances in units of another one's (truth against truth); ratios stay as they are."""
        return Fidelity(
            variance=self.variance,
            w1=tuple(a / max(b, SMALL) for a, b in zip(self.w1, unit.w1, strict=True)),
            spectrum=tuple(a / max(b, _TINY) for a, b in zip(self.spectrum, unit.spectrum, strict=True)),
            sliced=self.sliced / max(unit.sliced, _TINY),
            diversity=self.diversity,
            quantities={
                name: attrs.evolve(found, w1=found.w1 / max(unit.quantities[name].w1, SMALL))
                for name, found in self.quantities.items()
            },
        )


def mean_squares(reward: ResidualReward, fields: Field) -> Tensor:
    """Mean square of the residual per sample, float64."""
    with torch.no_grad():
        scores: Tensor = -reward(fields.double())
    return scores


def round_trip_floor(reward: ResidualReward, truth: Field, scaling: Scaling) -> float:
    """Mean-square residual of truth after normalise → float32 → de-normalise: no float32 model can do better."""
    return float(mean_squares(reward, scaling.physical(scaling.normalise(truth).float())).mean())


def resolve_errors(fields: Field, solve: Callable[[Field], Field], solved: tuple[int, ...]) -> Tensor:
    """‖u − S(a)‖/‖S(a)‖ per sample, with the reference solver ``solve``; infinite where it has no answer (NaN)."""
    exact = solve(fields)[:, list(solved)].flatten(1)
    error = torch.linalg.vector_norm(fields.double()[:, list(solved)].flatten(1) - exact, dim=1)
    relative = error / torch.linalg.vector_norm(exact, dim=1).clamp_min(_TINY)
    return torch.nan_to_num(relative, nan=torch.inf, posinf=torch.inf)


def defects(fields: Field, balances: Mapping[str, PerSample]) -> Float[Tensor, "law batch"]:
    """How far each sample is from each integral law, in units of the law's natural size, ≥ 0."""
    return torch.stack([law(fields.double()).abs() for law in balances.values()])


def adherence(
    fields: Field,
    reward: ResidualReward,
    *,
    scale: float,
    floor: float,
    solve: Callable[[Field], Field],
    solved: tuple[int, ...],
    balances: Mapping[str, PerSample] | None = None,
    tolerance: float = 0.05,
) -> Adherence:
    """All adherence figures of a set of physical fields; ``tolerance`` is τ, ``balances`` are integral laws."""
    _finite(fields)
    with torch.no_grad():
        rows = reward.residuals(fields.double())
    rho = rows.flatten(1).square().mean(1) / scale
    inside, frame = _frame_split(rows, fields.ndim - 2)
    gaps = defects(fields, balances) if balances else torch.full((1, len(fields)), math.nan)
    return Adherence(
        rho=float(rho.mean()),
        rho_median=float(rho.median()),
        rho_90=float(rho.quantile(0.9)),
        over_floor=float(rho.mean()) * scale / max(floor, _TINY),
        interior=inside / scale,
        boundary=frame / scale,
        satisfied=float((rho <= tolerance).double().mean()),
        resolve=float(resolve_errors(fields, solve, solved).median()),
        conserved=float((gaps.amax(0) <= SMALL).double().mean()) if balances else math.nan,
        defect=float(gaps.median(1).values.max()),
    )


def fidelity(
    fields: Field, truth: Float[Tensor, "truth channel *grid"], quantities: Mapping[str, PerSample] | None = None
) -> Fidelity:
    """All fidelity figures of ``fields`` against ``truth``; equal numbers of samples are compared."""
    _finite(fields)
    count = min(len(fields), len(truth))
    if count < 2:
        raise InputError(
            "fidelity needs two samples or more", got=count, why="a law cannot be seen in one sample", hint="samples=64"
        )
    a, b = fields[:count].double(), truth[:count].double()
    spread = b.transpose(0, 1).flatten(1).std(1)
    ordered_a, ordered_b = (x.transpose(0, 1).flatten(1).sort(1).values for x in (a, b))
    return Fidelity(
        variance=tuple((a.transpose(0, 1).flatten(1).var(1) / spread**2).tolist()),
        w1=tuple(((ordered_a - ordered_b).abs().mean(1) / spread).tolist()),
        spectrum=tuple((_log_spectrum(a) - _log_spectrum(b)).square().mean(1).sqrt().tolist()),
        sliced=_sliced(a, b),
        diversity=_spread_of_pairs(a, spread) / _spread_of_pairs(b, spread),
        quantities={name: _compared(quantity(a), quantity(b)) for name, quantity in (quantities or {}).items()},
    )


def alarms(adherence: Adherence, fidelity: Fidelity) -> tuple[str, ...]:
    """What a row has been paid for; ``fidelity`` in truth-against-truth units."""
    raised = []
    if adherence.over_floor < 0.5:
        raised.append("below the data's floor")
    if any(not 0.7 <= v <= 1 / 0.7 for v in fidelity.variance):
        raised.append("variance")
    if not 0.85 <= fidelity.diversity <= 1 / 0.85:
        raised.append("diversity")
    if max(fidelity.spectrum) > 5:
        raised.append("spectrum")
    if fidelity.sliced > 2.5 or max(fidelity.w1) > 5:
        raised.append("law")
    raised += [f"quantity: {name}" for name, found in fidelity.quantities.items() if not found.w1 <= 5]
    return tuple(raised)


def _finite(fields: Field) -> None:
    bad = (~torch.isfinite(fields)).flatten(1).any(1)
    if bool(bad.any()):
        raise InputError(
            "finite fields are needed",
            got=f"NaN or infinity in {int(bad.sum())} of {len(fields)} samples (first: {int(bad.nonzero()[0])})",
            why="one of them would make every mean meaningless",
            hint="a smaller guidance weight or learning rate",
        )


def _compared(ours: Tensor, theirs: Tensor) -> Quantity:
    """Scalars by their order statistics."""
    mean, spread = (max(abs(float(of(ours))), SMALL) / max(abs(float(of(theirs))), SMALL) for of in (torch.mean, torch.std))
    return Quantity(w1=float((ours.sort().values - theirs.sort().values).abs().mean()), mean=mean, spread=spread)


def _frame_split(rows: Tensor, dims: int) -> tuple[float, float]:
    """Mean square over the inner rows and over the outermost frame."""
    shape = rows.shape[-dims:]  # not always the grid's: one row per time step is one less than there are frames
    if rows.ndim <= dims or min(shape) < 3:
        whole = float(rows.square().mean())
        return whole, float("nan")
    inner = torch.ones(tuple(shape), dtype=torch.bool)
    for dim in range(dims):
        inner.index_fill_(dim, torch.tensor([0, shape[dim] - 1]), False)
    squares = rows.square().flatten(0, -dims - 1).mean(0).cpu()
    return float(squares[inner].mean()), float(squares[~inner].mean())


def _cosine_coefficients(x: Tensor) -> Tensor:
    """Orthonormal DCT-II along all grid axes."""
    for _ in range(2, x.ndim):  # each product moves its axis to the end, so that the next one stands at 2
        x = torch.tensordot(x, cosine_matrix(x.shape[2], x), dims=([2], [0]))
    return x


def _log_spectrum(x: Tensor) -> Tensor:
    """Log of the mean cosine power in rings of |k|, per channel; powers below 1e-6 of the largest ring count as that."""
    power = _cosine_coefficients(x).square().mean(0).flatten(1)
    axes = torch.meshgrid(*(torch.arange(n) for n in x.shape[2:]), indexing="ij")
    ring = torch.stack([k.double() for k in axes]).norm(dim=0).round().long().flatten()
    keep = (ring >= 1) & (ring < min(x.shape[2:]))
    sums = torch.zeros(x.shape[1], min(x.shape[2:]), dtype=x.dtype).index_add_(1, ring[keep], power[:, keep].cpu())
    rings = sums[:, 1:] / torch.bincount(ring[keep], minlength=min(x.shape[2:]))[1:]
    return torch.log(rings + 1e-6 * rings.max(1, keepdim=True).values)


def _sliced(a: Tensor, b: Tensor, lowest: int = 8, directions: int = 256) -> float:
    window = (slice(None), slice(None), *[slice(0, lowest)] * (a.ndim - 2))
    p, q = (_cosine_coefficients(x)[window].flatten(1) for x in (a, b))
    unit = q.std(0).reshape(a.shape[1], -1)
    # Modes that truth hardly excites (a mean that is exactly zero, say) weigh no more than 5 % of the channel's leading one.
    unit = torch.maximum(unit, 0.05 * unit.amax(1, keepdim=True)).flatten()
    rays = Noise(0).fold("sliced").normal((p.shape[1], directions), a.dtype)[0].to(a.device)
    rays = rays / rays.norm(dim=0)
    return float((((p / unit @ rays).sort(0).values - (q / unit @ rays).sort(0).values) ** 2).mean().sqrt())


def _spread_of_pairs(x: Tensor, spread: Tensor) -> float:
    flat = (x / spread.reshape(-1, *[1] * (x.ndim - 2))).flatten(1)
    return float(torch.pdist(flat).mean())
