"""How far cheaper gradients point from the exact one: cosines on the shipped models, several batches of 64.

``python benchmarks/cosines.py`` writes ``benchmarks/results/cosines.json`` after every batch and goes on where it was; two or
three minutes a batch on one core.  A prefix by a cheaper sampler, in bfloat16 or of weights a few updates old, the
preconditioner's path of a truncated network, a smaller batch: each beside the gradient of Heun in float32, on the same samples.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import pirf
from pirf.backprop import GradientStrategy
from pirf.denoisers import Denoiser
from pirf.experiments import hardware
from pirf.noise import Noise
from pirf.problems import Problem
from pirf.samplers import Chain
from pirf.training.prefixes import Prefixes

RESULTS = Path(__file__).parent / "results" / "cosines.json"
HEUN, CHEAP = pirf.Heun(20), pirf.Multistep(20)
RATES = (1e-5, 1e-4)
Gradient = dict[str, Tensor]


def cosine(a: Gradient, b: Gradient) -> float:
    """Over the weights that both have."""
    x, y = (torch.cat([g[key].double().flatten() for key in a if key in b]) for g in (a, b))
    return float(x @ y / (x.norm() * y.norm()))


def gradient(
    model: Denoiser, problem: Problem, strategy: GradientStrategy, samples: Noise, autocast: bool = False, **options: Any
) -> Gradient:
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = strategy.loss(Chain(HEUN, model, samples, **options), problem.reward, samples).value
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(value, weights, allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def cosines(problem: Problem, model: Denoiser, samples: Noise) -> dict[str, float]:
    """By the names of the rows of ``benchmarks/update.py``, and a few that it has no rows for."""
    out: dict[str, float] = {}
    for last in (1, 2):
        strategy, name = pirf.LastSteps(last), f"LastSteps({last})"
        exact = gradient(model, problem, strategy, samples)
        changes: Mapping[str, dict[str, Any]] = {
            "Multistep prefix": {"quick": CHEAP},
            "bfloat16 prefix": {"precision": torch.bfloat16},
            "Multistep and bfloat16 prefix": {"quick": CHEAP, "precision": torch.bfloat16},
            "bfloat16 throughout": {"precision": torch.bfloat16, "autocast": True},
        }
        for change, options in changes.items():
            out[f"{name}, {change}"] = cosine(gradient(model, problem, strategy, samples, **options), exact)
        for fewer in (16, 8, 4):
            part = gradient(model, problem, strategy, samples[list(samples.samples)[:fewer]])
            out[f"{name}, {fewer} of {len(samples)} samples"] = cosine(part, exact)
    kept = {id(p) for p in model.last_stages(1)}
    names = {name for name, p in model.named_parameters() if id(p) in kept}
    truncated = gradient(model, problem, pirf.LayerTruncated(pirf.LastSteps(2)), samples)
    path = gradient(model, problem, pirf.LayerTruncated(pirf.LastSteps(2), state_path="preconditioner"), samples)
    name = "LayerTruncated(LastSteps(2)), preconditioner path"
    out[name] = cosine(path, {key: g for key, g in truncated.items() if key in names})
    for rate in RATES:
        out |= replayed(problem, copy.deepcopy(model), samples, rate)
    return out


def replayed(problem: Problem, model: Denoiser, samples: Noise, rate: float) -> dict[str, float]:
    """States of the first update, used for three more of Adam on the same samples: beside the gradient from fresh states."""
    out, one = {}, pirf.LastSteps(1)
    stale = Prefixes.compute(Chain(HEUN, model, samples), HEUN.steps - 1, samples, len(samples), features=0, progress=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    for update in (2, 3, 4):
        found = gradient(model, problem, one, samples, prefixes=stale)
        for key, parameter in model.named_parameters():
            parameter.grad = found.get(key)
        optimizer.step()
        fresh = gradient(model, problem, one, samples)
        name = f"LastSteps(1), lr {rate:g}, update {update} of replay=4"
        out[name] = cosine(gradient(model, problem, one, samples, prefixes=stale), fresh)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=["poisson", "darcy"], choices=("poisson", "darcy"))
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--draws", type=int, default=4)
    options = parser.parse_args()
    found: dict[str, Any] = {"batch": options.batch, "problems": {}}
    if RESULTS.exists() and (known := json.loads(RESULTS.read_text()))["batch"] == options.batch:
        found = known
    for name in options.problem:
        problem, model, draws = (
            getattr(pirf.problems, name)(32),
            pirf.load(f"{name}-32"),
            found["problems"].setdefault(name, []),
        )
        for draw in range(len(draws), options.draws):
            samples = Noise(0).fold("update", 0)[range(draw * options.batch, (draw + 1) * options.batch)]
            draws.append(cosines(problem, model, samples))
            RESULTS.write_text(json.dumps({**found, "hardware": hardware()}, indent=1) + "\n")
            print(f"{name}, batch {draw + 1}: {draws[-1]}", flush=True)


if __name__ == "__main__":
    main()
