"""The leaderboard: five problems at 32², every method of the house, 20, 40 and 80 sampling steps, five seeds.

``python benchmarks/leaderboard.py`` measures cell by cell into ``benchmarks/results/leaderboard``, the headline first (five
problems, {base, DPS, CoCoGen, PIRF as released, PIRF with Handover}, N = 20); it can be stopped at any time and goes on where
it was, and ``--share 0/2`` with ``--share 1/2`` are two processes for two cores.  ``--smoke`` runs the whole machinery on tiny
budgets elsewhere, ``--summary`` prints the tables of what is there and counts what is missing.

*Budget.*  What trains gets ``TRAINING`` seconds of processor time of one thread, at 20 steps; one training serves all N.  Every
method has one knob, tried ``TRIALS`` times on seeds of their own, in trainings of ``TRIAL`` seconds or on ``SEARCHED`` samples;
guidance searches at every N again.  The smallest product of residual and re-solve error wins: both are known without data, so
that the choice cannot see fidelity.  What a winner did to the data's law is left to the columns of the table.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
import torch
from standings import COLUMNS, table

import pirf
from pirf.experiments import hardware
from pirf.sweeps import sweep
from pirf.training.checkpoints import fingerprint

HERE = Path(__file__).parent
PROBLEMS = ("poisson", "helmholtz", "darcy", "burgers", "kolmogorov")
STEPS = (20, 40, 80)
HELD_OUT, SEARCH, UNTUNED = 1_000_000, 2_000_000, 3_000_000  # seeds of samples: judged, searched, balancing a reward
Options = dict[str, Any]


@attrs.frozen
class Budget:
    """What every method gets."""

    training: float = 120.0
    trial: float = 20.0
    trials: int = 5
    samples: int = 256
    searched: int = 32
    pool: int = 512
    out: Path = HERE / "results" / "leaderboard"
    models: Path = Path("runs/leaderboard")

    def __str__(self) -> str:
        return (
            f"{self.training:g} s of training, {self.trials} trials of {self.trial:g} s or {self.searched} samples, "
            f"judged on {self.samples} samples"
        )


SMOKE = Budget(3.0, 2.0, 3, 16, 8, 8, Path("runs/leaderboard-smoke/results"), Path("runs/leaderboard-smoke/models"))


@attrs.frozen(eq=False)
class Case:
    """A problem with its base, and the settings that its training rows share."""

    problem: pirf.Problem
    base: pirf.Denoiser
    budget: Budget

    @property
    def reward(self) -> pirf.Reward:
        """Without gradient into what is given."""
        return pirf.Given(self.problem.reward, self.problem.given, self.problem.given_frames)


def sampler(steps: int) -> pirf.Sampler:
    return pirf.Heun(steps=steps)


Train = Callable[[Case, float, Options], pirf.Denoiser]
"""(case, knob, {seconds=, seed=, progress=, …}) → a model."""
Guide = Callable[[Case, float], pirf.Denoiser]


@attrs.frozen(eq=False)
class Method:
    """A name, a knob between two values, and what is done with it: before sampling, or while."""

    name: str
    train: Train | None = None
    guide: Guide | None = None
    low: float = 1e-6
    high: float = 1e-3
    needs_data: bool = False


def tuned(gradient: pirf.GradientStrategy, **more: Any) -> Train:
    """One network for all levels; the knob is the learning rate, the prefix takes half the evaluations."""

    def train(case: Case, lr: float, options: Options) -> pirf.Denoiser:
        plain: Options = {"sampler": sampler(20), "prefix": pirf.Multistep(steps=20), "gradient": gradient, "batch": 4}
        return pirf.finetune(case.base, case.reward, **(plain | more), lr=lr, **options)

    return train


def preset(make: Callable[..., Mapping[str, Any]], knob: str) -> Train:
    """A recipe by its name; a ramp that counts images is told how many there will be."""

    def train(case: Case, value: float, options: Options) -> pirf.Denoiser:
        settings = {"batch": 4, "sampling": 20}
        began = time.perf_counter()
        first = dict(make(case.problem, steps=3, **settings))
        pirf.finetune(case.base, **first, progress=False)
        updates = max(1, round(3 * options["seconds"] / (time.perf_counter() - began)))
        recipe = {k: v for k, v in make(case.problem, steps=updates, **settings).items() if k != "steps"}
        if knob == "strength":
            recipe["regularizer"] = attrs.evolve(recipe["regularizer"], strength=value)
        else:
            recipe[knob] = value
        return pirf.finetune(case.base, **recipe, **options)

    return train


def handover(case: Case, lr: float, options: Options) -> pirf.Denoiser:
    """A copy for the last step, whose level all N share; it writes the solved channels only, where there are given ones."""
    below = sampler(80).before_last(1)
    recipe = pirf.presets.handed_over(case.problem, case.base, below=below, pool=case.budget.pool)
    return pirf.finetune(**{**recipe, "lr": lr}, **options)


def adjoint_matching(case: Case, lr: float, options: Options) -> pirf.Denoiser:
    """At the temperature that asks white residuals for a tenth of their mean square; drawn, like every row, by the ODE."""
    found = pirf.sample(case.base, sampler(20), case.budget.searched, seed=UNTUNED).double()
    square, count = float(-case.problem.reward(found).mean()), case.problem.reward.residuals(found[:1]).numel()
    strategy = pirf.AdjointMatching(temperature=2 * square / (9 * count))
    drawn: pirf.Sampler = pirf.Ancestral(steps=20, eta=1.0)
    return pirf.finetune(case.base, case.problem.reward, sampler=drawn, gradient=strategy, batch=4, lr=lr, **options)


def score_as_action(case: Case, lr: float, options: Options) -> pirf.Denoiser:
    """The reward is only scored: continuous-time policy gradients with the structured value."""
    strategy = pirf.ContinuousTime(value=pirf.Fitted(pretrain=1, batch=16))
    drawn: pirf.Sampler = pirf.Ancestral(steps=20, eta=1.0)
    return pirf.finetune(case.base, case.problem.reward, sampler=drawn, gradient=strategy, batch=16, lr=lr, **options)


def distilled(problem: pirf.Problem, **settings: Any) -> Mapping[str, Any]:
    return pirf.presets.distilled(problem, **settings)


def low_rank(case: Case, lr: float, options: Options) -> pirf.Denoiser:
    plain: Options = {"sampler": sampler(20), "prefix": pirf.Multistep(steps=20), "gradient": pirf.LastSteps(2), "batch": 4}
    return pirf.finetune(pirf.low_rank(case.base, 4), case.reward, lr=lr, **plain, **options)


def informed(case: Case, weight: float, options: Options) -> pirf.Denoiser:
    more: Options = {"source": case.problem, "sampler": sampler(20), "estimate": "sample", "lr": 1e-3, "clip": 1.0}
    return pirf.pidm(case.base, case.problem.reward, weight=weight, **more, **options)


def merged(case: Case, lr: float, options: Options) -> pirf.Denoiser:
    return pirf.pbfm(case.base, case.problem.reward, source=case.problem, sampler=sampler(20), lr=lr, clip=1.0, **options)


def told(case: Case, weight: float, options: Options) -> pirf.Denoiser:
    return pirf.pg_diffusion(case.base, case.problem.reward, source=case.problem, weight=weight, lr=1e-3, clip=1.0, **options)


METHODS: Sequence[Method] = (
    Method("base"),
    Method("DPS", guide=lambda case, w: pirf.DPS(case.base, case.problem.reward, w), low=1e-3, high=10.0),
    Method(
        "CoCoGen", guide=lambda case, s: pirf.CoCoGen(case.base, case.problem.reward, s, post_step=s / 10), low=1e-6, high=1e-1
    ),
    Method("PIRF as released", preset(pirf.presets.as_released, "strength"), low=1e-5, high=1e-2),
    Method("PIRF with Handover", handover, low=1e-3, high=1e-1),
    Method("PIRF as described", preset(pirf.presets.as_described, "lr")),
    Method("PIRF, LoRA", low_rank, low=1e-5, high=1e-2),
    Method("PIRF, distilled", preset(distilled, "strength"), low=1e-2, high=1e2),
    Method("projection", guide=lambda case, r: pirf.Projection(case.base, case.problem.reward, ridge=r), low=1e-4, high=10.0),
    Method("PIDM", informed, low=1e-6, high=1e-1, needs_data=True),
    Method("PBFM", merged, low=1e-5, high=1e-2, needs_data=True),
    Method("PG-Diffusion", told, low=0.3, high=3.0, needs_data=True),
    Method("adjoint matching", adjoint_matching),
    Method("Score as Action", score_as_action),
)
BY_NAME = {method.name: method for method in METHODS}
HEADLINE = ("base", "DPS", "CoCoGen", "PIRF as released", "PIRF with Handover")


@lru_cache
def case_of(name: str, budget: Budget) -> Case:
    return Case(getattr(pirf.problems, name)(32), pirf.load(f"{name}-32"), budget)


def figures(case: Case, model: pirf.Denoiser, steps: int, samples: int, seed: int) -> dict[str, Any]:
    """What a model's samples are like, and what they cost."""
    entry = pirf.compare(case.problem, {"row": model}, sampler=sampler(steps), samples=samples, seed=seed, progress=False)
    row = entry["row"].as_dict()
    return {k: row[k] for k in ("adherence", "fidelity", "alarms", "evaluations", "vjps", "seconds")}


