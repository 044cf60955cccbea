"""Settings by name: how the shipped base models were trained, and the card that says what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from pirf.denoisers import Denoiser, UNet
from pirf.errors import InputError
from pirf.experiments import compare, hardware
from pirf.noise import Noise
from pirf.problems import Problem
from pirf.samplers import Heun, Sampler
from pirf.training import Muon, pretrain

__all__ = ["base_model", "distance_from_exact", "stages", "write_card"]

# A wide distribution of training levels: with EDM's (−1.2, 1.2) the last levels of the sampler (down to σ = 0.002, four
# standard deviations out) are hardly ever seen, and they decide the residual.
_COMMON: Mapping[str, Any] = {"batch": 32, "clip": 1.0, "precision": torch.bfloat16, "optimizer": Muon}
_STAGES: Mapping[tuple[str, int], tuple[Mapping[str, Any], ...]] = {
    ("poisson", 32): ({"seconds": 1500.0, "lr": 1e-2, "p_mean": -1.4, "p_std": 1.7, "seed": 0},),
}


def stages(problem: Problem) -> tuple[dict[str, Any], ...]:
    """Keyword arguments of :func:`pirf.pretrain`, stage by stage, each going on from the model of the one before."""
    key = (problem.name, problem.n)
    if key not in _STAGES:
        raise InputError(
            "a recipe for this problem and size is needed",
            got=f"{problem!r}",
            why=f"recipes exist for {', '.join(f'{p} at n={k}' for p, k in _STAGES)}",
            hint="pirf.pretrain with settings of your own",
        )
    return tuple({**_COMMON, **stage} for stage in _STAGES[key])


def base_model(problem: Problem, *, out: Path | None = None, seconds: float | None = None, progress: bool = True) -> Denoiser:
    """Train a base model by its recipe; ``seconds`` shortens (or stretches) all stages in proportion."""
    recipe = stages(problem)
    total = sum(stage["seconds"] for stage in recipe)
    model: Denoiser = UNet(problem.shape, problem.scaling)
    histories = []
    for number, stage in enumerate(recipe):
        stage["seconds"] *= 1.0 if seconds is None else seconds / total
        folder = None if out is None else out / f"stage-{number}"
        model = pretrain(problem, model, out=folder, progress=progress, **stage)
        histories.append(model.history)
    write_card(problem, model, recipe, histories)
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
        "stages": [{k: getattr(v, "__name__", str(v)) for k, v in stage.items()} for stage in recipe],
        "updates": [len(history) for history in histories],
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
