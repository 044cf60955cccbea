"""The certificate of the elasticity problem."""

import pirf

print(pirf.verify(pirf.problems.elasticity(n=32), samples=32))
