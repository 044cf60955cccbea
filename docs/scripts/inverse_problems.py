"""The questions of the page on inverse problems, asked and answered; what each prints is a row of its first table."""

import math
from collections.abc import Sequence
from functools import partial

import torch

import pirf
from pirf import lines, region, sensors
from pirf.calibration import calibration
from pirf.reconstruction import Posterior


def row(name: str, problem: pirf.Problem, posterior: Posterior, truth: torch.Tensor) -> None:
    """The error of the mean where nothing was measured, whether the spread is right, and what is left of the equation."""
    judged, rho = posterior.score(truth), float(posterior.residual().mean()) / problem.scale
    errors = ("measured" if r is None else f"{100 * r.error:.1f} %" for r in judged.channels)
    named = ", ".join(f"{c} {error}" for c, error in zip(problem.channels, errors, strict=True))
    print(f"| {name} | {named} | {float(posterior.misfit.mean()):.2g} | {judged.overall.ninety} | {rho:.2g} |")


print("| question | error of the mean | misfit | 90 % interval | ρ |")
print("|---|---|---:|---|---:|")

# [forward]
problem = pirf.problems.poisson(32)
base = pirf.load("poisson-32")
truth = problem.sample(1, seed=1)[0]  # in place of yours
noise = 0.01 * truth.flatten(1).std(1)  # of each channel, in physical units

known = sensors(region(problem.shape, channels=problem.given), share=0.1)
measured = pirf.observe(truth, known, noise)
posterior = pirf.reconstruct(base, measured, problem.reward, samples=8)
# [/forward]
row("forward: a at 10 % of the points", problem, posterior, truth)

# [inverse]
known = sensors(region(problem.shape, channels=problem.solved), share=0.1)
posterior = pirf.reconstruct(base, pirf.observe(truth, known, noise), problem.reward, samples=8)
# [/inverse]
row("inverse: u at 10 % of the points", problem, posterior, truth)

# [both]
known = sensors(region(problem.shape), share=0.1)
posterior = pirf.reconstruct(base, pirf.observe(truth, known, noise), problem.reward, samples=8)
# [/both]
row("both at 10 % of the points", problem, posterior, truth)

# [darcy]
darcy = pirf.problems.darcy(32)
ground = darcy.sample(1, seed=1)[0]
known = sensors(region(darcy.shape, channels=darcy.solved), share=0.1)
measured = pirf.observe(ground, known, 0.01 * ground.flatten(1).std(1))
posterior = pirf.reconstruct(pirf.load("darcy-32"), measured, darcy.reward, samples=8)
# [/darcy]
row("Darcy, inverse: p at 10 % of the points", darcy, posterior, ground)

# [frames]
wave = pirf.problems.wave(32)
motion = wave.sample(1, seed=1)[0]  # channels (u, v) on (t, x)
past = sensors(region(wave.shape, frames=slice(0, 8)), 60)
posterior = pirf.reconstruct(wave.oracle(), pirf.observe(motion, past, 0.01), wave.reward)
# [/frames]
row("wave: 60 values of the first quarter", wave, posterior, motion)

# [lines]
burgers = pirf.problems.burgers(32)
flow = burgers.sample(1, seed=1)[0]
known = lines(region(burgers.shape), axis=1, count=5)
posterior = pirf.reconstruct(pirf.load("burgers-32"), pirf.observe(flow, known, 0.01), burgers.reward, samples=8)
# [/lines]
row("Burgers: 5 sensors at all times", burgers, posterior, flow)

print("\n<!-- calibration -->")
small = pirf.problems.poisson(8)
truths = small.sample(12, seed=2)
known = sensors(region(small.shape, channels=1), 8)


def judged(prior: pirf.Denoiser, steps: int) -> Sequence[torch.Tensor]:
    return [
        pirf.reconstruct(prior, pirf.observe(t, known, 0.001, seed=i), sampler=pirf.Heun(steps=steps), seed=i).fields
        for i, t in enumerate(truths)
    ]


exact = small.oracle()
sharp = pirf.GaussianDenoiser(exact.shape, exact.mean.reshape(exact.shape), 0.25 * exact.variances, exact.basis, exact.scaling)
for name, ensembles in (
    ("the exact prior, 24 steps", judged(exact, 24)),
    ("the exact prior, 12 steps", judged(exact, 12)),
    ("half as wide a prior, 24 steps", judged(sharp, 24)),
):
    print(f"{name}: {calibration(ensembles, truths, ~known)}\n")

print("<!-- guidance -->")
print("| guidance | error of the mean in a | in u | misfit | 90 % interval | alarms | ρ | evaluations | products |")
print("|---|---:|---:|---:|---|---|---:|---:|---:|")
known = sensors(region(problem.shape, channels=problem.solved), share=0.1)
truths = problem.sample(2, seed=3)
for name, guidance in {
    "none": lambda denoiser, observation, reward: denoiser,
    "DPS": pirf.DPS.posterior,
    "PseudoinverseGuidance, iterations=0": partial(pirf.PseudoinverseGuidance.posterior, iterations=0),
    "PseudoinverseGuidance": pirf.PseudoinverseGuidance.posterior,
    "CoCoGen": pirf.CoCoGen.posterior,
    "Projection": pirf.Projection.posterior,
}.items():
    found = [
        pirf.reconstruct(base, pirf.observe(t, known, noise, seed=i), problem.reward, guidance=guidance, samples=8, seed=i)
        for i, t in enumerate(truths)
    ]
    r = calibration([p.fields for p in found], truths, ~known)
    a, u = (f"{100 * (math.nan if c is None else c.error):.1f} %" for c in r.channels)
    misfit = sum(float(p.misfit.mean()) for p in found) / len(found)
    rho = sum(float(p.residual().mean()) for p in found) / len(found) / problem.scale
    cost = f"{found[0].evaluations:g} | {found[0].vjps:g}"
    alarms = ", ".join(r.overall.alarms()) or "none"
    print(f"| {name} | {a} | {u} | {misfit:.2g} | {r.overall.ninety} | {alarms} | {rho:.2g} | {cost} |")
