"""A hundred thousand updates take what ten thousand took: memory, descriptors and disk are bounded, the history as well."""

import os

LONG = "PIRF_SOAK" in os.environ
NAME, UPDATES = ("100,000 updates", 100_000) if LONG else ("1,000 updates", 1_000)


def test_a_long_run_takes_no_more_and_no_more(worker, tmp_path, count, figure):
    answer = worker.run(NAME, tmp_path / "out")
    *found, ended = answer["result"][1]
    settled = [f for f in found if f["step"] >= UPDATES // 10]
    assert settled[0]["step"] == UPDATES // 10
    assert settled[-1]["step"] == UPDATES
    grown = max(f["memory"] for f in settled) / settled[0]["memory"] - 1
    assert grown < 0.01
    assert {f["descriptors"] for f in settled} == {settled[0]["descriptors"]}
    assert {f["files"] for f in settled} == {6}  # two checkpoints of three files, and nothing half written
    assert max(f["bytes"] for f in found) < 4e6
    assert ended["records"] <= 4096 + 1
    assert answer["warning"] == []
    count("updates of one run", UPDATES)
    figure("seconds of that run", round(answer["seconds"], 1))
    figure("memory that it gained after a tenth of it, %", round(100 * grown, 3))
    figure("bytes of its two checkpoints", settled[-1]["bytes"])
