r"""A U-Net in named stages, of which EDM's DDPM++ layout is one configuration.

Stages, in order: ``down0 … downL`` (full to lowest resolution), ``upL … up0``.  "The last stage" is ``up0``: the
upsampling into the full resolution, its residual blocks, the output norm and the output convolution, whatever the
resolution is.  The noise embedding belongs to ``down0``, and so do the maps of what the network is told
(:mod:`pirf.denoisers.conditions`).

``UNet.ddpmpp`` names the configuration of the released 128² models (54 M parameters).  The default is for a CPU: narrow,
and as deep as the grid allows, because a solution answers globally and each coarser level carries twice as far; plain
resampling (2×2 average, nearest neighbour), which keeps bfloat16 fast as well; and no norms, because PDEs map amplitudes
and a group norm hides them.  At 32² that is 0.57 M parameters.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pirf.denoisers.base import Denoiser, lay_out
from pirf.denoisers.conditions import Input, Told
from pirf.denoisers.dropout import KeyedDropout, number
from pirf.denoisers.edm import Preconditioned
from pirf.errors import InputError
from pirf.scaling import Scaling
from pirf.tensors import Condition

__all__ = ["UNet", "conditioned"]


def _init(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Conv2d | nn.Linear:
    """Xavier-uniform weights times ``gain``, zero bias."""
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _conv(inputs: int, outputs: int, kernel: int, gain: float = 1.0) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
    _init(layer, gain)
    return layer


class _GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``, with the affine map apart where the input carries no gradient.

    torch 2.13 crashes in the backward pass of a group norm on channels-last input when only weight and bias need a gradient:
    exactly what a trunk out of the graph asks for.
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad or not torch.is_grad_enabled():
            return super().forward(x)
        column = (-1, *[1] * (x.ndim - 2))
        plain = F.group_norm(x, self.num_groups, eps=self.eps)
        return torch.addcmul(self.bias.reshape(column), plain, self.weight.reshape(column))


def _norm(channels: int, groups: bool = True) -> nn.Module:
    if not groups:
        return nn.Identity()
    count = next(g for g in range(max(1, min(32, channels // 4)), 0, -1) if channels % g == 0)
    return _GroupNorm(count, channels, eps=1e-6)


def _activated(norm: nn.Module, x: Tensor) -> Tensor:
    """SiLU ∘ norm; where no graph is recorded, in the norm's own memory."""
    h: Tensor = norm(x)
    return F.silu(h, inplace=h is not x and not torch.is_grad_enabled())


class _Resample(nn.Module):
    """Change of resolution by a factor of two: ``-1`` average pooling, ``+1`` nearest neighbour, ``0`` nothing."""

    def __init__(self, direction: int) -> None:
        super().__init__()
        self.direction = direction

    def forward(self, x: Tensor) -> Tensor:
        if self.direction < 0:
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2, mode="nearest") if self.direction > 0 else x


