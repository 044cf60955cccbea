r"""Checkpoints that are whole or absent: temporary directory, fsync, rename, SHA-256 manifest, the last two kept."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pirf.denoisers import Denoiser
from pirf.errors import InputError

__all__ = ["Checkpoint", "admit", "file_digest", "fingerprint", "latest", "names_of", "save"]

_log = logging.getLogger(__name__)
_KEPT = "kept."
_PLAIN = (int, float, bool, str, type(None))
_PREFIX, _TENSORS, _STATE, _MANIFEST = "step-", "tensors.safetensors", "state.json", "manifest.json"


@final
@attrs.frozen(eq=False)
class Checkpoint:
    """What one update left behind, verified."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]

    @property
    def kept(self) -> dict[str, Tensor]:
        """What the strategy had learned itself."""
        return {name.removeprefix(_KEPT): tensor for name, tensor in self.tensors.items() if name.startswith(_KEPT)}

    def restore(
        self, parameters: Sequence[nn.Parameter], average: list[Tensor], optimizer: torch.optim.Optimizer
    ) -> tuple[int, float, list[dict[str, float]]]:
        """Write weights, average and optimizer state in place; return step, seconds and history."""
        self._admit(parameters, average)
        with torch.no_grad():
            for index, (parameter, mean) in enumerate(zip(parameters, average, strict=True)):
                parameter.copy_(self.tensors[f"weight.{index}"])
                mean.copy_(self.tensors[f"average.{index}"])
        saved: dict[int, dict[str, Any]] = {}
        for name, tensor in self.tensors.items():
            kind, index_text, *key = name.split(".")
            if kind == "optimizer":
                saved.setdefault(int(index_text), {})[key[0]] = tensor
        for index_text, entries in self.state.get("plain", {}).items():
            saved.setdefault(int(index_text), {}).update(entries)
        if saved:
            groups = optimizer.state_dict()["param_groups"]
            groups = [{**now, **then} for now, then in zip(groups, self.state.get("groups", [{}] * len(groups)), strict=True)]
            optimizer.load_state_dict({"state": saved, "param_groups": groups})
        return int(self.state["step"]), float(self.state["seconds"]), list(self.state["history"])

    def _admit(self, parameters: Sequence[nn.Parameter], average: Sequence[Tensor]) -> None:
        """Refuse what is not of these weights, before any of them is written."""
        wanted = {f"weight.{i}": p for i, p in enumerate(parameters)} | {f"average.{i}": a for i, a in enumerate(average)}
        kinds = {name: (tensor.shape, tensor.dtype) for name, tensor in self.tensors.items()}
        strange = [name for name, like in wanted.items() if kinds.get(name) != (like.shape, like.dtype)]
        for name in kinds.keys() - wanted.keys():
            found = re.fullmatch(r"optimizer\.(\d+)\.\w+", name)
            if not (name.startswith(_KEPT) or (found is not None and int(found[1]) < len(parameters))):
                strange.append(name)
        if strange:
            shape, kind = kinds.get(strange[0], ("nothing", "no type"))
            raise InputError(
                "a checkpoint of these weights is needed",
                got=f"{strange[0]} of {list(shape) if kind != 'no type' else shape} in {str(kind).removeprefix('torch.')}",
                why="it was written by something else",
                hint="another out=, or the version of pirf that began the run",
            )


def save(
    out: Path,
    identity: str,
    step: int,
    seconds: float,
    parameters: Sequence[nn.Parameter],
    average: Sequence[Tensor],
    optimizer: torch.optim.Optimizer,
    history: list[dict[str, float]],
    kept: Mapping[str, Tensor] | None = None,
) -> Path:
    """Write the checkpoint of ``step`` under ``out`` and drop all but the last two; one that is there and whole stays."""
    place, partial = out / f"{_PREFIX}{step:09d}", out / f".partial-{os.getpid()}"
    if place.exists() and not _damage(place):
        _keep_two(out, place)
        return place
    tensors = {f"weight.{i}": p.detach() for i, p in enumerate(parameters)}
    tensors |= {f"average.{i}": a for i, a in enumerate(average)}
    progress = optimizer.state_dict()
    plain: dict[str, dict[str, Any]] = {}
    for index, entries in progress["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entries.items() if isinstance(value, Tensor)}
        plain[str(index)] = {key: value for key, value in entries.items() if not isinstance(value, Tensor)}
    groups = [{key: value for key, value in group.items() if isinstance(value, _PLAIN)} for group in progress["param_groups"]]
    beside = [(key, value) for entries in plain.values() for key, value in entries.items()]
    if strange := [key for key, value in beside if not isinstance(value, _PLAIN)]:
        raise InputError(
            "an optimizer whose state is tensors and numbers is needed",
            got=f"{strange[0]}, which is neither",
            why="a checkpoint holds nothing else",
            hint="torch.optim.Adam, pirf.Muon, or no out=",
        )
    tensors |= {_KEPT + name: tensor.detach() for name, tensor in (kept or {}).items()}
    out.mkdir(parents=True, exist_ok=True)
    for left_over in out.glob(".partial-*"):  # of a process that was killed
        shutil.rmtree(left_over, ignore_errors=True)
    try:
        partial.mkdir()
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / _TENSORS)
        state = {"identity": identity, "step": step, "seconds": seconds, "plain": plain, "groups": groups, "history": history}
        (partial / _STATE).write_text(json.dumps(state))
        (partial / _MANIFEST).write_text(json.dumps({name: file_digest(partial / name) for name in (_TENSORS, _STATE)}))
        for path in (*partial.iterdir(), partial):
            _sync(path)
        shutil.rmtree(place, ignore_errors=True)  # a damaged one
        partial.rename(place)
        _sync(out)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(" ".join(str(error).split())) from error
    _keep_two(out, place)
    return place


