"""The certificate of the library's heat problem."""

import pirf

print(pirf.verify(pirf.problems.heat(n=32)))
