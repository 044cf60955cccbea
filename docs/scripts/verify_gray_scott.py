"""The certificate of the library's Gray–Scott problem."""

import pirf

print(pirf.verify(pirf.problems.gray_scott(n=32)))
