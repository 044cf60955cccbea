"""The certificate of the library's wave problem."""

import pirf

print(pirf.verify(pirf.problems.wave(n=32)))