class _Attention(nn.Module):
    """Self-attention over the points of the grid, one head, residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.qkv = _conv(channels, 3 * channels, 1, gain=math.sqrt(0.2))
        self.proj = _conv(channels, channels, 1, gain=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        # q, k and v are interleaved per channel: the order in which released checkpoints store them.
        # Contiguous and with an axis for the one head, torch takes its blocked kernel, which stores no (points)² matrix.
        q, k, v = self.qkv(self.norm(x)).unflatten(1, (-1, 3)).flatten(3).permute(2, 0, 3, 1).contiguous().unsqueeze(2)
        mixed = F.scaled_dot_product_attention(q, k, v).squeeze(1)
        update: Tensor = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        return (x + update).mul_(math.sqrt(0.5))


class _Block(nn.Module):
    """Residual block: norm, SiLU, resample, conv, + embedding, norm, SiLU, dropout, conv, skip, ×√½, attention."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        direction: int = 0,
        attention: bool = False,
        dropout: float = 0.0,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.norm0, self.norm1 = _norm(inputs, norm), _norm(outputs, norm)
        self.conv0, self.conv1 = _conv(inputs, outputs, 3), _conv(outputs, outputs, 3, gain=1e-5)
        self.affine = _init(nn.Linear(embedding, outputs))
        self.resample = _Resample(direction)
        self.skip = _conv(inputs, outputs, 1) if direction or inputs != outputs else nn.Identity()
        self.dropout = KeyedDropout(dropout)
        self.attention = _Attention(outputs) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor, told: Tensor | None = None) -> Tensor:
        h = self._conv0(_activated(self.norm0, x), self.affine(embedding))
        if told is not None:  # apart from the embedding, which may be one row for all samples: what is zero then changes no bit
            h = h + F.linear(told, self.affine.weight)[:, :, None, None]
        h = self.conv1(self.dropout(_activated(self.norm1, h)))
        # Nearest neighbours and a map of each point commute: the map is taken where there are fewer points.
        around = self.skip(self.resample(x)) if self.resample.direction < 0 else self.resample(self.skip(x))
        out: Tensor = self.attention((h + around).mul_(math.sqrt(0.5)))
        return out

    def _conv0(self, h: Tensor, shift: Tensor) -> Tensor:
        """Resample, convolve, add ``shift``: as a part of the bias where all samples share their level."""
        weight, bias, shared = self.conv0.weight, cast(Tensor, self.conv0.bias), len(shift) == 1
        bias = bias + shift[0] if shared else bias
        if self.resample.direction > 0:
            # 3×3 on pixels that are doubled is 4×4 between the pixels, each tap the sum of those that meet the same pixel.
            taps = 4 * F.avg_pool2d(weight.flip(2, 3), 2, stride=1, padding=1).transpose(0, 1)
            h = F.conv_transpose2d(h, taps, bias, stride=2, padding=1)
        else:
            h = F.conv2d(self.resample(h), weight, bias, padding=1)
        return h if shared else h + shift[:, :, None, None]


