"""EDM's DDPM++ networks (``SongUNet`` in ``EDMPrecond``; Song et al. 2021, Karras et al. 2022) as a :class:`~pirf.UNet`.

The two are one function under two sets of names.  With r the resolution of level l of 0 … L:

==========================================  =========================================================
there                                       here
==========================================  =========================================================
``map_layer0``, ``map_layer1``              ``embedding.linear0``, ``embedding.linear1``
``enc.{r0}x{r0}_conv``                      ``stem``
``enc.{r}x{r}_down``, ``…_block{i}``        the blocks of ``down.{l}``, in this order
``dec.{r}x{r}_in0``, ``…_in1``              the first blocks of the first ``up``
``dec.{r}x{r}_up``, ``…_block{i}``          the blocks of ``up.{L - l}``, in this order
``dec.{r0}x{r0}_aux_norm``, ``…_aux_conv``  ``out_norm``, ``out``
``norm2``, ``qkv``, ``proj``                ``attention.norm``, ``attention.qkv``, ``attention.proj``
==========================================  =========================================================

The architecture is what the checkpoint says of itself.  Every tensor is used once: what is left over, missing, or not of the
shape that the architecture has there, is refused by its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pirf.denoisers.checkpoints import Record, printable
from pirf.denoisers.unet import UNet
from pirf.errors import InputError
from pirf.scaling import Scaling

__all__ = ["edm_names", "edm_unet"]

_FIXED: Mapping[str, Any] = {
    "label_dim": 0, "channel_mult_emb": 4, "embedding_type": "positional", "channel_mult_noise": 1,
    "encoder_type": "standard", "decoder_type": "standard", "resample_filter": [1, 1],
}  # fmt: skip
"""What the layout leaves open and DDPM++ does not; a checkpoint that says nothing means these."""

_OPTIONS: Mapping[str, tuple[str, Any]] = {
    "model_channels": ("channels", 128),
    "channel_mult": ("multipliers", [1, 2, 2, 2]),
    "num_blocks": ("blocks", 4),
    "attn_resolutions": ("attention", [16]),
    "dropout": ("dropout", 0.1),
    "sigma_data": ("sigma_data", 0.5),
}
"""Its options, ours, and what it means by saying nothing."""

_UNREAD = {"augment_dim", "label_dropout", "use_fp16", "sigma_min", "sigma_max", "model_type"}
"""What has no part in an evaluation without augmentation and labels, in the precision of the weights."""

_RESAMPLING = re.compile(r"model\.(enc|dec)\.\d+x\d+_(down|up)\.(conv0|skip)\.resample_filter")
"""Where blocks that change the resolution keep their filter, which is a part of the architecture here."""

_LARGEST, _MOST_BLOCKS = 4096, 64
"""Of any whole number in an architecture: more is damage."""

_UNUSED = "map_augment.weight"
"""The map of training's augmentations: an evaluation tells it none, and adds nothing."""


def edm_unet(network: Record, scaling: Scaling | None = None) -> tuple[UNet, tuple[str, ...]]:
    """The network of a checkpoint, in evaluation mode, and the names of its tensors that no evaluation reads."""
    shape, options = _architecture(network)
    with torch.device("meta"):  # what the checkpoint says costs nothing until its tensors have the same shapes
        expected = UNet(shape, scaling, **options)
    theirs = dict(network.tensors())
    ignored = tuple(name for name in theirs if name == f"model.{_UNUSED}")
    boxes = {name for name, tensor in theirs.items() if _RESAMPLING.fullmatch(name) and _is_box(tensor)}
    names = {ours: f"model.{name}" for ours, name in edm_names(expected).items()}
    wrong = sorted((theirs.keys() - boxes - set(ignored)) ^ set(names.values()))
    wrong = wrong or [
        names[ours] for ours, tensor in expected.state_dict().items() if theirs[names[ours]].shape != tensor.shape
    ]
    if wrong:
        found = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        raise _refused(found, "these tensors are missing, left over, or of another shape than the checkpoint says they have")
    model = UNet(shape, scaling, **options)
    model.load_state_dict({ours: theirs[name] for ours, name in names.items()})
    return model.eval(), ignored


