"""Every refusal in one place: one line that says what, got what, why, and what to try."""

import math

import h5py
import pytest
import torch
from toys import Constant, Function, Linear, Quadratic, Tiny, normal, tiny_unet

from pirf.backprop import AdjointMatching, Full, LastSteps, LayerTruncated, NoiseHypernetwork
from pirf.data import Fields
from pirf.denoisers import GaussianDenoiser, Handover, NoiseMap, UNet
from pirf.errors import InputError
from pirf.files import read
from pirf.grids import Axis, Grid
from pirf.guidance import DPS, SVDD, Guidance
from pirf.inference import sample
from pirf.metrics import fidelity
from pirf.noise import Noise
from pirf.operators import Dirichlet, Neumann, laplacian, solve_dirichlet, solve_flux_divergence, solve_neumann, spectral
from pirf.problems import helmholtz, poisson
from pirf.reference import darcy
from pirf.reference import helmholtz as solver
from pirf.rewards import BlackBox, ConditionalPDEReward, Darcy, Given, Helmholtz, Kolmogorov, Poisson, balance
from pirf.samplers import Ancestral, Chain, Euler, Heun
from pirf.scaling import Scaling
from pirf.schedules import EDM
from pirf.training import Budget, checkpoints, finetune, tune

X = normal(2, 2, 8, 8)
NAN = X * float("nan")
TORUS = Grid.square(17, 2 * math.pi, "periodic")


class Conditional(ConditionalPDEReward):
    def residual(self, x, condition):
        return x


def foreign_checkpoint(out):
    parameters = list(Tiny().parameters())
    optimizer = torch.optim.Adam(parameters)
    checkpoints.save(out, "one\nrun", 1, 0.0, parameters, [p.detach().clone() for p in parameters], optimizer, [])
    checkpoints.latest(out, "another\nrun")


def total(x):
    return x.flatten(1).sum(1)


def whole(x):
    return x.sum()


def guided(sampler, **options):
    settings = {"reward": Quadratic(), **options}
    mine = Chain(sampler, SVDD(Tiny(), **settings), Noise(0)[range(2)])
    return mine.run(mine.initial())


def stored(out, array):
    with h5py.File(out / "f.h5", "w") as file:
        file["a"] = array.numpy()
    return out / "f.h5"


def chain(denoiser=None, steps=4):
    return Chain(Heun(steps=steps), denoiser or Tiny(), Noise(0)[range(2)])


def tuned(**options):
    settings = {"sampler": Euler(steps=2), "steps": 1, "progress": False}
    return finetune(options.pop("denoiser", Tiny()), Quadratic(), **(settings | options))


