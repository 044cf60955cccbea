"""Pictures of fields, residuals, training and trade-offs.  matplotlib is imported when the first one is drawn."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pirf.errors import InputError
from pirf.problems import Problem
from pirf.rewards import Observation, Points
from pirf.tensors import Field

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["curves", "gallery", "png", "reconstruction", "tradeoffs"]


def _figure(**options: Any) -> Figure:
    """A figure outside pyplot: no global state, no display."""
    from matplotlib.figure import Figure

    return Figure(layout="constrained", **options)


def png(figure: Figure, dpi: int = 110) -> str:
    """A data URI, for pages that must stand alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def gallery(problem: Problem, fields: Mapping[str, Field], sample: int = 0) -> Figure:
    """One row per model: every channel, the residual's magnitude, and the distance from the reference solution.

    All columns share their colour scale between rows, so that a wrong row looks wrong.
    """
    shown = {name: x[sample : sample + 1].double().cpu() for name, x in fields.items()}
    with torch.no_grad():
        residuals = {name: problem.reward.residuals(x)[0, 0].abs() for name, x in shown.items()}
    errors = {name: (x - problem.solve(x))[0, problem.solved[0]].abs() for name, x in shown.items()}
    titles = [*problem.channels, "log₁₀ |residual|/√S", f"|{problem.channels[problem.solved[0]]} − solved again|"]
    figure = _figure(figsize=(2.3 * len(titles) + 1.2, 1.85 * len(shown) + 0.6))
    axes = figure.subplots(len(shown), len(titles), squeeze=False)
    limits = [max(float(x[0, c].abs().max()) for x in shown.values()) for c in range(len(problem.channels))]
    worst = max(float(e.nan_to_num(nan=0.0).max()) for e in errors.values())  # NaN: the solver has no answer, left blank
    for row, (name, x) in enumerate(shown.items()):
        images = []
        for c in range(len(problem.channels)):
            images.append(
                axes[row][c].imshow(x[0, c].T.numpy(), origin="lower", cmap="RdBu_r", vmin=-limits[c], vmax=limits[c])
            )
        decades = torch.log10(residuals[name] / problem.scale**0.5 + 1e-12)
        images.append(axes[row][-2].imshow(decades.T.numpy(), origin="lower", cmap="magma", vmin=-3, vmax=1))
        images.append(axes[row][-1].imshow(errors[name].T.numpy(), origin="lower", cmap="viridis", vmin=0, vmax=worst))
        for column, image in enumerate(images):
            axes[row][column].set_xticks([])
            axes[row][column].set_yticks([])
            figure.colorbar(image, ax=axes[row][column], fraction=0.046, pad=0.03).ax.tick_params(labelsize=6)
            if row == 0:
                axes[row][column].set_title(titles[column], fontsize=9)
        axes[row][0].set_ylabel(name, fontsize=8)
    return figure


