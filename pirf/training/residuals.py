r"""What training on data and on an equation shares: :math:`R(x)` of an estimate :math:`x` in physical units, and the way there.

An estimate belongs to a level.  That of a lower one is an Euler step and an evaluation away,
:math:`x_{\sigma'} = D + \tfrac{\sigma'}{\sigma}(x_\sigma - D)`; here every sample has levels of its own, where those of a
:class:`~pirf.Chain` share theirs.
"""

from __future__ import annotations

import attrs
import torch
from jaxtyping import Float
from torch import Tensor

from pirf.denoisers import Coloured, Denoiser
from pirf.errors import InputError, NumericalError, instance
from pirf.guidance import Guidance
from pirf.rewards import ResidualReward, Reward
from pirf.scaling import Colour
from pirf.tensors import Condition, Field, spoiled
from pirf.training.matching import Noised

__all__ = ["admitted", "bare", "coloured", "lowered", "rows_of"]


def admitted(denoiser: Denoiser, reward: Reward) -> ResidualReward:
    """The reward, refused with its denoiser where they cannot be trained together."""
    instance("a denoiser", denoiser, Denoiser, hint='pirf.load("poisson-32")')
    if isinstance(denoiser, Guidance):
        raise InputError(
            "training takes a plain denoiser",
            got=type(denoiser).__name__,
            why="guidance is applied when sampling",
            hint="guided.inner, then wrap the result",
        )
    if not isinstance(reward, ResidualReward):
        raise InputError(
            "a reward with a residual is needed",
            got=repr(reward),
            why="its square is what is added to the data's loss",
            hint="problem.reward, or finetune for a reward that only scores",
        )
    return reward


def bare(denoiser: Denoiser) -> tuple[Denoiser, Colour | None]:
    """The network in plain units, and the colour of its noise."""
    return (denoiser.inner, denoiser.colour) if isinstance(denoiser, Coloured) else (denoiser, None)


def coloured(network: Denoiser, colour: Colour | None) -> Denoiser:
    """The inverse of :func:`bare`, the history included."""
    if colour is None:
        return network
    whole = Coloured(network, colour).eval()
    whole.history, whole.card = network.history, network.card
    return whole


def lowered(seen: Noised, estimate: Field, sigma: Tensor, address: int | str) -> Noised:
    """The batch after an Euler step to ``sigma``, one level per sample; ``address`` keys the dropout of its evaluation."""
    share = (sigma / seen.sigma).reshape(seen.column.shape)
    return attrs.evolve(
        seen, noisy=estimate + share * (seen.noisy - estimate), sigma=sigma, noise=seen.noise.fold("lowered", address)
    )


def rows_of(
    model: Denoiser, reward: ResidualReward, estimate: Field, condition: Condition | None
) -> Float[Tensor, "batch rows"]:
    """The residual of every sample as one row, in float32 at least; refused before any harm where it is not finite."""
    precise = estimate.to(torch.promote_types(estimate.dtype, torch.float32))
    fields = model.scaling.physical(precise)
    rows = reward.residuals(fields, condition).flatten(1)
    if not bool(torch.isfinite(rows).all()):
        bad = spoiled(fields)
        where = f"channel(s) {bad} of the estimate are not finite" if bad else "the estimate is finite, its residual is not"
        raise NumericalError(f"{reward!r} gave a residual that is not finite: {where}; weights untouched. Try a smaller lr.")
    return rows
