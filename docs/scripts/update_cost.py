"""The cost of one update by strategy, from the figures that benchmarks/update.py has written."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2] / "benchmarks"
table = runpy.run_path(str(ROOT / "update.py"))["table"]
paths = sorted((ROOT / "results").glob("update-*.json"))
if not paths:
    print("*No figures are kept yet: run the benchmark.*")
for path in paths:
    found = json.loads(path.read_text())
    where = f"{found['hardware']}, {found['cores']} core(s) in use"
    print(f"**{found['device'].upper()}** ({where}), {found['dtype']}, N = {found['steps']}, {found['clock']}.\n")
    for size in found["sizes"]:
        millions, turns = size["parameters"] / 1e6, size["turns"]
        print(f"{size['n']}², batch {size['batch']}, {millions:.2f} M parameters, medians of {turns} turn(s):\n")
        print(table(size, found["cosines"]), end="\n\n")
    for name, cosine in found["cosines"].items():
        if "batch" in name or "update" in name:
            print(f"- {name}: cosine {cosine:.4f}")
    print()
