"""What benchmarks/strategies.py has measured so far, as tables."""

import runpy
from pathlib import Path

print(runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "strategies.py"))["summary"]())
