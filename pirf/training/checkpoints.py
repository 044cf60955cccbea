r"""Checkpoints that are whole or absent: temporary directory, fsync, rename, SHA-256 manifest, the last two kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

import attrs
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pirf.errors import InputError

__all__ = ["Checkpoint", "fingerprint", "latest", "save"]

_log = logging.getLogger(__name__)
_KEPT = "kept."
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
        with torch.no_grad():
            for index, (parameter, mean) in enumerate(zip(parameters, average, strict=True)):
                parameter.copy_(self.tensors[f"weight.{index}"])
                mean.copy_(self.tensors[f"average.{index}"])
        saved: dict[int, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            kind, index_text, *key = name.split(".")
            if kind == "optimizer":
                saved.setdefault(int(index_text), {})[key[0]] = tensor
        if saved:
            optimizer.load_state_dict({"state": saved, "param_groups": optimizer.state_dict()["param_groups"]})
        return int(self.state["step"]), float(self.state["seconds"]), list(self.state["history"])


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
    """Write the checkpoint of ``step`` under ``out`` and drop all but the last two."""
    tensors = {f"weight.{i}": p.detach() for i, p in enumerate(parameters)}
    tensors |= {f"average.{i}": a for i, a in enumerate(average)}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entries.items()}
    tensors |= {_KEPT + name: tensor.detach() for name, tensor in (kept or {}).items()}
    out.mkdir(parents=True, exist_ok=True)
    final, partial = out / f"{_PREFIX}{step:09d}", out / f".partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / _TENSORS)
    state = {"identity": identity, "step": step, "seconds": seconds, "history": history}
    (partial / _STATE).write_text(json.dumps(state))
    (partial / _MANIFEST).write_text(json.dumps({name: _digest(partial / name) for name in (_TENSORS, _STATE)}))
    for path in (*partial.iterdir(), partial):
        _sync(path)
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    _sync(out)
    for old in sorted(out.glob(f"{_PREFIX}*"))[:-2]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def latest(out: Path, identity: str) -> Checkpoint | None:
    """The newest readable checkpoint under ``out``, or None; refused when it belongs to another call."""
    for folder in sorted(out.glob(f"{_PREFIX}*"), reverse=True):
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
            damaged = [name for name in (_TENSORS, _STATE) if manifest[name] != _digest(folder / name)]
            if damaged:
                raise OSError(f"{', '.join(damaged)} differ(s) from the manifest")
            state = json.loads((folder / _STATE).read_text())
            tensors = load_file(folder / _TENSORS)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            _log.warning("checkpoint %s is unreadable (%s); the one before it is used", folder, error)
            continue
        if state["identity"] != identity:
            raise InputError(
                f"{out} holds a checkpoint of another run",
                got=f"{identity[:160]}… against {state['identity'][:160]}…",
                why="resuming it with other settings would mix two experiments",
                hint="another out=, or the settings of the first call",
            )
        return Checkpoint(tensors, state)
    return None


def fingerprint(module: nn.Module) -> str:
    """A hash of what a module is and holds: where a run started from is part of its identity."""
    digest = hashlib.sha256(repr(module).encode())
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
