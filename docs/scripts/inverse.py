"""What benchmarks/inverse.py has measured so far, as tables."""

import runpy
from pathlib import Path

from pirf.sweeps import sweep

ROOT = Path(__file__).parents[2] / "benchmarks"
bench = runpy.run_path(str(ROOT / "inverse.py"))
found = []
for cell in bench["cells"](bench["PROBLEMS"], list(bench["BY_NAME"]), range(5)):
    same = bench["identity"](cell["problem"])
    found += sweep(bench["measure"], [cell], ROOT / "results" / "inverse", identity=same, known_only=True, progress=False)
print(bench["goal"](found), bench["summary"](found), sep="\n\n")
