"""The certificate of the library's Poisson problem."""

import pirf

print(pirf.verify(pirf.problems.poisson(n=32)))
