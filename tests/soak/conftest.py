"""Counts of everything that was done to the library; a long run (PIRF_SOAK) leaves them in ``benchmarks/results/soak.json``."""

import json
import os
import platform
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import safetensors
import torch
from soak.worker import Worker

import pirf

collect_ignore_glob = [] if sys.platform == "linux" else ["test_*"]  # they fork, mount and read /proc
COUNTS, PASSED, FIGURES = Counter(), Counter(), {}
BEGAN = time.perf_counter()
RESULT = Path(pirf.__file__).parent.parent / "benchmarks" / "results" / "soak.json"


@pytest.fixture
def count():
    """``count("kills", 3)`` adds to what the report says."""

    def add(what, number=1):
        COUNTS[what] += number

    return add


@pytest.fixture
def figure():
    """``figure("memory", 0.4)`` is a number that the report says as it is."""

    def note(what, number):
        FIGURES[what] = number

    return note


@pytest.fixture(scope="session")
def worker():
    warm = Worker()
    yield warm
    warm.close()


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        PASSED[report.nodeid.partition("::")[0]] += 1


def pytest_sessionfinish(session):
    if "PIRF_SOAK" not in os.environ or not COUNTS or hasattr(session.config, "workerinput"):
        return
    versions = {"python": platform.python_version(), "torch": torch.__version__, "safetensors": safetensors.__version__}
    found = {
        "failed": session.testsfailed,
        "seconds": round(time.perf_counter() - BEGAN, 1),
        "counts": dict(sorted(COUNTS.items())),
        "figures": FIGURES,
        "tests passed": dict(sorted(PASSED.items())),
        "versions": versions,
        "machine": platform.machine(),
    }
    RESULT.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