def product(found: Mapping[str, Any]) -> float:
    """log₁₀ of residual times re-solve error."""
    return math.log10(found["adherence"]["rho"] + 1e-30) + math.log10(found["adherence"]["resolve"] + 1e-30)


def search(case: Case, method: Method, steps: int) -> dict[str, Any]:
    """The knob of a method and what its trials gave; NaN is the worst of all."""
    budget, began = case.budget, time.perf_counter()

    def objective(value: float) -> float:
        try:
            if method.guide is not None:
                model = method.guide(case, value)
            else:
                assert method.train is not None
                model = method.train(case, value, {"seconds": budget.trial, "seed": 1000, "progress": False})
            return product(figures(case, model, steps, budget.searched, SEARCH))
        except (pirf.InputError, pirf.NumericalError) as error:
            if "finite" not in str(error):
                raise
            return math.inf  # samples or weights that are not finite: a knob that is too large

    found = pirf.tune(objective, method.low, method.high, budget.trials).as_dict()
    return {**found, "seconds": time.perf_counter() - began}


def trained(case: Case, method: Method, value: float, seed: int) -> pirf.Denoiser:
    """The model of one seed: from ``models``, or trained and kept there."""
    assert method.train is not None
    folder = case.budget.models / case.problem.name / "".join(c if c.isalnum() else "-" for c in method.name) / str(seed)
    options: Options = {"seconds": case.budget.training, "seed": seed, "progress": False}
    if method.name == "PG-Diffusion":  # a reward is inside, which a card cannot hold: trained again for every N
        return method.train(case, value, options)
    if not (folder / "card.json").exists():
        model = method.train(case, value, options)
        model.card = {"knob": value, "updates": int(model.history[-1]["step"]), "seconds": model.history[-1]["seconds"]}
        pirf.save(model, folder)
    return pirf.load(folder)


