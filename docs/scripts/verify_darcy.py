"""The certificates of the two Darcy problems, and of the published residuals on the same data: those fail."""

import pirf
from pirf.rewards.legacy_darcy import ReleasedDarcy, ReleasedDarcyLognormal

two_phase, lognormal = pirf.problems.darcy(n=32), pirf.problems.darcy_lognormal(n=32)
print(pirf.verify(two_phase), pirf.verify(lognormal), sep="\n\n")
print("\nThe published residuals:\n")
for problem, released in ((two_phase, ReleasedDarcy), (lognormal, ReleasedDarcyLognormal)):
    print(pirf.verify(problem, reward=released(problem.grid), samples=16), end="\n\n")
