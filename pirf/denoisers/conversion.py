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

from pirf.denoisers import paths
from pirf.denoisers.checkpoints import Record, printable, read_checkpoint
from pirf.denoisers.edm_import import edm_unet
from pirf.denoisers.prediction import Clean, Epsilon, Prediction, Target, V, Velocity
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
        **({"fields": {"channels": list(channels)}} if channels else {}),
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
    """A ``UNet2DModel`` of diffusers with the noise it was trained under, DDPM's or a flow's; ``diffusers`` must be installed.

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
    path, target, time_scale = _noise(scheduler, folder)
    network = _unet2d(folder, config)
    return Prediction(network.eval(), [int(n or 0) for n in shape], path, target, scaling, time_scale=time_scale)


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


def _noise(config: Mapping[str, Any], folder: Path) -> tuple[paths.Path, Target, float]:
    """What the scheduler's settings say of the training: its path, what is predicted, and the unit of time."""
    kind, steps = config.get("prediction_type", "epsilon"), config.get("num_train_timesteps", 1000)
    flow = str(config.get("_class_name")).startswith("FlowMatch")
    targets = {"flow": Velocity()} if flow else {"epsilon": Epsilon(), "v_prediction": V(), "sample": Clean()}
    target = targets.get("flow" if flow else kind)
    if target is None or type(steps) is not int or not 1 < steps <= 100_000:
        raise _no_folder(folder, f"prediction_type={kind!r} in {steps!r} steps", "no target and path stand for it")
    for setting, usual in (("invert_sigmas", False), ("timestep_type", "discrete")):
        if (found := config.get(setting, usual)) != usual:
            raise _no_folder(folder, f"{setting}={found!r}", "the network was told the time in another way")
    if flow:  # its shift says which levels a sampler visits, not what the network is
        return paths.LinearPath(), target, float(steps)
    if config.get("rescale_betas_zero_snr"):
        raise _no_folder(folder, "rescale_betas_zero_snr", "its last step holds no signal, and so has no level that is finite")
    try:
        return paths.DiscreteVP.from_betas(_betas(config, steps, folder)), target, 1.0
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise _no_folder(folder, "betas that are no numbers", " ".join(str(error).split())[:160]) from error


def _betas(config: Mapping[str, Any], steps: int, folder: Path) -> Any:
    """1 − ᾱ_t/ᾱ_{t−1} of every step."""
    law, first, last = config.get("beta_schedule"), config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    if (given := config.get("trained_betas")) is not None:
        return given
    if law == "linear":
        return torch.linspace(first, last, steps, dtype=torch.float64)
    if law == "scaled_linear":
        return torch.linspace(math.sqrt(first), math.sqrt(last), steps, dtype=torch.float64) ** 2
    if law == "squaredcos_cap_v2":
        kept = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
        return [min(1 - after / before, 0.999) for before, after in pairwise(kept)]
    raise _no_folder(folder, f"beta_schedule={law!r}", "only linear, scaled_linear and squaredcos_cap_v2 are known")


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