def reconstruction(
    fields: Field,
    observation: Observation,
    residual: Tensor | None = None,
    truth: Tensor | None = None,
    channels: Sequence[str] | None = None,
) -> Figure:
    """An ensemble, one row per channel: truth and measured points, mean, standard deviation, error, rms of the ``residual``.

    A row's truth and mean share a colour scale, and so do its deviation and error.  A residual that is no field is left out.
    """
    x, names = fields.double().cpu(), channels or [f"channel {c}" for c in range(fields.shape[1])]
    if len(names) != x.shape[1]:
        raise InputError(
            f"{x.shape[1]} names of channels are needed", got=names, why="every row has one", hint="channels=problem.channels"
        )
    mean, std = x.mean(0), x.std(0, correction=min(1, len(x) - 1))
    rows = residual if residual is not None and residual.ndim == mean.ndim else mean[:0]
    # Columns, each with those that share its colour scale.
    alike: dict[str, tuple[str, ...]] = {
        "mean": ("truth", "mean"),
        "standard deviation": ("standard deviation", "|mean − truth|"),
    }
    if truth is not None:
        alike = {"truth": alike["mean"], **alike, "|mean − truth|": alike["standard deviation"]}
    if len(rows):
        alike["residual, rms"] = ("residual, rms",)
    figure = _figure(figsize=(2.3 * len(alike) + 1.2, 1.95 * len(mean) + 0.6))
    axes = figure.subplots(len(mean), len(alike), squeeze=False)
    for c, row in enumerate(axes):
        shown = {"mean": mean[c], "standard deviation": std[c]}
        if truth is not None:
            known = truth[c].double().cpu()
            shown |= {"truth": known, "|mean − truth|": (mean[c] - known).abs()}
        if c < len(rows):
            shown["residual, rms"] = rows[c]
        for axis, (title, others) in zip(row, alike.items(), strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            if c == 0:
                axis.set_title(title, fontsize=9)
            if title not in shown:
                axis.set_axis_off()
                continue
            scale, signed = torch.stack([shown[name] for name in others if name in shown]), "mean" in others
            image = axis.imshow(
                shown[title].T.numpy(),
                origin="lower",
                cmap="RdBu_r" if signed else "viridis",
                vmin=float(scale.min()) if signed else 0,
                vmax=float(scale.max()),
            )
            figure.colorbar(image, ax=axis, fraction=0.046, pad=0.03).ax.tick_params(labelsize=6)
        if isinstance(observation.operator, Points):
            mask = observation.operator.mask[c].cpu()
            first, second = mask.nonzero().T
            row[0].scatter(first, second, s=5 if mask.double().mean() < 0.25 else 0.5, c="black", linewidths=0)
        row[0].set_ylabel(names[c], fontsize=8)
    return figure


def curves(histories: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Loss against seconds of training, one small panel per run: their rewards may be in different units."""
    columns = min(3, len(histories))
    rows = -(-len(histories) // columns)
    figure = _figure(figsize=(3.6 * columns, 2.4 * rows))
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (name, history) in zip(axes, histories.items(), strict=False):
        seconds, loss = [h["seconds"] for h in history], [-h.get("score", -h["loss"]) for h in history]
        logarithmic = min(loss) > 0  # a mean square; rewards that count decades are linear already
        axis.plot(seconds, loss, color="#9db7d5", linewidth=0.8)
        window = max(1, len(loss) // 30)
        smooth = torch.tensor(loss, dtype=torch.float64).unfold(0, window, 1).mean(1)
        axis.plot(seconds[window - 1 :], smooth.numpy(), color="#1f4e8c", linewidth=1.6)
        axis.set(yscale="log" if logarithmic else "linear", xlabel="seconds")
        axis.set_title(f"{name}: −reward, {int(history[-1].get('step', len(history)))} updates", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3, which="both", linewidth=0.5)
    for axis in axes[len(histories) :]:
        axis.set_visible(False)
    return figure


def tradeoffs(points: Mapping[str, tuple[float, float, float, bool]]) -> Figure:
    """(ρ, re-solve error, sliced-Wasserstein in units of data, alarm raised): one line per row, physics beside fidelity."""
    from matplotlib.ticker import NullFormatter

    figure = _figure(figsize=(7.6, 0.34 * len(points) + 1.1))
    panels = figure.subplots(1, 3, sharey=True)
    names = list(points)
    colours = ["#b5352b" if points[name][3] else "#1f4e8c" for name in names]
    titles = ["ρ = MSE/S of the residual", "re-solve error", "sliced-W, truth against truth = 1"]
    for column, (axis, title) in enumerate(zip(panels, titles, strict=True)):
        values = [max(points[name][column], 1e-16) for name in names]
        axis.hlines(range(len(names)), 1e-30 if column < 2 else 0, values, color="#cccccc", linewidth=1)
        axis.scatter(values, range(len(names)), s=38, c=colours, zorder=3)
        axis.set_title(title, fontsize=8)
        if column < 2:  # whole decades, so that labels never crowd
            low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
            axis.set(xscale="log", xlim=(0.8 * 10.0**low, 1.25 * 10.0 ** max(high, low + 1)))
            axis.xaxis.set_minor_formatter(NullFormatter())
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3, linewidth=0.5, axis="x", which="both")
        axis.margins(y=0.08)
    panels[2].axvline(1.0, color="#777777", linewidth=0.8, linestyle="--")
    panels[2].set_xlim(0, 1.1 * max([1.0, *(point[2] for point in points.values())]))
    panels[0].set_yticks(range(len(names)), names, fontsize=8)
    panels[0].invert_yaxis()
    return figure