class _Embedding(nn.Module):
    """Sinusoids of c_noise at geometric frequencies, then two linear layers."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        frequencies = (1 / 10000) ** (torch.arange(channels // 2) / max(channels // 2 - 1, 1))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor
        self.linear0, self.linear1 = _init(nn.Linear(channels, width)), _init(nn.Linear(width, width))

    def forward(self, c_noise: Tensor) -> Tensor:
        angles = c_noise.to(self.frequencies.dtype)[:, None] * self.frequencies
        waves = torch.cat([angles.sin(), angles.cos()], 1)
        out: Tensor = F.silu(self.linear1(F.silu(self.linear0(waves))))
        return out


def _as_deep_as_possible(sides: Sequence[int]) -> tuple[int, ...]:
    """(1, 2, 2, …): halve while every side is even and more than two cells."""
    levels = [1]
    while sides and all(n % 2 == 0 and n > 2 for n in sides):
        sides = [n // 2 for n in sides]
        levels.append(2)
    return tuple(levels)


@final
class UNet(Preconditioned):
    """Encoder and decoder with skip connections.

    ``multipliers`` set the width of each level (default: 1, then 2 down to a side of two cells, or to an odd one),
    ``attention`` the heights that attend, ``norm`` a group norm before every nonlinearity (attention has one always).

    ``conditions`` names what the network may be told, ``{"nu": ScalarInput(0.0, 1.0), "a": FieldInput(1)}``; told nothing, it
    is an unconditional network.  While training, a sample's whole condition is dropped with probability ``drop``.
    """

    def __init__(
        self,
        shape: Sequence[int],
        scaling: Scaling | None = None,
        *,
        channels: int = 16,
        multipliers: Sequence[int] | None = None,
        blocks: int = 1,
        attention: Sequence[int] = (4,),
        dropout: float = 0.0,
        norm: bool = False,
        sigma_data: float = 0.5,
        seed: int = 0,
        conditions: Mapping[str, Input] | None = None,
        drop: float = 0.1,
    ) -> None:
        super().__init__(shape, scaling, sigma_data)
        if len(self.shape) != 3:
            raise InputError(
                "a shape (channels, height, width) is needed",
                got=self.shape,
                why="the network convolves fields on a plane",
                hint="fields[:, None] for one channel",
            )
        multipliers = _as_deep_as_possible(self.shape[1:]) if multipliers is None else tuple(multipliers)
        factor = 2 ** (len(multipliers) - 1)
        if any(n % factor for n in self.shape[1:]):
            raise InputError(
                f"a shape (channels, height, width) divisible by {factor} is needed",
                got=self.shape,
                why=f"{len(multipliers)} levels halve the grid {len(multipliers) - 1} times",
                hint="fewer multipliers, or another grid",
            )
        self.config: dict[str, Any] = {
            "channels": channels,
            "multipliers": multipliers,
            "blocks": blocks,
            "attention": tuple(attention),
            "dropout": dropout,
            "norm": norm,
            "sigma_data": sigma_data,
        }
        with torch.random.fork_rng(devices=()):  # initial weights depend on the seed alone and leave the generator alone
            torch.manual_seed(seed)
            self._build(channels, multipliers, blocks, attention, dropout, norm)
            self.told: Told | None = None
            if conditions:
                self._tell(conditions, drop)
        # In float32 the channels-last layout of the weights is the faster one on a CPU; the input follows.
        lay_out(self, torch.channels_last)

    def _build(
        self, channels: int, multipliers: Sequence[int], blocks: int, attention: Sequence[int], dropout: float, norm: bool
    ) -> None:
        fields, height = self.shape[0], self.shape[1]
        widths = [channels * m for m in multipliers]
        levels = range(len(widths))
        width = 4 * channels

        def block(inputs: int, outputs: int, level: int, *, direction: int = 0, attend: bool | None = None) -> _Block:
            here = height >> level in attention if attend is None else attend
            return _Block(inputs, outputs, width, direction=direction, attention=here, dropout=dropout, norm=norm)

        self.embedding = _Embedding(channels, width)
        self.stem = _conv(fields, channels, 3)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, current = [channels], channels
        for level in levels:
            stage = nn.ModuleList()
            if level:
                # Blocks that change the resolution do not attend: the layout of DDPM++.
                stage.append(block(current, current, level, direction=-1, attend=False))
                skips.append(current)
            for _ in range(blocks):
                stage.append(block(current, widths[level], level))
                current = widths[level]
                skips.append(current)
            self.down.append(stage)
        for level in reversed(levels):
            stage = nn.ModuleList()
            if level == levels[-1]:
                stage += [block(current, current, level, attend=True), block(current, current, level, attend=False)]
            else:
                stage.append(block(current, current, level, direction=1, attend=False))
            for i in range(blocks + 1):
                attend = i == blocks and height >> level in attention
                stage.append(block(current + skips.pop(), widths[level], level, attend=attend))
                current = widths[level]
            self.up.append(stage)
        self.out_norm, self.out = _norm(current, norm), _conv(current, fields, 3, gain=1e-5)
        number(self)
        self._entry = [2, *[1] * (len(widths) - 1)]  # blocks of each decoder stage that take no skip

    def _tell(self, conditions: Mapping[str, Input], drop: float) -> None:
        channels = self.config["channels"]
        self.told = Told(conditions, 4 * channels, channels, drop).train(self.training).to(self.like)
        self.config |= {"conditions": dict(conditions), "drop": drop}

    @classmethod
    def ddpmpp(cls, shape: Sequence[int], scaling: Scaling | None = None, dropout: float = 0.1) -> UNet:
        """The released 128² models: 128 channels, multipliers 2, 2, 2, four blocks, attention at 16² and the lowest level."""
        return cls(shape, scaling, channels=128, multipliers=(2, 2, 2), blocks=4, attention=(16,), dropout=dropout, norm=True)

    @property
    def stages(self) -> tuple[str, ...]:
        """``down0 … downL, upL … up0``."""
        depth = len(self.down)
        return (*(f"down{i}" for i in range(depth)), *(f"up{i}" for i in reversed(range(depth))))

    def stage_parameters(self, name: str) -> list[nn.Parameter]:
        """The parameters of one stage; ``down0`` owns the embedding and the stem, ``up0`` the output layers."""
        index = self.stages.index(name)
        depth = len(self.down)
        modules = [self.down[index] if index < depth else self.up[index - depth]]
        if index == 0:
            modules += [self.embedding, self.stem, *([] if self.told is None else [self.told])]
        if index == 2 * depth - 1:
            modules += [self.out_norm, self.out]
        return [p for module in modules for p in module.parameters()]

    def encode(self, x: Tensor, c_noise: Tensor, condition: Condition | None, last: int) -> tuple[Tensor, ...]:
        """Everything before the last ``last`` stages: (embedding, what is told beside it, h, remaining skips…)."""
        embedding, h = self.embedding(c_noise), self.stem(x)
        row, plane = self._asked(condition, x)
        state: tuple[Tensor, ...] = (embedding, embedding.new_zeros(1, 0) if row is None else row)
        h = h if plane is None else h + plane
        state = (*state, h, h)
        for index in range(len(self.stages) - last):
            state = self._stage(index, state)
        return state

    def decode(self, features: tuple[Tensor, ...], last: int) -> Tensor:
        """The last ``last`` stages, norm and output convolution."""
        for index in range(len(self.stages) - last, len(self.stages)):
            features = self._stage(index, features)
        out: Tensor = self.out(_activated(self.out_norm, features[2]))
        return out

    def _asked(self, condition: Condition | None, x: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """What the condition adds to embedding and stem."""
        if condition is None:
            return None, None
        if self.told is None:
            raise InputError(
                "this UNet is unconditional",
                got=f"a condition with {', '.join(condition) or 'no entry'}",
                why="it has no input for it and would ignore it silently",
                hint="condition=None, or pirf.conditioned(unet, {...}) and training",
            )
        row, plane = self.told(condition, x)
        return row, plane

    def _stage(self, index: int, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        embedding, row, h, *skips = state
        told = row if row.shape[1] else None
        depth = len(self.down)
        if index < depth:
            for block in self._blocks(self.down, index):
                h = block(h, embedding, told)
                skips.append(h)
        else:
            entry = self._entry[index - depth]
            for i, block in enumerate(self._blocks(self.up, index - depth)):
                h = block(torch.cat([h, skips.pop()], 1) if i >= entry else h, embedding, told)
        return (embedding, row, h, *skips)

    @staticmethod
    def _blocks(stages: nn.ModuleList, index: int) -> nn.ModuleList:
        return cast(nn.ModuleList, stages[index])


def conditioned(base: Denoiser, conditions: Mapping[str, Input], drop: float = 0.1, seed: int = 0) -> UNet:
    """A copy of an unconditional network that can be told these, and at first ignores them to the last bit."""
    adapted = isinstance(base, UNet) and len(base.tunable()) < len(list(base.parameters()))
    if not isinstance(base, UNet) or base.told is not None or adapted or not conditions:
        raise InputError(
            "an unconditional UNet with plain weights, and at least one condition, are needed",
            got=f"{type(base).__name__}{' with adapters' if adapted else ''} and {dict(conditions)}",
            why="the maps of the conditions start from what it knows without them, and train with all of its weights",
            hint='conditioned(pirf.merged(unet), {"nu": pirf.ScalarInput(mean, deviation)})',
        )
    model = copy.deepcopy(base)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model._tell(conditions, drop)
    lay_out(cast(Told, model.told), torch.channels_last)
    return model
