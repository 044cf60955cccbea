"""What benchmarks/data_path.py measured."""

import json
from pathlib import Path

found = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "data_path.json").read_text(encoding="utf-8"))
print("| samples of | read | cold: samples/s | GB/s | from disk | warm: samples/s | GB/s | processor |\n" + "|---" * 8 + "|")
for size in found["sizes"]:
    for way, figures in size["ways"].items():
        cold, warm = figures["cold"], figures["warm"]
        print(
            f"| 2×{size['n']}² | {'`Stored`' if way == 'Stored' else way} | {cold['samples']:,.0f} | {cold['gigabytes']:.2g} "
            f"| {cold['fetched']:.2g}× | {warm['samples']:,.0f} | {warm['gigabytes']:.2g} | {warm['processor_ms']:.2g} ms |"
        )
print(
    "\n| samples of | set | files | opened in | memory + | a batch, cold | draw of an update, cold | with reading ahead "
    "| an update |\n" + "|---" * 9 + "|"
)
for size in found["sizes"]:
    plain, ahead = (size["draws"][way]["cold"]["ms"] for way in ("plain", "ahead"))
    print(
        f"| 2×{size['n']}² | {size['gigabytes']:g} GB, {size['samples']:,} samples | {size['files']} "
        f"| {size['seconds']['open']:.2g} s | {size['memory_mb']:.0f} MB | {size['ways']['Stored']['cold']['ms']:.2g} ms "
        f"| {plain:.2g} ms | {ahead:.2g} ms | {size['update_ms']:,.0f} ms |"
    )
