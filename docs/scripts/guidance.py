"""Every guidance against a known posterior: Poisson 12², a Gaussian law, u measured with noise at a tenth of the points."""

import torch

import pirf
from pirf.inference import draw
from pirf.rewards.masks import region, sensors

SAMPLES = 128
problem = pirf.problems.poisson(12)
model = problem.oracle()
truth = problem.sample(1, seed=5)[0]
known = sensors(region(problem.shape, channels=problem.solved), share=0.1)
observation = pirf.observe(truth, known, 0.01 * truth.flatten(1).std(1))

# The conditional law, dense: H measures flat normalised fields.
origin = torch.zeros(1, *problem.shape, dtype=torch.float64)
unit = torch.eye(origin.numel(), dtype=torch.float64).reshape(-1, *problem.shape)
y = -observation.misfit(model.scaling.physical(origin))[0]
h = (observation.misfit(model.scaling.physical(unit)) + y).T
prior = (model.basis * model.variances) @ model.basis.T
gain = prior @ h.T @ torch.linalg.inv(h @ prior @ h.T + torch.diag(observation.deviations.square()))
mean, variances = model.mean + gain @ (y - h @ model.mean), (prior - gain @ h @ prior).diagonal()

heun, rows = pirf.Heun(steps=20), len(y)
moment = pirf.PseudoinverseGuidance.posterior
ROWS = [
    ("none", model, heun),
    ("`DPS.posterior`", pirf.DPS.posterior(model, observation), heun),
    ("the same, N = 80", pirf.DPS.posterior(model, observation), pirf.Heun(steps=80)),
    ("`DPS.fundps`", pirf.DPS.fundps(model, observation), heun),
    ("`PseudoinverseGuidance`, `iterations=0`", pirf.PseudoinverseGuidance(model, observation), heun),
    ("`PseudoinverseGuidance.posterior`", moment(model, observation), heun),
    (f"the same, `iterations={rows}`", moment(model, observation, iterations=rows), heun),
    ("the same, N = 80", moment(model, observation, iterations=rows), pirf.Heun(steps=80)),
    ("`Projection.posterior`", pirf.Projection.posterior(model, observation), heun),
    ("the same, and the equation", pirf.Projection.posterior(model, observation, problem.reward), heun),
    ("`CoCoGen.posterior`", pirf.CoCoGen.posterior(model, observation), heun),
    ("`SVDD.posterior` with `Ancestral`, N = 20", pirf.SVDD.posterior(model, observation), pirf.Ancestral(steps=20)),
]


def row(name: str, guided: pirf.Denoiser, sampler: pirf.Sampler) -> str:
    """Mean and spread in standard deviations of the exact posterior, misfit in those of the noise."""
    drawn = draw(guided, sampler, SAMPLES)
    x = model.scaling.normalise(drawn.fields).flatten(1)
    off = ((x.mean(0) - mean).square().sum() / variances.sum()).sqrt()
    spread = (x.var(0).sum() / variances.sum()).sqrt()
    misfit = observation.residuals(drawn.fields).square().mean().sqrt()
    return f"| {name} | {off:.2f} | {spread:.2f} | {misfit:.2g} | {drawn.evaluations:g} | {drawn.vjps:g} |"


print("| guidance | mean off by | spread | misfit | evaluations | products |\n|---|---:|---:|---:|---:|---:|")
for name, guided, sampler in ROWS:
    print(row(name, guided, sampler))
print(f"| *the exact posterior, {SAMPLES} draws* | {SAMPLES**-0.5:.2f} | 1 | 1 | | |")
