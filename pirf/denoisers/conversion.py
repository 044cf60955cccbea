"""Models that other libraries have written, as models of this one.

:func:`convert` writes what :func:`pirf.load` reads, from an EDM checkpoint (those of DiffusionPDE among them).
:func:`from_diffusers` wraps a ``UNet2DModel``, whose code stays with its library.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from pirf.denoisers.checkpoints import Record, printable, read_checkpoint
from pirf.denoisers.edm_import import edm_unet
from pirf.denoisers.paths import DiscreteVP
from pirf.denoisers.prediction import Clean, Epsilon, Prediction, Target, V
from pirf.denoisers.storage import save
from pirf.errors import InputError
from pirf.scaling import Scaling

__all__ = ["convert", "from_diffusers"]

_ENTRIES = ("ema", "net")
"""Where a training's snapshot keeps its network, the average of its weights first."""


def convert(
    path: str | Path,
    out: str | Path,
    *,
    scaling: Scaling | None = None,
    channels: Sequence[str] = (),
    memory: float = 2.0,
    seconds: float = 10.0,
) -> Path:
    """Write an EDM checkpoint (``.pkl``, ``.pt``) as a folder that :func:`pirf.load` reads; the folder.

    ``scaling`` brings the units in which it was trained to physical ones, ``channels`` are names for the card; ``memory`` (GiB)
    and ``seconds`` limit the process that reads the file, none of whose code is run.
    """
    path = Path(path)
    if (path / "config.json").is_file():
        raise InputError(
            "a checkpoint whose network is a UNet of this package is needed",
            got=f"the diffusers folder {path.name}",
            why="its network is code of diffusers, which a folder of pirf.save cannot hold",
            hint="pirf.from_diffusers(folder), each time",
        )
    entry, network = _network(read_checkpoint(path, memory=memory, seconds=seconds), path)
    model, ignored = edm_unet(network, scaling)
    if channels and len(channels) != model.shape[0]:
        raise InputError(
            f"{model.shape[0]} names of channels are needed",
            got=tuple(channels),
            why="each channel has one",
            hint="channels=()",
        )
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    model.card = {
        "from": {"file": path.name, "sha256": digest, "entry": entry, "class": network.kind, "code_sha256": network.code},
        "channels": list(channels),
        "ignored": dict.fromkeys(ignored, "a map of training's augmentations, which an evaluation does not have"),
        "parameters": sum(p.numel() for p in model.parameters()),
    }
    return save(model, out)


def _network(content: Any, path: Path) -> tuple[str, Record]:
    """The network among what a file holds, and the name of its entry."""
    found = {"": content} if isinstance(content, Record) else content if isinstance(content, dict) else {}
    for entry in ("", *_ENTRIES):
        network = found.get(entry)
        if isinstance(network, Record):
            return entry, network
    raise InputError(
        f"an EDM network is needed from {path.name}, as the file's content or its entry {' or '.join(_ENTRIES)}",
        got=printable(", ".join(str(name) for name in list(found)[:5])) or type(content).__name__,
        why="the architecture is read from the object, and tensors alone do not say it",
        hint="the training's network-snapshot-….pkl, or load_state_dict of a UNet, with pirf.denoisers.edm_import.edm_names",
    )


def from_diffusers(folder: str | Path, scaling: Scaling | None = None) -> Prediction:
    """A ``UNet2DModel`` of diffusers with the noise it was trained under; ``diffusers`` must be installed.

    The folder holds ``config.json`` and ``diffusion_pytorch_model.safetensors``, and ``scheduler_config.json`` in it or in
    ``scheduler`` beside it.  Nothing is fetched, and no pickle is read.
    """
    folder = Path(folder)
    config = _json(folder / "config.json")
    if config.get("_class_name") != "UNet2DModel" or config.get("class_embed_type") or config.get("num_class_embeds"):
        kind = str(config.get("_class_name"))
        raise _no_folder(
            folder, f"a {kind}{' with classes' if kind == 'UNet2DModel' else ''}", "other networks take other inputs"
        )
    sides = config.get("sample_size")
    height, width = sides if isinstance(sides, list) and len(sides) == 2 else (sides, sides)
    shape = (config.get("in_channels"), height, width)
    if config.get("out_channels") != shape[0] or not all(isinstance(n, int) and n > 0 for n in shape):
        raise _no_folder(
            folder, f"{shape[0]} to {config.get('out_channels')} channels on {sides}", "a prediction is like its state"
        )
    beside = folder.parent / "scheduler" / "scheduler_config.json"
    scheduler = _json(beside if beside.is_file() else folder / "scheduler_config.json")
    path, target = _noise(scheduler, folder)
    network = _unet2d(folder, config)
    return Prediction(network.eval(), [int(n or 0) for n in shape], path, target, scaling)


def _unet2d(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    try:
        diffusers = importlib.import_module("diffusers")
    except ImportError as error:
        raise InputError(
            "diffusers is needed for a UNet2DModel",
            got="no such package",
            why="the network is code of that library",
            hint="pip install diffusers",
        ) from error
    try:
        with torch.random.fork_rng(devices=()):  # the weights that it draws are replaced at once
            network: nn.Module = diffusers.UNet2DModel.from_config(dict(config))
        network.load_state_dict(load_file(folder / "diffusion_pytorch_model.safetensors"))
    except (OSError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
        raise _no_folder(folder, "weights that do not load", " ".join(str(error).split())[:160]) from error
    return network


def _noise(config: Mapping[str, Any], folder: Path) -> tuple[DiscreteVP, Target]:
    """What the scheduler's settings say of the training: its steps, and what is predicted."""
    targets = {"epsilon": Epsilon(), "v_prediction": V(), "sample": Clean()}
    kind, law = config.get("prediction_type", "epsilon"), config.get("beta_schedule", "linear")
    steps, first, last = config.get("num_train_timesteps", 1000), config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    if kind not in targets or type(steps) is not int or not 1 < steps <= 100_000:
        raise _no_folder(folder, f"prediction_type={kind!r} in {steps!r} steps", "no target and path stand for it")
    if config.get("rescale_betas_zero_snr"):
        raise _no_folder(folder, "rescale_betas_zero_snr", "its last step holds no signal, and so has no level that is finite")
    if (betas := config.get("trained_betas")) is None:
        if law == "linear":
            betas = torch.linspace(first, last, steps, dtype=torch.float64)
        elif law == "scaled_linear":
            betas = torch.linspace(math.sqrt(first), math.sqrt(last), steps, dtype=torch.float64) ** 2
        elif law == "squaredcos_cap_v2":
            kept = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
            betas = [min(1 - after / before, 0.999) for before, after in pairwise(kept)]
        else:
            raise _no_folder(folder, f"beta_schedule={law!r}", "only linear, scaled_linear and squaredcos_cap_v2 are known")
    return DiscreteVP.from_betas(betas), targets[kind]


def _json(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _no_folder(path.parent, f"no readable {path.name}", " ".join(str(error).split())[:160]) from error
    if not isinstance(config, dict):
        raise _no_folder(path.parent, f"a {path.name} that is no object", "it holds the settings by name")
    return config


def _no_folder(folder: Path, found: str, why: str) -> InputError:
    return InputError(
        f"a diffusers folder of an unconditional UNet2DModel is needed at {str(folder)!r}",
        got=found,
        why=why,
        hint="pirf.Prediction around the network, with its path and its target",
    )
