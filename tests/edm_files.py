"""Checkpoints in the layout of EDM, written with stand-ins for its classes that exist only while a file is written."""

import pickle
import sys
import types
from contextlib import contextmanager

import torch
from torch import nn

SOURCE = "raise SystemExit('the source of a checkpoint was run')\n"


def _reconstruct_persistent_obj(meta):
    raise RuntimeError("the checkpoint's own reader was called")


_reconstruct_persistent_obj.__module__ = "torch_utils.persistence"


class Persistent(nn.Module):
    """What EDM's decorator makes of a module: it is written as its class's name and source, its arguments and its state."""

    name = "Module"

    def __init__(self, name, kwargs=None):
        super().__init__()
        self.name = name
        self._init_args, self._init_kwargs = (), dict(kwargs or {})

    def __reduce__(self):
        state = {key: value for key, value in self.__dict__.items() if key != "name"}
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.name, "state": state}
        return _reconstruct_persistent_obj, (meta,)


@contextmanager
def stand_ins():
    """Modules of these names, for as long as a file is written."""
    package, persistence = types.ModuleType("torch_utils"), types.ModuleType("torch_utils.persistence")
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj
    package.persistence = persistence
    sys.modules |= {"torch_utils": package, "torch_utils.persistence": persistence}
    try:
        yield
    finally:
        del sys.modules["torch_utils"], sys.modules["torch_utils.persistence"]


def layer(name, **tensors):
    module = Persistent(name)
    for key, (shape, kind) in tensors.items():
        module.register_parameter(key, nn.Parameter(torch.empty(shape))) if kind else module.register_buffer(
            key, torch.full(shape, 0.25)
        )
    return module


def conv(inputs, outputs, kernel, resampled=False):
    parts = {"weight": ((outputs, inputs, kernel, kernel), True), "bias": ((outputs,), True)}
    return layer("Conv2d", **parts, **({"resample_filter": ((1, 1, 2, 2), False)} if resampled else {}))


def linear(inputs, outputs, bias=True):
    return layer("Linear", weight=((outputs, inputs), True), **({"bias": ((outputs,), True)} if bias else {}))


def norm(channels):
    return layer("GroupNorm", weight=((channels,), True), bias=((channels,), True))


def block(inputs, outputs, embedding, resampled=False, attention=False):
    module = Persistent("UNetBlock")
    module.norm0, module.norm1 = norm(inputs), norm(outputs)
    module.conv0, module.conv1 = conv(inputs, outputs, 3, resampled), conv(outputs, outputs, 3)
    module.affine = linear(embedding, outputs)
    module.skip = conv(inputs, outputs, 1, resampled) if resampled or inputs != outputs else None
    if attention:
        module.norm2, module.qkv, module.proj = norm(outputs), conv(outputs, 3 * outputs, 1), conv(outputs, outputs, 1)
    return module


SMALL = {
    "model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [8], "dropout": 0.13, "augment_dim": 9
}  # fmt: skip


def precond(side=8, fields=2, seed=0, dtype=torch.float32, **kwargs):
    """An ``EDMPrecond`` around a ``SongUNet``, its weights random, built from the description of the architecture."""
    kwargs = {**SMALL, **kwargs}
    channels, multipliers = kwargs["model_channels"], kwargs["channel_mult"]
    blocks, attends, embedding = kwargs["num_blocks"], kwargs["attn_resolutions"], 4 * channels
    inner = Persistent(
        "SongUNet", {"img_resolution": side, "in_channels": fields, "out_channels": fields, "label_dim": 0, **kwargs}
    )
    inner.map_layer0, inner.map_layer1 = linear(channels, embedding), linear(embedding, embedding)
    if kwargs["augment_dim"]:
        inner.map_augment = linear(kwargs["augment_dim"], channels, bias=False)
    encoder, decoder, widths, width = nn.ModuleDict(), nn.ModuleDict(), [channels], channels
    encoder[f"{side}x{side}_conv"] = conv(fields, channels, 3)
    for level, multiplier in enumerate(multipliers):
        here = side >> level
        if level:
            encoder[f"{here}x{here}_down"] = block(width, width, embedding, resampled=True)
            widths.append(width)
        for i in range(blocks):
            encoder[f"{here}x{here}_block{i}"] = block(width, channels * multiplier, embedding, attention=here in attends)
            width = channels * multiplier
            widths.append(width)
    for level, multiplier in reversed(list(enumerate(multipliers))):
        here = side >> level
        if level == len(multipliers) - 1:
            decoder[f"{here}x{here}_in0"] = block(width, width, embedding, attention=True)
            decoder[f"{here}x{here}_in1"] = block(width, width, embedding)
        else:
            decoder[f"{here}x{here}_up"] = block(width, width, embedding, resampled=True)
        for i in range(blocks + 1):
            attention = i == blocks and here in attends
            decoder[f"{here}x{here}_block{i}"] = block(
                width + widths.pop(), channels * multiplier, embedding, attention=attention
            )
            width = channels * multiplier
    decoder[f"{side}x{side}_aux_norm"], decoder[f"{side}x{side}_aux_conv"] = norm(width), conv(width, fields, 3)
    inner.enc, inner.dec = encoder, decoder
    outer = Persistent("EDMPrecond", {"img_resolution": side, "img_channels": fields, "model_type": "SongUNet", **kwargs})
    outer.model = inner
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in outer.parameters():
            fan = max(1, parameter[0].numel()) if parameter.ndim > 1 else 4
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / fan**0.5)
    return outer.to(dtype)


def write(path, content, protocol=4):
    """The pickle of a training's snapshot."""
    with stand_ins(), open(path, "wb") as file:
        pickle.dump(content, file, protocol=protocol)
    return path
