"""What to fine-tune on, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import attrs

from pirf.cli.choices import one_of
from pirf.cli.own_files import made_for, named_in
from pirf.denoisers import Denoiser
from pirf.errors import instance
from pirf.inference import sample
from pirf.problems import Problem
from pirf.rewards import Decades, Given, Reward, Scaled, Sum
from pirf.samplers import Sampler

__all__ = ["reward_of"]

_UNTUNED, _UNTUNED_SEED = 64, 3_000_000
"""Samples of the model as it comes, from which a balanced reward counts its decades."""


def reward_of(name: str, problem: Problem, base: Denoiser, sampler: Sampler) -> Reward:
    """What a name stands for: ``residual``, ``given``, ``balanced``, or ``file.py:name``."""
    if ":" in name:
        found = made_for(name.rpartition(":")[2], named_in(name)[0], problem.n)
        instance(f"a reward as {name}", found, Reward, hint="an instance, a class of (grid), or a function of n")
        return cast(Reward, found)
    makers: Mapping[str, Callable[[], Reward]] = {
        "residual": lambda: problem.reward,
        "given": lambda: Given(problem.reward, problem.given, problem.given_frames),
        "balanced": lambda: _rounded(
            problem.balanced_reward(sample(base, sampler, _UNTUNED, seed=_UNTUNED_SEED).cpu().double())
        ),
    }
    return one_of("reward", name, makers)()


def _rounded(reward: Reward) -> Reward:
    """Units to two digits: what another number of threads or processes sums differently must not make it another run."""
    if isinstance(reward, Decades):
        return attrs.evolve(reward, unit=float(f"{reward.unit:.1e}"))
    if isinstance(reward, Sum):
        return attrs.evolve(reward, rewards=tuple(map(_rounded, reward.rewards)))
    return attrs.evolve(reward, reward=_rounded(reward.reward)) if isinstance(reward, Scaled | Given) else reward
