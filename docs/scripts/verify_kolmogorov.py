"""The certificate of the library's Kolmogorov flow."""

import pirf

print(pirf.verify(pirf.problems.kolmogorov(n=32)))
