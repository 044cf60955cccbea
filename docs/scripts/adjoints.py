"""The table of closed forms against autograd, from the figures that benchmarks/adjoints.py has written."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2] / "benchmarks"
table = runpy.run_path(str(ROOT / "adjoints.py"))["table"]
for path in sorted((ROOT / "results").glob("adjoints-*.json")):
    found = json.loads(path.read_text())
    print(f"**{found['device'].upper()}** ({found['hardware']}), {found['dtype']}, medians of {found['repeats']} pairs:\n")
    print(table(found["rows"]), end="\n\n")
