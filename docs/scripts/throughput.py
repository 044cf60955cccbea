"""What benchmarks/throughput.py measured."""

import json
from pathlib import Path

found = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "throughput.json").read_text(encoding="utf-8"))
machine = found["machine"]
print("| solver | n | ms per sample | published | ratio | in Fourier transforms |\n" + "|---" * 6 + "|")
for row in found["rows"]:
    print("| {solver} | {n} | {ms:.2g} | {published_ms:g} | {ratio:.2f} | {transforms:.0f} |".format(**row))
state = "quiet" if machine["quiet"] else "**busy**, so that these figures are too high"
print(f"\nThe machine was {state}: wall time was {machine['waiting']:g} times the processor time, and the median", end=" ")
print(f"transform took {machine['spread']:g} times the fastest.")
