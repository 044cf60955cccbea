"""The certificate of every problem at every size: ``python benchmarks/certificates.py``, or ``--problem burgers --n 64``.

What is in ``benchmarks/results/certificates.json`` already is skipped; ``--again`` makes it anew.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import typer

import pirf
from pirf.problems import catalogue

RESULTS = Path(__file__).parent / "results" / "certificates.json"
SIZES = (32, 64, 128)


def load() -> list[dict[str, Any]]:
    """What has been certified so far."""
    found: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    return found


def save(rows: list[dict[str, Any]]) -> None:
    """All at once, so that a kill leaves the previous file."""
    RESULTS.parent.mkdir(exist_ok=True)
    part = RESULTS.with_suffix(".part")
    part.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(part, RESULTS)


def show(rows: list[dict[str, Any]]) -> None:
    """One line per certificate, and below it every row that does not pass."""
    print("| problem | n | verdict | residual of truth, MSE/S | seconds |\n" + "|---" * 5 + "|")
    for row in rows:
        checks = {check["name"]: check for check in row["rows"]}
        truth = checks["residual of truth"]["measured"]
        print(f"| {row['problem']} | {row['n']} | {row['verdict']} | {truth} | {row['seconds']:.0f} |")
    for row in rows:
        for check in row["rows"]:
            if check["status"] != "PASS":
                found = f"{check['status']} {check['measured']}, {check['limit']} {check['note']}"
                print(f"{row['subject']}: {check['name']}: {found}")


def main(
    problem: Annotated[list[str] | None, typer.Option(help="names; all of the catalogue without it")] = None,
    n: Annotated[list[int] | None, typer.Option(help="sizes; 32, 64 and 128 without it")] = None,
    largest: Annotated[bool, typer.Option(help="also Kolmogorov flow at 256, the dearest")] = False,
    again: Annotated[bool, typer.Option(help="anew, even where there is a certificate")] = False,
) -> None:
    """Certify what is missing, then print the table."""
    wanted = [(name, size) for size in n or SIZES for name in problem or catalogue]
    if largest:
        wanted.append(("kolmogorov", 256))
    rows = load()
    for name, size in wanted:
        old = [row for row in rows if (row["problem"], row["n"]) == (name, size)]
        if old and not again:
            continue
        began = time.perf_counter()
        certificate = pirf.verify(catalogue[name](size), samples=64 if size < 256 else 32)
        row = {"problem": name, "n": size, "seconds": round(time.perf_counter() - began, 1), **certificate.as_dict()}
        rows = [row for row in rows if row not in old] + [row]
        rows.sort(key=lambda row: (list(catalogue).index(row["problem"]), row["n"]))
        save(rows)
    show(rows)


if __name__ == "__main__":
    typer.run(main)