def edm_names(model: UNet) -> dict[str, str]:
    """Of every weight of a UNet its name in a ``SongUNet``."""
    sides = [model.shape[1] >> level for level in range(len(model.down))]
    modules = {"embedding.linear0": "map_layer0", "embedding.linear1": "map_layer1", "stem": f"enc.{sides[0]}x{sides[0]}_conv"}
    modules |= {"out_norm": f"dec.{sides[0]}x{sides[0]}_aux_norm", "out": f"dec.{sides[0]}x{sides[0]}_aux_conv"}
    blocks = [f"block{i}" for i in range(model.config["blocks"] + 1)]
    for level, side in enumerate(sides):
        down = [*(["down"] if level else []), *blocks[:-1]]
        up = [*(["in0", "in1"] if level == len(sides) - 1 else ["up"]), *blocks]
        modules |= {f"down.{level}.{i}": f"enc.{side}x{side}_{name}" for i, name in enumerate(down)}
        modules |= {f"up.{len(sides) - 1 - level}.{i}": f"dec.{side}x{side}_{name}" for i, name in enumerate(up)}
    parts = sorted(modules, key=len, reverse=True)
    names = {}
    for ours in model.state_dict():
        here = next(part for part in parts if ours.startswith(f"{part}."))
        rest = ours.removeprefix(here).replace(".attention.norm.", ".norm2.").replace(".attention.", ".")
        names[ours] = modules[here] + rest
    return names


def _architecture(network: Record) -> tuple[tuple[int, int, int], dict[str, Any]]:
    """Shape and options of the UNet, from what the two objects of the checkpoint were made with."""
    inner = network.part("_modules").get("model")
    if network.kind != "EDMPrecond" or not isinstance(inner, Record) or inner.kind != "SongUNet":
        found = network.kind + (f" around {inner.kind}" if isinstance(inner, Record) else "")
        raise _refused(found, "other preconditionings and architectures compute other functions")
    told = {name: _listed(value) for name, value in (*network.arguments.items(), *inner.arguments.items())}
    fields = [told.pop(name) for name in ("img_channels", "in_channels", "out_channels") if name in told] or [None]
    side = told.pop("img_resolution", None)
    options = {ours: told.pop(theirs, default) for theirs, (ours, default) in _OPTIONS.items()}
    fixed = {name: told.pop(name, value) for name, value in _FIXED.items()}
    other = [f"{name}={value!r}" for name, value in fixed.items() if value != _FIXED[name]]
    if other := [*other, *(str(name) for name in told if name not in _UNREAD)]:
        raise _refused(", ".join(other)[:160], "a UNet has no such part, and without it the function would be another one")
    lists = [options["multipliers"], options["attention"]]
    plain = all(isinstance(entry, list) and len(entry) < 16 for entry in lists) and bool(lists[0])
    plain &= all(isinstance(options[name], int | float) for name in ("dropout", "sigma_data"))
    plain = plain and 0 <= options["dropout"] < 1 and 0 < options["sigma_data"] < _LARGEST
    whole = [*fields, side, options["channels"], options["blocks"], *(lists[0] + lists[1] if plain else [None])]
    whole_numbers = all(type(n) is int and 0 < n <= _LARGEST for n in whole)
    if not whole_numbers or options["blocks"] > _MOST_BLOCKS or any(n != fields[0] for n in fields):
        raise _refused(f"{fields} channels at {side}, {options}"[:160], "there is no such network")
    return (fields[0], side, side), {**options, "norm": True}


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _is_box(tensor: Tensor) -> bool:
    """Whether the filter of a resampling is the average of 2×2."""
    return tensor.shape == (1, 1, 2, 2) and bool((tensor == 0.25).all())


def _refused(found: str, why: str) -> InputError:
    return InputError(
        "a DDPM++ network of EDM is needed (SongUNet in EDMPrecond)",
        got=printable(found),
        why=why,
        hint="pirf.Prediction around the network's own code",
    )
