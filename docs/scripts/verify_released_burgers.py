"""The certificate of the published Burgers residual, judged on the library's Burgers data: it fails."""

import pirf
from pirf.rewards.legacy_burgers import ReleasedBurgers

problem = pirf.problems.burgers(n=32)
print(pirf.verify(problem, reward=ReleasedBurgers(problem.grid)))
