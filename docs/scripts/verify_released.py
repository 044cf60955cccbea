"""The certificate of the published residual, judged on the library's Poisson data: it fails."""

import pirf
from pirf.rewards.legacy import ReleasedPoisson

problem = pirf.problems.poisson(n=32)
print(pirf.verify(problem, reward=ReleasedPoisson(problem.grid)))
