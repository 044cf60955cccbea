"""What black-box rewards have gained on Poisson, from the figures that benchmarks/black_box.py has written."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2] / "benchmarks"
found = json.loads((ROOT / "results" / "black_box.json").read_text())
print(runpy.run_path(str(ROOT / "black_box.py"))["summary"](found["rows"]))
print(f"\n{found['seconds']:g} s of processor time for a scoring row; {found['hardware']}.")
