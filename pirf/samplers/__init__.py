"""How a state moves from one noise level to the next, and the one loop that moves it."""

from pirf.samplers.ancestral import Ancestral
from pirf.samplers.base import Denoise, Sampler, State, StochasticSampler, Transition
from pirf.samplers.chain import Chain, Guided, Tally
from pirf.samplers.euler import Euler
from pirf.samplers.heun import Heun
from pirf.samplers.multistep import Multistep

__all__ = [
    "Ancestral",
    "Chain",
    "Denoise",
    "Euler",
    "Guided",
    "Heun",
    "Multistep",
    "Sampler",
    "State",
    "StochasticSampler",
    "Tally",
    "Transition",
]
