"""Every guidance meets every sampler, on every kind of denoiser, and never couples the samples of a batch."""

from functools import partial

import pytest
import torch
from tolerances import assert_close
from toys import Tiny, normal, perturb, tiny_unet

import pirf.guidance
from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError
from pirf.grids import Grid
from pirf.guidance import DPS, SVDD, Below, CoCoGen, Guidance, Projection, PseudoinverseGuidance, Term
from pirf.inference import draw, sample
from pirf.noise import Noise
from pirf.rewards import Observation, Poisson
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.scaling import Scaling

SHAPE = (2, 4, 4)
SCALING = Scaling((0.1, -0.2), (2.0, 0.5))
EQUATION = Poisson(Grid.square(4))
SAMPLERS = {kind.__name__: kind(steps=3) for kind in (Euler, Heun, Multistep, Ancestral)}


def observation():
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[1, ::3, ::2], mask[0, 2] = True, True
    return Observation(mask, SCALING.physical(normal(1, *SHAPE, seed=8))[0], (0.0, 0.1))


def absolute(model, observation, reward=None):
    return DPS(model, (Term(observation, 1e-3), Term(reward, 1e-4, (0.4, 1.0))))


def isotropic(model, observation, reward=None):
    return PseudoinverseGuidance(model, observation, [Term(reward, Below(1e-4))])


GUIDANCE = {
    "DPS": DPS.posterior,
    "DPS absolute": absolute,
    "FunDPS": DPS.fundps,
    "CoCoGen": partial(CoCoGen.posterior, post=3, corrections=2),
    "Projection": partial(Projection.posterior, iterations=60),
    "Pseudoinverse": PseudoinverseGuidance.posterior,
    "Pseudoinverse isotropic": isotropic,
    "SVDD": SVDD.posterior,
}
PAIRS = [(g, s) for g in GUIDANCE for s in SAMPLERS if g != "SVDD" or s == "Ancestral"]
TIMES = {"Euler": 3, "Heun": 5, "Multistep": 3, "Ancestral": 3}


def test_nothing_public_is_left_out():
    """Of all that can be asked for by an observation."""
    public = {getattr(pirf.guidance, name) for name in pirf.guidance.__all__}
    made = {type(make(Tiny(SHAPE), observation(), EQUATION)) for make in GUIDANCE.values()}
    assert {c for c in public if hasattr(c, "posterior")} == made


@pytest.mark.parametrize(("guidance", "sampler"), PAIRS)
def test_samples_are_guided_alone(guidance, sampler):
    """Permuted and split, bit for bit on independent coordinates."""
    model = GaussianDenoiser(SHAPE, 0.2, torch.linspace(0.2, 2.0, 32), scaling=SCALING)
    guided = GUIDANCE[guidance](model, observation(), EQUATION)

    def run(samples):
        chain = Chain(SAMPLERS[sampler], guided, Noise(3)[samples])
        return chain.run(chain.initial()).x

    whole = run(range(4))
    for part in ([2], [3, 0, 1]):
        assert torch.equal(run(part), whole[part])


@pytest.mark.parametrize(("guidance", "sampler"), PAIRS)
@pytest.mark.parametrize("kind", ["unet", "handover"])
def test_it_meets_networks_with_the_costs_that_it_names(guidance, sampler, kind):
    base = tiny_unet(SHAPE) if kind == "unet" else Tiny(SHAPE, scaling=SCALING)
    model = (
        base if kind != "handover" else Handover(base, perturb(Tiny(SHAPE, scaling=SCALING)), SAMPLERS[sampler].before_last(2))
    )
    guided = GUIDANCE[guidance](model, observation(), EQUATION)
    whole = draw(guided, SAMPLERS[sampler], 2)
    alone = sample(guided, SAMPLERS[sampler], 2, batch=1)
    assert_close(alone, whole.fields, unit=float(whole.fields.abs().max()))
    plain = sample(model, SAMPLERS[sampler], 2)
    assert not torch.equal(whole.fields, plain)
    assert not whole.fields.requires_grad
    expected = {
        "DPS": TIMES[sampler], "DPS absolute": TIMES[sampler], "FunDPS": TIMES[sampler], "Pseudoinverse": 6 * TIMES[sampler],
        "Pseudoinverse isotropic": TIMES[sampler],
    }.get(guidance, 0)  # fmt: skip
    assert whole.vjps == expected
    assert whole.evaluations == (1 + 4 * 2 if guidance == "SVDD" else TIMES[sampler])


@pytest.mark.parametrize("make", [c.posterior for c in (DPS, CoCoGen, Projection, PseudoinverseGuidance)] + [DPS.fundps])
def test_the_misfit_falls(make):
    """On the posterior's defaults, with neither units nor weights to be chosen."""
    model = GaussianDenoiser(SHAPE, 0.2, torch.linspace(0.2, 2.0, 32), scaling=SCALING)
    plain, guided = (sample(d, Heun(steps=20), 6) for d in (model, make(model, observation())))
    assert observation().misfit(guided).norm() < 0.5 * observation().misfit(plain).norm()


def test_candidates_are_kept_by_the_decades_that_they_gain():
    model = GaussianDenoiser(SHAPE, 0.2, torch.linspace(0.2, 2.0, 32), scaling=SCALING)
    x = normal(5, *SHAPE)
    expected = -torch.log10(observation().residuals(x).square().mean(1) * -EQUATION(x))
    assert_close(SVDD.posterior(model, observation(), EQUATION, count=3).reward(x), expected)
    few, many = (sample(SVDD.posterior(model, observation(), count=n), Ancestral(steps=20), 8) for n in (1, 8))
    assert observation().misfit(many).norm() < 0.8 * observation().misfit(few).norm()


@pytest.mark.parametrize("guidance", GUIDANCE)
def test_an_observation_of_other_fields_is_refused(guidance):
    other = Observation(torch.ones(2, 8, 8, dtype=torch.bool), torch.zeros(2, 8, 8))
    if "absolute" not in guidance:
        with pytest.raises(InputError, match=r"an observation of fields of shape \(2, 4, 4\) is needed: got \(2, 8, 8\)"):
            GUIDANCE[guidance](Tiny(SHAPE), other, EQUATION)
    with pytest.raises(InputError, match="guidance wraps a plain denoiser"):
        GUIDANCE[guidance](Guidance(Tiny(SHAPE)), observation(), EQUATION)
