"""The tables of the leaderboard: means with 95 % intervals, differences paired seed by seed, missing cells counted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from pirf.sweeps import interval, paired

Row = Mapping[str, Any]

COLUMNS = {
    "ρ": "ρ: residual over that of noise",
    "against base": "the factor on the base's ρ, paired by seed",
    "re-solve, %": "re-solve: median distance of the solution from the solver's answer",
    "fidelity": "fidelity: sliced Wasserstein distance, truth against truth = 1",
    "alarms": "alarms: how many of the seeds raised one",
}


def table(rows: Sequence[Row], methods: Sequence[str], seeds: int, title: str) -> str:
    """One Markdown table for a problem and a number of steps."""
    head = ["method", "seeds", *COLUMNS, "evaluations", "ms a sample", "training s", "search s", "knob"]
    lines = [head, ["---", *["---:"] * (len(head) - 1)]]
    base: dict[object, float] = {row["seed"]: _log(row) for row in rows if row["method"] == "base"}
    for method in methods:
        here = [row for row in rows if row["method"] == method]
        lines.append(_line(method, here, base, seeds) if here else [method, f"0 of {seeds}", *["—"] * (len(head) - 2)])
    return f"**{title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _line(method: str, here: Sequence[Row], base: Mapping[object, float], seeds: int) -> list[str]:
    gain = paired({row["seed"]: _log(row) for row in here}, base) if any(row["seed"] in base for row in here) else None
    raised = [alarm for row in here for alarm in row["alarms"]]
    vjps = mean(row["vjps"] for row in here)
    knob = here[0]["knob"]
    return [
        method,
        f"{len(here)}" if len(here) == seeds else f"{len(here)} of {seeds}",
        str(interval([row["adherence"]["rho"] for row in here])),
        "—" if gain is None or method == "base" else f"×{10**gain.mean:.2g}" + ("" if gain.excludes_zero else " (not settled)"),
        str(interval([100 * row["adherence"]["resolve"] for row in here])),
        str(interval([row["fidelity"]["sliced"] for row in here])),
        ", ".join(f"{alarm} {raised.count(alarm)}/{len(here)}" for alarm in dict.fromkeys(raised)) or "none",
        f"{mean(row['evaluations'] for row in here):g}" + (f"+{vjps:g}v" if vjps else ""),
        f"{1e3 * mean(row['seconds'] for row in here):.0f}",
        f"{mean(row['training seconds'] for row in here):.0f}",
        f"{mean(row['search seconds'] for row in here):.0f}",
        "—" if knob is None else f"{knob:.2g}",
    ]


def _log(row: Row) -> float:
    return math.log10(row["adherence"]["rho"] + 1e-30)
