r"""An honest comparison: the same problem, the same initial noise and the same truth for every model, one row each."""

from __future__ import annotations

import json
import math
import platform
import shutil
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any, final

import attrs
import torch
from rich.console import Console
from rich.table import Table as RichTable
from torch import Tensor

from pirf.denoisers import Denoiser
from pirf.errors import InputError, instance
from pirf.inference import draw
from pirf.metrics import Adherence, Fidelity, adherence, alarms, fidelity
from pirf.plotting import curves, gallery, png, tradeoffs
from pirf.problems import Problem, fits
from pirf.report import Page
from pirf.samplers import Sampler
from pirf.tensors import Field
from pirf.training import Tuning
from pirf.verify import Certificate

__all__ = ["Comparison", "Entry", "Result", "compare", "hardware"]


def hardware() -> str:
    """What the seconds of a table were measured on."""
    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return f"{platform.machine()} CPU, {torch.get_num_threads()} thread(s) at most{gpu}, torch {torch.__version__}"


@final
@attrs.frozen(eq=False)
class Entry:
    """A model with what is known about it: another sampler than the table's, the budget it had, a remark, its knobs' search."""

    model: Denoiser
    sampler: Sampler | None = None
    tuning_seconds: float = 0.0
    note: str = ""
    tuning: Tuning[Any] | None = None


@final
@attrs.frozen(eq=False)
class Result:
    """One row: what it costs, how it obeys, how faithful it is, what it has been paid for."""

    name: str
    adherence: Adherence
    fidelity: Fidelity
    """Distances in truth-against-truth units."""
    alarms: tuple[str, ...]
    evaluations: float = 0.0
    vjps: float = 0.0
    seconds: float = 0.0
    tuning_seconds: float = 0.0
    note: str = ""
    tuning: Tuning[Any] | None = None
    fields: Field = attrs.field(factory=lambda: torch.empty(0), repr=False)
    """The first few samples, for pictures."""
    history: tuple[Mapping[str, float], ...] = attrs.field(default=(), repr=False)

    def as_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        keep = attrs.asdict(self, recurse=True)
        keep["tuning"] = None if self.tuning is None else self.tuning.as_dict()
        return {k: v for k, v in keep.items() if k not in ("fields", "history")}

    @property
    def budget(self) -> str:
        """The remark, and how the knobs were searched."""
        return "; ".join(filter(None, (self.note, "" if self.tuning is None else str(self.tuning))))


_WIDE = 168
"""Characters of a table that is not printed on a screen."""

COLUMNS: Mapping[str, str] = {
    "method": "",
    "evals": "network evaluations per sample; +v: vector-Jacobian products",
    "ms": "milliseconds per sample",
    "tuning s": "seconds of tuning, search included",
    "ρ": "mean MSE/S of the residual",
    "ρ median": "",
    "ρ≤τ": "share of samples with ρ ≤ 0.05",
    "laws": "share of samples in which every integral law (a flux, a mean) holds within 1 % of its natural size",
    "re-solve": "median relative distance of the solution from the solver's answer to what the sample takes as given",
    "var": "variance over truth's, per channel",
    "spectrum": "log-spectrum distance, truth against truth = 1",
    "sliced-W": "sliced Wasserstein distance, truth against truth = 1",
    "diversity": "mean pairwise distance over truth's",
    "alarms": "",
}


