"""The certificate of the library's Burgers problem."""

import pirf

print(pirf.verify(pirf.problems.burgers(n=32)))