def measure(problem: str, method: str, steps: int, seed: int, budget: Budget) -> dict[str, Any]:
    """One cell."""
    case, chosen = case_of(problem, budget), BY_NAME[method]
    with patch.object(time, "perf_counter", time.process_time):  # the library's clock shows what this process has used
        found: dict[str, Any] = {}
        model = case.base
        if chosen.train is not None or chosen.guide is not None:
            at = steps if chosen.guide is not None else 20
            cell = {"problem": problem, "method": method, "steps": at}
            searches = budget.out / "searches"
            (found,) = sweep(
                lambda **_: search(case, chosen, at), [cell], searches, identity=identity(problem, budget), progress=False
            )
            value = found["best"]
            model = chosen.guide(case, value) if chosen.guide is not None else trained(case, chosen, value, seed)
        training = model.history[-1]["seconds"] if chosen.train is not None and model.history else 0.0
        judged = figures(case, model, steps, budget.samples, HELD_OUT + 10 * seed)
    head = {"training seconds": training, "search seconds": found.get("seconds", 0.0), "knob": found.get("best")}
    return {**judged, **head, "trials": found.get("trials", []), "hardware": hardware()}


@lru_cache
def identity(problem: str, budget: Budget) -> str:
    """What the cells of a problem share."""
    return f"{fingerprint(case_of(problem, budget).base)}, {budget}"


def cells(problems: Sequence[str], methods: Sequence[str], steps: Sequence[int], seeds: Sequence[int]) -> list[dict[str, Any]]:
    """The headline first, then every method at 20 steps, then the other numbers of steps."""
    every = [
        {"problem": p, "method": m, "steps": n, "seed": s} for n in steps for s in seeds for m in methods for p in problems
    ]
    return sorted(every, key=lambda c: (c["steps"] != 20, c["method"] not in HEADLINE))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problem", nargs="+", default=list(PROBLEMS), choices=PROBLEMS)
    parser.add_argument("--method", nargs="+", default=list(BY_NAME), choices=list(BY_NAME), metavar="METHOD")
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(range(5)))
    parser.add_argument("--share", default="0/1", help="i/n: every n-th problem, from the i-th")
    parser.add_argument(
        "--smoke", action="store_true", help="tiny budgets, one seed, on Poisson every method: does all of it run?"
    )
    parser.add_argument("--summary", action="store_true", help="print the tables of what exists and run nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    budget = SMOKE if options.smoke else Budget()
    seeds, counts = ([0], [20]) if options.smoke else (options.seeds, options.steps)
    part, parts = map(int, options.share.split("/"))
    found = []
    for cell in cells(options.problem, options.method, counts, seeds):
        if not options.summary and PROBLEMS.index(cell["problem"]) % parts != part:
            continue
        if options.smoke and cell["problem"] != "poisson" and cell["method"] not in HEADLINE:
            continue
        rows = sweep(
            lambda **c: measure(**c, budget=budget),
            [cell],
            budget.out,
            identity=identity(cell["problem"], budget),
            known_only=options.summary,
            progress=False,
        )
        found += rows
        if rows and not options.summary:
            figures_of = rows[0]["adherence"]
            print(
                *cell.values(), f"ρ {figures_of['rho']:.3g}, re-solve {figures_of['resolve']:.3g}", rows[0]["knob"], flush=True
            )
    for problem in options.problem:
        for steps in counts:
            here = [row for row in found if (row["problem"], row["steps"]) == (problem, steps)]
            if here:
                print(table(here, list(BY_NAME), len(seeds), f"{problem}, N = {steps}; {budget}"))
    print(", ".join(COLUMNS.values()))


if __name__ == "__main__":
    main()
