r"""The network of a fitted value, :math:`F_\varphi(x, \sigma)`, with the optimizer that belongs to it.

Small, as a value is one number: what it sees of a state are means over the grid of features of 9 × 9 cells.  It knows
the noise level, not the step, and counts in standard deviations of the scores that it began with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pirf.backprop.experience import finite, standard_deviation
from pirf.errors import NumericalError
from pirf.noise import Noise
from pirf.parallel import gathered
from pirf.tensors import Field

__all__ = ["Critic"]


@final
class Critic(nn.Module):
    """F(x, σ) in units of the scores it has seen: three convolutions, the mean over the grid, two linear maps."""

    def __init__(self, shape: Sequence[int], width: int, lr: float, scores: Tensor, noise: Noise) -> None:
        super().__init__()
        self.grid = (shape[0], -1, shape[-1])
        with torch.random.fork_rng(devices=()):  # what torch draws here is written over
            self.convolutions = nn.ModuleList(
                nn.Conv2d(inputs, width, 3, stride=stride, padding=1)
                for inputs, stride in ((shape[0], 1), (width, 2), (width, 2))
            )
            self.hidden, self.out = nn.Linear(width + 3, width), nn.Linear(width, 1)
        self.center: Tensor
        self.spread: Tensor
        self.register_buffer("center", gathered(scores).mean())
        self.register_buffer("spread", standard_deviation(scores, "value network"))
        for index, parameter in enumerate(self.parameters()):
            size = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.0
            drawn = noise.fold("weights", index).normal(parameter.shape)[0]
            parameter.data.copy_(0 * drawn if parameter is self.out.weight else size * drawn)
        self.to(scores.device, scores.dtype)
        self.optimizer = torch.optim.Adam(self.parameters(), lr)

    def forward(self, x: Field, levels: Tensor | float) -> Tensor:
        """One number per sample, refused where the network has exploded: a million standard deviations, or no number."""
        levels = torch.as_tensor(levels, dtype=x.dtype, device=x.device).expand(len(x))
        column = levels.reshape(-1, *[1] * (x.ndim - 1))
        h = (x * (column**2 + 0.25).rsqrt()).reshape(len(x), *self.grid)
        for layer in self.convolutions:
            h = F.silu(layer(h))
        angle = torch.atan(2 * levels)
        known = torch.stack([angle, angle.cos(), torch.log(levels + 1e-4) / 4], 1)
        out: Tensor = self.out(F.silu(self.hidden(torch.cat([h.mean((2, 3)), known], 1))))
        if not (worst := float(out.detach().abs().max())) <= 1e6:
            raise NumericalError(
                f"the value network says {worst:.3g} standard deviations of the scores it began with; weights untouched. "
                "Try Fitted with a smaller lr."
            )
        return self.center + self.spread * out[:, 0]

    def tensors(self) -> dict[str, Tensor]:
        """Weights and the optimizer's state."""
        moments = self.optimizer.state_dict()["state"].items()
        return {
            **{f"network.{name}": tensor for name, tensor in self.state_dict().items()},
            **{f"optimizer.{i}.{name}": tensor for i, entries in moments for name, tensor in entries.items()},
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """What :meth:`tensors` gave."""
        self.load_state_dict({n.removeprefix("network."): t for n, t in tensors.items() if n.startswith("network.")})
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                moments.setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict({"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def descend(self, loss: Tensor) -> None:
        """One step of Adam, refused where the loss is not finite."""
        finite(loss, "the value network's loss")
        for parameter, gradient in zip(self.parameters(), torch.autograd.grad(loss, list(self.parameters())), strict=True):
            parameter.grad = gradient
        self.optimizer.step()
