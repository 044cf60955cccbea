"""What benchmarks/kolmogorov.py measured: mean squares on truth, size by size."""

import runpy
from pathlib import Path

measured = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "kolmogorov.py"))
measured["show"](measured["load"]())
