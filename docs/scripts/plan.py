"""How right a plan is, as benchmarks/plan.py measured it."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2] / "benchmarks"
bench = runpy.run_path(str(ROOT / "plan.py"))
found = json.loads((ROOT / "results" / "plan.json").read_text(encoding="utf-8"))
print(bench["HEAD"] + "\n" + bench["RULE"])
for row in found["rows"]:
    print(bench["line"](row))
waiting = [row["waiting"] for row in found["rows"]]
print(f"\n{found['hardware']}, one thread at work. Plans took the clock on the wall to be {min(waiting):.2g} to", end=" ")
print(f"{max(waiting):.2g} times the processor's: others used the machine.")