REFUSALS = {
    "channel count": lambda _: Poisson(Grid.square(8))(X[:, :1]),
    "grid": lambda _: Poisson(Grid.square(9))(X),
    "dimensions": lambda _: Poisson(Grid.square(8))(X[..., None]),
    "insulated nodes": lambda _: laplacian(X, Grid.square(8, layout="nodes"), Neumann()),
    "solver on a circle": lambda _: solve_dirichlet(X, Grid.square(8, layout="periodic")),
    "cosine solver on nodes": lambda _: solve_neumann(X, Grid.square(8, layout="nodes")),
    "resonance": lambda _: helmholtz(4, 8 * (1 - 0.5**0.5) ** 0.5),  # λ₁₁ = −2·4·4² sin²(π/8)
    "resonance on cells": lambda _: Helmholtz(Grid.square(8), 16 * 2**0.5 * math.sin(math.pi / 16)),
    "resonance on nodes": lambda _: Helmholtz(Grid.square(9, layout="nodes"), 16 * 2**0.5 * math.sin(math.pi / 16)),
    "permeability": lambda _: solve_flux_divergence(-X[:, :1].abs(), X[:, 1:], Grid.square(8), Dirichlet()),
    "odd spectral grid": lambda _: spectral.laplacian(X[..., :7], Grid((Axis(8, 1.0, "periodic"), Axis(7, 1.0, "periodic")))),
    "odd grid of turbulence": lambda _: Kolmogorov(TORUS, 60.0)(normal(1, 3, 17, 17)),
    "missing channel": lambda _: Darcy(Grid.square(8))(X[:, :1]),
    "missing frame": lambda _: Kolmogorov(TORUS, 60.0)(normal(1, 2, 17, 17)),
    "missing channel in a file": lambda out: read(stored(out, X[:, 0]), ("a", "u")),
    "rank of a file": lambda out: read(stored(out, X[0, 0])),
    "wave number": lambda _: Helmholtz(Grid.square(8), -1.0),
    "scaling scale": lambda _: Scaling((0.0,), (0.0,)),
    "scaling length": lambda _: Scaling((0.0, 1.0), (1.0,)),
    "scaling of other channels": lambda _: Scaling.identity(3).normalise(X),
    "scaling of a constant field": lambda _: Scaling.fit(torch.zeros(4, 1, 3)),
    "schedule": lambda _: EDM(2.0, 1.0),
    "no steps": lambda _: Heun(steps=0),
    "negative steps": lambda _: Euler(steps=-1),
    "handover after all steps": lambda _: Heun(steps=3).before_last(3),
    "start after stop": lambda _: chain().run(chain().initial(), 3, 1),
    "density of an ODE step": lambda _: chain().transition(0, chain().initial()),
    "LastSteps(0)": lambda _: LastSteps(0),
    "K > N": lambda _: LastSteps(5).loss(chain(), Quadratic(), Noise(0)),
    "nothing to differentiate": lambda _: Full().loss(chain(Function(lambda x, s, c: x)), Quadratic(), Noise(0)),
    "stageless": lambda _: LayerTruncated(LastSteps(1)).trainable(Linear()),
    "too many stages": lambda _: Tiny().last_stages(4),
    "denoiser scaling": lambda _: Constant((2, 3), scaling=Scaling.identity(1)),
    "UNet shape": lambda _: UNet((2, 9, 9), multipliers=(1, 2)),
    "UNet condition": lambda _: tiny_unet()(X, torch.tensor(1.0).double(), {"re": torch.ones(2)}),
    "negative variance": lambda _: GaussianDenoiser((3,), 0.0, -1.0),
    "handover shapes": lambda _: Handover(Constant((1, 3)), Constant((1, 4)), 1.0),
    "handover level": lambda _: Handover(Constant(), Constant(), -1.0),
    "handover without steps": lambda _: chain(Handover.split(Tiny(), 1e-4)),
    "handover on foreign levels": lambda _: chain(Handover(Tiny(), Tiny(), 1.0, levels=(0.5,))),
    "two guidances": lambda _: Guidance(DPS(Tiny(), Quadratic())),
    "no guidance term": lambda _: DPS(Tiny(), ()),
    "guidance by a black box": lambda _: DPS(Tiny(), BlackBox(total)),
    "a black box differentiated": lambda _: Full().loss(chain(), BlackBox(total), Noise(0)),
    "a black box without a name": lambda _: BlackBox(lambda x: total(x)),
    "a black box of another shape": lambda _: BlackBox(whole)(X),
    "candidates of an ODE": lambda _: guided(Heun(steps=3)),
    "candidates without variance": lambda _: guided(Ancestral(steps=3, eta=0.0)),
    "no candidates": lambda _: guided(Ancestral(steps=3), count=0),
    "a noise map without channels": lambda _: NoiseMap(Tiny(), width=0),
    "no map of the noise": lambda _: NoiseHypernetwork().loss(chain(), Quadratic(), Noise(0)),
    "a map of noise that is forgotten": lambda _: NoiseHypernetwork().first_graded(
        Chain(Ancestral(steps=3), NoiseMap(Tiny()), Noise(0))
    ),
    "steps that cannot be matched": lambda _: AdjointMatching().first_graded(
        Chain(Ancestral(steps=3), NoiseMap(Tiny()).requires_grad_(False), Noise(0))
    ),
    "no condition": lambda _: Conditional()(X),
    "no residual": lambda _: Given(Quadratic(), (0,)).residuals(X),
    "unbalanced": lambda _: balance((Poisson(Grid.square(8)),), NAN),
    "NaN field": lambda _: fidelity(NAN, X),
    "one sample": lambda _: fidelity(X[:1], X),
    "no data": lambda _: Fields(X[:0]),
    "NaN data": lambda _: Fields(NAN),
    "no samples": lambda _: poisson(8).sample(0),
    "tiny grid": lambda _: poisson(2),
    "no draws": lambda _: sample(Tiny(), Euler(steps=2), 0),
    "budget": lambda _: Budget(),
    "negative budget": lambda _: Budget(steps=-1),
    "learning rate": lambda _: tuned(lr=-1.0),
    "batch": lambda _: tuned(batch=0),
    "pool": lambda _: tuned(batch=8, pool=4),
    "guided": lambda _: tuned(denoiser=DPS(Tiny(), Quadratic())),
    "tune": lambda _: tune(lambda v: v, -1.0, 1.0),
    "foreign checkpoint": foreign_checkpoint,
}


# The solvers know nothing of the package's own error, but speak the same way.
REFERENCES = {
    "permeability": lambda: darcy.solve(-X[:, 0].abs().numpy()),
    "sources": lambda: darcy.solve_neumann(X[:, 0].exp().numpy(), X[0, 0].abs().numpy()),
    "resonance": lambda: solver.solve(X[:, 0].numpy(), 16 * 2**0.5 * math.sin(math.pi / 16)),
    "resonance on nodes": lambda: solver.solve_nodal(normal(1, 9, 9).numpy(), 16 * 2**0.5 * math.sin(math.pi / 16)),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_solver_refuses_in_one_line(name):
    with pytest.raises(ValueError, match=r"^[^\n]*: got [^\n]*; [^\n]*\. Try [^\n]*\.$"):
        REFERENCES[name]()


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_one_line_that_helps(name, tmp_path):
    with pytest.raises(InputError) as refusal:
        REFUSALS[name](tmp_path)
    message = str(refusal.value)
    assert "\n" not in message
    what, rest = message.split(": got ", 1)
    why, hint = rest.rsplit(". Try ", 1)
    assert what
    assert "; " in why
    assert hint.endswith(".")
    assert len(hint) > 4


def test_a_refusal_is_a_value_error():
    assert issubclass(InputError, ValueError)
    assert str(InputError("what", got=1, why="why", hint="hint")) == "what: got 1; why. Try hint."
