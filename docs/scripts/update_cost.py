"""The cost of one update by strategy, from the figures that benchmarks/update.py and benchmarks/cosines.py have written."""

import json
import runpy
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[2] / "benchmarks"
table = runpy.run_path(str(ROOT / "update.py"))["table"]
measured = json.loads((ROOT / "results" / "cosines.json").read_text())
cosines = {
    problem: {name: [draw[name] for draw in draws] for name in draws[0]} for problem, draws in measured["problems"].items()
}
paths = sorted((ROOT / "results").glob("update-*.json"))
for path in paths:
    found = json.loads(path.read_text())
    print(f"**{found['device'].upper()}**, {found['dtype']}, N = {found['steps']}.\n")
    for size in found["sizes"]:
        millions, turns, threads = size["parameters"] / 1e6, size["turns"], size["threads"]
        clock = "its own time" if threads == 1 else "wall clock"
        print(f"{size['n']}², batch {size['batch']}, {millions:.2f} M parameters, medians of {turns} turn(s);", end=" ")
        print(f"{size['hardware']}, {threads} thread(s), {clock}:\n")
        print(table(size, cosines["poisson"]), end="\n\n")
batch, draws = measured["batch"], len(measured["problems"]["poisson"])
print(f"Cosines on the shipped models, mean and smallest of {draws} batches of {batch}:\n")
print("| gradient |" + "".join(f" {problem} | smallest |" for problem in cosines))
print("|---|" + "---:|---:|" * len(cosines))
for name in cosines["poisson"]:
    cells = (f" {mean(found[name]):.3f} | {min(found[name]):.3f} |" for found in cosines.values())
    print(f"| {name} |{''.join(cells)}")
