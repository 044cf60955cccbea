"""``pirf doctor``: whether this installation can do what it is for, line by line."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import PackageNotFoundError
from typing import final

import attrs
import torch
import typer
from packaging.requirements import Requirement
from torch import distributed as dist

from pirf.cli.choices import AsJson, say
from pirf.cli.self_tests import Answer, Verdict, adjoint, model_figure, update
from pirf.denoisers import storage
from pirf.experiments import hardware

__all__ = ["Finding", "doctor"]


@final
@attrs.frozen
class Finding:
    """One line."""

    name: str
    verdict: Verdict
    found: str

    def __str__(self) -> str:
        return f"{self.verdict:4}  {self.name:24}  {self.found}"


def doctor(as_json: AsJson = False) -> None:
    """Check the installation: versions, devices, shipped models, a self-test. Exit code 1 if a line says FAIL."""
    findings = list(_findings())
    verdicts = [finding.verdict for finding in findings]
    worst = next((v for v in ("FAIL", "WARN") if v in verdicts), "OK")
    text = "\n".join(map(str, findings))
    say(f"{text}\n{worst}", {"verdict": worst, "findings": [attrs.asdict(f) for f in findings]}, as_json)
    raise typer.Exit(1 if worst == "FAIL" else 0)


def _findings() -> Iterator[Finding]:
    yield Finding("python", "OK", f"{platform.python_version()} on {platform.platform()}")
    yield from _packages()
    yield Finding("hardware", "OK", hardware())
    yield _gpu()
    yield _guarded("processes", _backends)
    yield _guarded("temporary files", _temporary)
    for name in storage.shipped():
        yield _guarded(f"model {name}", partial(model_figure, name))
    yield _guarded("adjoint of a reward", adjoint)
    yield _guarded("an update on the oracle", update)


def _guarded(name: str, check: Callable[[], Answer]) -> Finding:
    """What a check says or, where it raises, what it died of: the other lines are wanted all the same."""
    began = time.perf_counter()
    try:
        verdict, found = check()
    except Exception as error:
        return Finding(name, "FAIL", " ".join(f"{type(error).__name__}: {error}".split()))
    return Finding(name, verdict, f"{found} ({time.perf_counter() - began:.1f} s)")


def _packages() -> Iterator[Finding]:
    """Every package that this one needs, against what it asks for."""
    try:
        asked = importlib.metadata.requires("pirf") or []
        yield Finding("pirf", "OK", importlib.metadata.version("pirf"))
    except PackageNotFoundError:
        yield Finding("pirf", "WARN", "not installed: pip install -e . lets its bounds be checked")
        return
    for requirement in map(Requirement, asked):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = importlib.metadata.version(requirement.name)
        except PackageNotFoundError:
            yield Finding(requirement.name, "FAIL", f"missing, {requirement.specifier} is needed")
            continue
        fits = requirement.specifier.contains(version, prereleases=True)
        yield Finding(requirement.name, "OK" if fits else "FAIL", f"{version}, {requirement.specifier} is needed")


def _gpu() -> Finding:
    if not torch.cuda.is_available():
        return Finding("GPU", "OK", "none: everything runs on the CPU")
    free, whole = torch.cuda.mem_get_info()
    cast = "with" if torch.cuda.is_bf16_supported() else "without"
    return Finding(
        "GPU", "OK", f"{torch.cuda.get_device_name()}, {free / 2**30:.1f} of {whole / 2**30:.1f} GiB free, {cast} bfloat16"
    )


def _backends() -> Answer:
    known = {"gloo": dist.is_available() and dist.is_gloo_available(), "nccl": dist.is_available() and dist.is_nccl_available()}
    found = ", ".join(name for name, there in known.items() if there)
    needed = "nccl" if torch.cuda.is_available() else "gloo"
    return ("OK" if known[needed] else "WARN"), found or "no engine of torch.distributed: one process only"


def _temporary() -> Answer:
    with tempfile.TemporaryFile() as file:
        file.write(bytes(1 << 20))
        file.flush()
    return "OK", f"{tempfile.gettempdir()} is writable, {shutil.disk_usage(tempfile.gettempdir()).free / 2**30:.0f} GiB free"