def _keep_two(out: Path, place: Path) -> None:
    """Drop all but ``place`` and the one before it, each at once or not at all; a newer one is damaged."""
    found = sorted(out.glob(f"{_PREFIX}*"))
    for old in (*[f for f in found if f < place][:-1], *[f for f in found if f > place]):
        old.rename(out / f".partial-{old.name}")
    for left_over in out.glob(".partial-*"):
        shutil.rmtree(left_over, ignore_errors=True)


def admit(out: Path) -> None:
    """Refuse a folder that no checkpoint could be written to, before anything is computed."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        (trial := out / f".partial-{os.getpid()}").mkdir(exist_ok=True)
        trial.rmdir()
    except OSError as error:
        raise InputError(
            "a folder that can be written to is needed for checkpoints",
            got=str(out),
            why=error.strerror or str(error),
            hint="another out=",
        ) from error


def latest(out: Path, identity: str) -> Checkpoint | None:
    """The newest readable checkpoint under ``out``, or None; refused when it belongs to another call."""
    for folder in sorted(out.glob(f"{_PREFIX}*"), reverse=True):
        if damage := _damage(folder):
            _log.warning("checkpoint %s is unreadable (%s); the one before it is used", folder, damage)
            continue
        state = json.loads((folder / _STATE).read_text())
        if state["identity"] != identity:
            raise InputError(
                f"{out} holds a checkpoint of another run",
                got=" against ".join(_apart(identity, state["identity"])),
                why="resuming it with other settings would mix two experiments",
                hint="another out=, or the settings of the first call",
            )
        return Checkpoint(load_file(folder / _TENSORS), state)
    return None


def _apart(one: str, other: str, most: int = 160) -> list[str]:
    """Both from the setting on in which they first differ."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    begin = one.rfind(", ", 0, same) + 1
    return [f"{'…' if begin else ''}{text[begin : begin + most]}…" for text in (one, other)]


def _damage(folder: Path) -> str:
    """What is wrong with a checkpoint, in a few words; nothing, if it is whole."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text())
        differ = [name for name in (_TENSORS, _STATE) if manifest[name] != file_digest(folder / name)]
        if differ:
            return f"{', '.join(differ)} differ(s) from the manifest"
        state = json.loads((folder / _STATE).read_text())
        if folder.name != f"{_PREFIX}{state['step']:09d}" or not isinstance(state["identity"], str):
            return f"it is that of update {state['step']}"
        numbers = [state["seconds"], *(record["step"] for record in state["history"])]
        if not (isinstance(state["history"], list) and all(isinstance(n, int | float) and 0 <= n < math.inf for n in numbers)):
            return "its seconds or its history are no numbers"
        with safe_open(folder / _TENSORS, "pt"):
            return ""
    except (OSError, KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        return " ".join(f"{type(error).__name__}: {error}".split())


def fingerprint(module: nn.Module) -> str:
    """A hash of what a module is and holds: where a run started from is part of its identity."""
    digest = hashlib.sha256(repr(module).encode())
    for part in module.modules():
        if isinstance(part, Denoiser):  # the same weights in other units are another model
            told = (part.shape, part.scaling, *(getattr(part, name, None) for name in ("sigma_data", "config")))
            digest.update(repr(told).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def names_of(module: nn.Module, parameters: Sequence[nn.Parameter]) -> list[str]:
    """What the module calls them."""
    names = {id(p): name for name, p in module.named_parameters()}
    return [names.get(id(p), f"tensor {i}") for i, p in enumerate(parameters)]


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
