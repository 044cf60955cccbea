"""Settings by name: PIRF as it was released and as it was described, and how the shipped base models were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pirf.backprop import LastSteps, LayerTruncated
from pirf.data import Fields
from pirf.denoisers import Denoiser, Handover, UNet
from pirf.denoisers.storage import load
from pirf.errors import InputError
from pirf.experiments import compare, hardware
from pirf.inference import sample
from pirf.noise import Noise
from pirf.problems import Problem
from pirf.regularizers import Distillation, WeightAnchor
from pirf.rewards import Given
from pirf.samplers import Heun, Sampler
from pirf.training import Constant, Muon, Rate, pretrain

__all__ = [
    "as_described",
    "as_released",
    "base_model",
    "distance_from_exact",
    "distilled",
    "handed_over",
    "stages",
    "write_card",
]

# A wide distribution of training levels: with EDM's (−1.2, 1.2) the last levels of the sampler (down to σ = 0.002, four
# standard deviations out) are hardly ever seen, and they decide the residual.
_COMMON: Mapping[str, Any] = {"batch": 32, "clip": 1.0, "precision": torch.bfloat16, "optimizer": Muon}
_STAGES: Mapping[tuple[str, int], tuple[Mapping[str, Any], ...]] = {
    ("poisson", 32): ({"seconds": 1500.0, "lr": 1e-2, "p_mean": -1.4, "p_std": 1.7, "seed": 0},),
    ("darcy", 32): ({"seconds": 1800.0, "lr": 1e-2, "p_mean": -1.4, "p_std": 1.7, "seed": 0},),
    ("helmholtz", 32): ({"seconds": 600.0, "lr": 3e-3, "p_mean": -1.4, "p_std": 1.7, "seed": 0},),
    ("burgers", 32): ({"seconds": 1500.0, "lr": 1e-2, "p_mean": -1.4, "p_std": 1.7, "seed": 0},),
    ("kolmogorov", 32): ({"seconds": 1500.0, "lr": 1e-2, "p_mean": -1.4, "p_std": 1.7, "seed": 0},),
}
_STORED: Mapping[tuple[str, int], int] = {("kolmogorov", 32): 8192}
"""Where truth is dear: a set of so many samples instead of fresh ones for every update."""
_BEGUN: Mapping[tuple[str, int], str] = {("helmholtz", 32): "poisson-32"}
"""Where another model is nearly right: k² = 1 is small against the first eigenvalue, 2π²."""


_GRADED: Mapping[int, int] = {20: 2, 80: 1}  # sampling steps → graded steps, where the published recipes say it
_UNTUNED = 3_000_000  # the seed of the samples that balance a reward; far from those of training and of comparisons
_RAMP = 10_000_000  # images until the published learning rate is reached


def as_released(
    problem: Problem, *, steps: int, batch: int = 16, sampling: int = 20, graded: int | None = None, strength: float = 1e-3
) -> dict[str, Any]:
    """Keyword arguments of :func:`pirf.finetune` with the constants of the released PIRF code.

    Its own residual of the problem, layer truncation, the unsquared anchor by its subgradient, Adam at 1e-4 behind a ramp of
    ten million images: the ``steps`` updates of a short run see a tiny rate.  The weight of the anchor, the batch and, at other
    than 20 and 80 sampling steps, the number of graded steps are not known and are yours.  Its defects are not reproduced: here
    the anchor is the base, dropout is off and the trunk is out of the graph.
    """
    if "pirf" not in problem.published:
        raise InputError(
            "a problem with a published residual is needed",
            got=repr(problem),
            why="the released code has none for it",
            hint="as_described(problem, steps=...)",
        )
    ramp = Constant(warmup=_RAMP / (steps * batch))
    recipe = _pirf(sampling, graded, steps, batch, WeightAnchor(strength, "subgradient"), ramp)
    return {"reward": problem.published["pirf"], **recipe}


def as_described(
    problem: Problem,
    *,
    steps: int,
    batch: int = 16,
    sampling: int = 20,
    graded: int | None = None,
    strength: float = 1e-3,
    lr: float = 1e-4,
    warmup: float = 0.0,
) -> dict[str, Any]:
    """Keyword arguments of :func:`pirf.finetune` for PIRF as its paper describes it (arXiv 2509.20570).

    The consistent residual of the problem without gradient into what is given, layer truncation, the anchor by its proximal
    map, Adam; the ramp of the learning rate is ``warmup``, a share of the run.  ``strength`` and ``lr`` are what
    :func:`pirf.tune` is for.
    """
    recipe = _pirf(sampling, graded, steps, batch, WeightAnchor(strength), Constant(warmup))
    return {"reward": Given(problem.reward, problem.given, problem.given_frames), **recipe, "lr": lr}


def distilled(problem: Problem, *, steps: int, strength: float = 1.0, **options: Any) -> dict[str, Any]:
    """:func:`as_described`, held to the base by its outputs instead of its weights: :class:`~pirf.Distillation`.

    Two more evaluations for every graded step, one of the model and one of the base.
    """
    return {**as_described(problem, steps=steps, **options), "regularizer": Distillation(strength)}


def handed_over(
    problem: Problem, base: Denoiser, *, sampling: int = 20, below: float | None = None, reads: bool = False, pool: int = 512
) -> dict[str, Any]:
    """Keyword arguments of :func:`pirf.finetune` for PIRF with a :class:`~pirf.Handover`, the recipe of the demo; it is ours.

    A copy of ``base`` takes the last of ``sampling`` steps (those that depart ``below``) and, where the problem has given
    channels, writes the solved ones, asked as at σ = 2; with ``reads`` it sees the given ones alone.  The reward is the
    balanced one, measured on samples of the base.
    """
    sampler, solved = Heun(steps=sampling), problem.solved if problem.given else None
    seen, floor = problem.given if reads else None, 2.0 if solved else 0.0
    return {
        "denoiser": Handover.split(base, below or sampler.before_last(1), channels=solved, reads=seen, floor=floor),
        "reward": problem.balanced_reward(sample(base, sampler, 64, seed=_UNTUNED)),
        "sampler": sampler,
        "gradient": LastSteps(1),
        "optimizer": Muon,
        "batch": 8,
        "lr": 1e-2,
        "pool": pool,
    }


def _pirf(sampling: int, graded: int | None, steps: int, batch: int, anchor: WeightAnchor, rate: Rate) -> dict[str, Any]:
    count = graded or _GRADED.get(sampling)
    if count is None:
        raise InputError(
            f"graded= is needed at {sampling} sampling steps",
            got=graded,
            why=f"the published recipes say it for {' and '.join(map(str, _GRADED))} only",
            hint="graded=1",
        )
    return {
        "sampler": Heun(steps=sampling),
        "gradient": LayerTruncated(LastSteps(count), stages=1),
        "regularizer": anchor,
        "optimizer": torch.optim.Adam,
        "lr": 1e-4,
        "rate": rate,
        "steps": steps,
        "batch": batch,
    }


def stages(problem: Problem) -> tuple[dict[str, Any], ...]:
    """Keyword arguments of :func:`pirf.pretrain`, stage by stage, each going on from the model of the one before."""
    key = (problem.name, problem.n)
    if key not in _STAGES:
        raise InputError(
            "a recipe for this problem and size is needed",
            got=f"{problem!r}",
            why=f"recipes exist for {', '.join(f'{p} at n={k}' for p, k in _STAGES)}",
            hint="pretrain with settings of your own, such as steps=20_000 (--steps 20000)",
        )
    return tuple({**_COMMON, **stage} for stage in _STAGES[key])


def base_model(problem: Problem, *, out: Path | None = None, seconds: float | None = None, progress: bool = True) -> Denoiser:
    """Train a base model by its recipe; ``seconds`` shortens (or stretches) all stages in proportion."""
    recipe = stages(problem)
    total = sum(stage["seconds"] for stage in recipe)
    model: Denoiser = UNet(problem.shape, problem.scaling)
    begun = _BEGUN.get((problem.name, problem.n))
    if begun is not None:
        model.load_state_dict(load(begun).state_dict())
    stored = _STORED.get((problem.name, problem.n))
    source = problem if stored is None else Fields(problem.sample(stored), problem.scaling)
    histories = []
    for number, stage in enumerate(recipe):
        stage["seconds"] *= 1.0 if seconds is None else seconds / total
        folder = None if out is None else out / f"stage-{number}"
        model = pretrain(source, model, out=folder, progress=progress, **stage)
        histories.append(model.history)
    write_card(problem, model, recipe, histories)
    model.card["begun"] = "fresh weights" if begun is None else f"the weights of {begun}"
    return model


def write_card(
    problem: Problem,
    model: Denoiser,
    recipe: Sequence[Mapping[str, Any]],
    histories: Sequence[Sequence[Mapping[str, float]]],
    sampler: Sampler = Heun(steps=20),
    samples: int = 256,
) -> None:
    """Fill the model's card: what it was trained on, for how long, and the figures it reaches."""
    table = compare(problem, {"base": model}, sampler=sampler, samples=samples, progress=False)
    model.card = {
        "problem": repr(problem),
        "fields": dict(problem.facts),
        "stages": [{k: getattr(v, "__name__", str(v)) for k, v in stage.items()} for stage in recipe],
        "updates": [int(history[-1]["step"]) for history in histories],
        "seconds": [round(history[-1]["seconds"]) for history in histories],
        "hardware": hardware(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "evaluation": f"{sampler!r}, {samples} samples, seed {table.seed}",
        "figures": {row.name: row.as_dict() for row in table.rows},
        "distance from the exact denoiser": distance_from_exact(problem, model) if problem.gaussian else None,
    }


def distance_from_exact(problem: Problem, model: Denoiser, samples: int = 128) -> dict[str, float]:
    """rms(D − D*)/min(σ, s) by noise level, on noised truth; D* is the exact denoiser of the problem's Gaussian law."""
    exact = problem.oracle()
    clean = problem.scaling.normalise(problem.sample(samples, seed=1_000_000))
    distances = {}
    for level in (0.002, 0.02, 0.2, 2.0, 20.0):
        noisy = clean + level * Noise(0).fold("exact")[range(samples)].normal(problem.shape, clean.dtype)
        sigma = torch.tensor(level, dtype=clean.dtype)
        with torch.no_grad():
            gap = model(noisy.to(model.like), sigma.to(model.like)).cpu().double() - exact(noisy, sigma)
        distances[f"{level:g}"] = float(gap.square().mean().sqrt()) / min(level, 0.5)
    return distances
