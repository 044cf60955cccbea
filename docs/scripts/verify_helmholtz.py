"""The certificate of the library's Helmholtz problem, where it is definite and, in one line, where it is not."""

import pirf

print(pirf.verify(pirf.problems.helmholtz(n=32)))
print()
print(str(pirf.verify(pirf.problems.helmholtz(n=32, k=8.0))).splitlines()[0])
