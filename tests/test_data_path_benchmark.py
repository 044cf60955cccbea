"""benchmarks/data_path.py at a tiny size, and the table that the documentation makes of what it stored."""

import importlib.util
import json
import os
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("data_path", ROOT / "benchmarks" / "data_path.py")
D = importlib.util.module_from_spec(spec)
spec.loader.exec_module(D)


@pytest.mark.skipif(not hasattr(os, "posix_fadvise") or not Path("/proc/self/io").exists(), reason="it asks Linux")
def test_every_way_is_measured_and_nothing_is_left_behind(tmp_path, capsys):
    results = tmp_path / "found.json"
    options = ["--gigabytes", "0.002", "--size", "16", "--batches", "2", "--folder", str(tmp_path), "--results", str(results)]
    D.main(options)
    (size,) = json.loads(results.read_text())["sizes"]
    assert size["samples"] == 976
    assert set(size["ways"]) == {"Stored", "memory map", "sequential"}
    for figures in (*size["ways"].values(), *size["draws"].values()):
        for state in ("cold", "warm"):
            assert figures[state]["samples"] == pytest.approx(32e3 / figures[state]["ms"], rel=0.02)
    assert capsys.readouterr().out.count("\n| ") == 4
    assert list(tmp_path.iterdir()) == [results]


def test_files_are_of_a_gigabyte_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(D, "FILE", 40e3)
    paths = D.write(tmp_path, (1, 1000), 100e-6)
    assert [D.np.load(path).shape for path in paths] == [(10, 1, 1000), (10, 1, 1000), (5, 1, 1000)]


def test_the_stored_figures_are_printed(capsys):
    runpy.run_path(str(ROOT / "docs" / "scripts" / "data_path.py"))
    assert capsys.readouterr().out.count("\n| 2×") == 8
