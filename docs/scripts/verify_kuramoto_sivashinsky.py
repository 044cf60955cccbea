"""The certificate of the library's Kuramoto–Sivashinsky problem."""

import pirf

print(pirf.verify(pirf.problems.kuramoto_sivashinsky(n=32)))