@final
@attrs.frozen(eq=False)
class Comparison:
    """The table.  ``print`` it, index it by name, write it as JSON or as a self-contained report."""

    problem: Problem
    sampler: Sampler
    samples: int
    seed: int
    rows: tuple[Result, ...]

    def __getitem__(self, name: str) -> Result:
        for row in self.rows:
            if row.name == name:
                return row
        raise InputError(
            f"rows {', '.join(r.name for r in self.rows)} exist", got=name, why="there is no such row", hint=self.rows[0].name
        )

    def cells(self) -> list[list[str]]:
        """The table as text, one list per row, in the order of ``COLUMNS``."""
        return [_cells(row) for row in self.rows]

    def __str__(self) -> str:
        return self.text(shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE)

    def text(self, width: int) -> str:
        """The table in lines of so many characters: columns that do not fit beside the others stand below them."""
        methods, *others = zip(COLUMNS, *self.cells(), strict=True)
        parts: list[list[tuple[str, ...]]] = [[]]
        for column in others:
            if parts[-1] and 1 + sum(map(_width, (methods, *parts[-1], column))) > width:
                parts.append([])
            parts[-1].append(column)
        console = Console(file=(out := StringIO()), width=width)
        head = f"{self.problem!r}, {self.sampler!r}, {self.samples} samples, seed {self.seed}"
        console.print(head, markup=False, highlight=False)
        for part in parts:
            names, *rows = zip(methods, *part, strict=True)
            table = RichTable()
            for name in names:
                table.add_column(name, justify="left" if name in ("method", "alarms") else "right", no_wrap=name != "alarms")
            for cells in rows:
                table.add_row(*cells)
            console.print(table)
        return out.getvalue()

    def save(self, path: str | Path) -> Path:
        """Every figure as JSON."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {"problem": repr(self.problem), "sampler": repr(self.sampler), "samples": self.samples, "seed": self.seed}
        head["hardware"] = hardware()
        path.write_text(json.dumps({**head, "rows": [row.as_dict() for row in self.rows]}, indent=1))
        return path

    def report(self, path: str | Path, *, title: str = "pirf", certificate: Certificate | None = None, calls: str = "") -> Path:
        """One self-contained HTML page: the table, the fields and residuals, the trade-off, the training curves."""
        page = Page(title)
        page.text(f"{self.problem!r}, {self.sampler!r}, {self.samples} samples, seed {self.seed}; {hardware()}")
        page.table(COLUMNS, self.cells(), [bool(row.alarms) for row in self.rows])
        page.glossary("What the columns say", {name: why for name, why in COLUMNS.items() if why})
        if budgets := {row.name: row.budget for row in self.rows if row.budget}:
            page.glossary("Budgets", budgets)
        page.heading("One sample of every row")
        page.picture(
            "The same initial noise in every row but the first; columns share their colour scales.",
            png(gallery(self.problem, {row.name: row.fields for row in self.rows})),
        )
        page.heading("Physics against fidelity")
        # Truth itself sits at round-off, decades to the left.
        points = {
            row.name: (row.adherence.rho, row.adherence.resolve, row.fidelity.sliced, bool(row.alarms))
            for row in self.rows
            if row.evaluations
        }
        page.picture(
            "Red: an alarm was raised. A low residual far from the data's law has been bought.", png(tradeoffs(points))
        )
        if trained := {r.name: r.history for r in self.rows if len(r.history) > 1 and "score" in r.history[0]}:
            page.heading("Fine-tuning")
            page.picture("What each run optimised, in its own units.", png(curves(trained)))
        if certificate is not None:
            page.heading("Certificate of the reward")
            page.code(str(certificate))
        if calls:
            page.heading("The calls that made this page")
            page.code(calls)
        return page.write(Path(path))


def compare(
    problem: Problem,
    models: Mapping[str, Denoiser | Entry],
    *,
    sampler: Sampler,
    samples: int = 256,
    seed: int = 1_000_000,
    batch: int = 64,
    tolerance: float = 0.05,
    progress: bool = True,
) -> Comparison:
    """Sample every model from the same noise and measure it against the same truth.

    The first row is truth itself through the model's float32.  The seed is far from training seeds by default: neither the
    noise nor the truth of the comparison has been seen.
    """
    instance("a problem", problem, Problem, hint="pirf.problems.poisson(32)")
    instance("a sampler", sampler, Sampler, hint="sampler=Heun(steps=20)")
    instance("models by name, a dictionary,", models, Mapping, hint='{"base": base}')
    for value in models.values():
        instance("a model", value.model if isinstance(value, Entry) else value, Denoiser, hint='pirf.load("poisson-32")')
    if not models:
        raise InputError("at least one model is needed", got="none", why="there is nothing to compare", hint='{"base": base}')
    foreign = {k: e.shape for k, v in models.items() if (e := v.model if isinstance(v, Entry) else v).shape != problem.shape}
    if foreign:
        raise InputError(
            f"models of fields with shape {problem.shape} are needed",
            got=foreign,
            why=f"the table is about {problem!r}",
            hint="the problem that the models were trained on",
        )
    for value in models.values():
        fits(value.model if isinstance(value, Entry) else value, problem)
    truth, other = problem.sample(samples, seed=seed), problem.sample(samples, seed=seed + 1)
    unit = fidelity(other, truth, problem.quantities)

    def judge(name: str, fields: Tensor, **cost: Any) -> Result:
        obeys = adherence(
            fields,
            problem.reward,
            scale=problem.scale,
            floor=problem.floor,
            solve=problem.solve,
            solved=problem.solved,
            balances=problem.balances,
            tolerance=tolerance,
        )
        faithful = fidelity(fields, truth, problem.quantities).over(unit)
        return Result(name, obeys, faithful, alarms(obeys, faithful), fields=fields[:4].cpu(), **cost)

    as_float32 = problem.scaling.physical(problem.scaling.normalise(other).float())
    rows = [judge("truth", as_float32)]
    for name, value in models.items():
        entry = value if isinstance(value, Entry) else Entry(value)
        drawn = draw(entry.model, entry.sampler or sampler, samples, seed, batch=batch, progress=progress)
        rows.append(
            judge(
                name,
                drawn.fields.cpu(),
                evaluations=drawn.evaluations,
                vjps=drawn.vjps,
                seconds=drawn.seconds,
                tuning_seconds=entry.tuning_seconds,
                note=entry.note,
                tuning=entry.tuning,
                history=tuple(entry.model.history),
            )
        )
    return Comparison(problem, sampler, samples, seed, tuple(rows))


def _width(column: tuple[str, ...]) -> int:
    """Characters with a border; alarms may stand below each other."""
    texts = (word for cell in column for word in cell.split()) if column[0] == "alarms" else column
    return 3 + max(map(len, texts))


def _cells(row: Result) -> list[str]:
    a, f = row.adherence, row.fidelity
    cost = f"{row.evaluations:g}" + (f"+{row.vjps:g}v" if row.vjps else "")
    return [
        row.name,
        cost if row.evaluations else "—",
        f"{1e3 * row.seconds:.0f}" if row.seconds else "—",
        f"{row.tuning_seconds:.0f}" if row.tuning_seconds else "—",
        f"{a.rho:.3g}",
        f"{a.rho_median:.3g}",
        f"{100 * a.satisfied:.0f} %",
        "—" if math.isnan(a.conserved) else f"{100 * a.conserved:.0f} %",
        f"{100 * a.resolve:.2g} %",
        " ".join(f"{v:.2f}" for v in f.variance),
        f"{max(f.spectrum):.2f}",
        f"{f.sliced:.2f}",
        f"{f.diversity:.2f}",
        ", ".join(row.alarms) or "none",
    ]
