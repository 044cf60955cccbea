"""A problem fits itself and no other; what a reward merely computes with is no fact about the fields."""

import itertools
import json
import math

import attrs
import pytest
from cases import NAMES, smallest
from toys import Tiny

import pirf
from pirf.errors import InputError
from pirf.problems.facts import facts, fits
from pirf.rewards import Given, PDEReward, Scaled, Sum

QUICK = tuple(name for name in NAMES if name != "darcy_lognormal")  # its scaling takes half a minute to fit


def model_of(problem):
    model = Tiny(problem.shape, width=2)
    model.card = {"fields": json.loads(json.dumps(facts(problem)))}  # as a folder gives it back
    return model


@pytest.mark.parametrize("name", QUICK)
def test_every_problem_fits_its_own_models(name):
    problem = smallest(name)
    model = model_of(problem)
    fits(model, problem)
    fits(model, problem.reward)
    fits(model, Given(problem.reward, problem.given))
    known = model.card["fields"]
    assert len(known["channels"]) == problem.shape[0]
    assert tuple(axis["n"] for axis in known["axes"]) == problem.shape[1:]
    assert (tuple(known["units"]["shift"]), tuple(known["units"]["scale"])) == (problem.scaling.shift, problem.scaling.scale)


def test_and_no_other():
    models = {name: model_of(smallest(name)) for name in QUICK}
    for one, other in itertools.permutations(QUICK, 2):
        with pytest.raises(InputError, match=f"a model of {other} is needed: got a model of {one} with"):
            fits(models[one], smallest(other))


def test_the_two_darcys_differ_in_name_channels_and_boundary():
    shape = (2, 8, 8)
    two_phase = model_of(pirf.problems.darcy(8))
    lognormal = attrs.evolve(pirf.problems.darcy_lognormal(8), fitted_on=2)
    with pytest.raises(
        InputError, match=r'channels \["a", "p"\] for \["K", "p"\].*the law of darcy for that of darcy_lognormal'
    ):
        fits(two_phase, lognormal)
    assert lognormal.shape == shape
    other = attrs.evolve(lognormal, name="darcy", channels=("a", "p"))
    with pytest.raises(
        InputError, match=r'boundary "Dirichlet.*" for "Neumann\(flux=0.0\)"; source "Uniform.*" for "CornerWells'
    ):
        fits(two_phase, other)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (pirf.problems.helmholtz(8), pirf.problems.helmholtz(8, k=2.0), "k 1.0 for 2.0"),
        (pirf.problems.kolmogorov(14), pirf.problems.kolmogorov(14, reynolds=10.0), "reynolds 43.75 for 10.0"),
        (pirf.problems.poisson(8), pirf.problems.poisson(16), "axes 8 cells on 1 × 8 cells on 1 for 16"),
    ],
)
def test_constants_and_grids_are_told_apart(one, other, message):
    with pytest.raises(InputError, match=message):
        fits(model_of(one), other)


def test_norms_and_discretisations_are_not_facts():
    poisson, flow = pirf.problems.poisson(8), pirf.problems.kolmogorov(14)
    fits(model_of(poisson), attrs.evolve(poisson, reward=poisson.solution_norm))
    fits(model_of(flow), pirf.problems.kolmogorov(14, form="map"))


def test_rewards_must_stand_on_the_axes_of_the_model_wherever_they_hide():
    model, here = model_of(pirf.problems.poisson(8)), pirf.Grid.square(8)
    fits(model, pirf.rewards.Helmholtz(here, 3.0))  # another equation to be tuned to
    for grid in (pirf.Grid.square(8, 2.0), pirf.Grid.square(8, 1.0, "nodes"), pirf.Grid.square(16)):
        wrong = pirf.rewards.Poisson(grid)
        for reward in (wrong, Given(wrong, (0,)), Sum((pirf.rewards.Poisson(here), Scaled(Given(wrong, (0,)), 2.0)))):
            with pytest.raises(InputError, match="a model of these fields is needed: got a model of poisson with axes 8 cells"):
                fits(model, reward)
    fits(Tiny((2, 8, 8), width=2), pirf.rewards.Poisson(pirf.Grid.square(16)))  # no card, no word


def test_an_equation_of_the_users_own_is_described_by_its_values():
    @attrs.frozen
    class Screened(PDEReward):
        grid: pirf.Grid
        kappa: float = 1.0
        law: object = math.sin

        def residual(self, x):
            return x

    class Plain(PDEReward):
        def __init__(self, grid):
            self.grid, self.speed, self.hook = grid, (1.0, 2.0), lambda x: x

        def residual(self, x):
            return x

    poisson = pirf.problems.poisson(8)
    told = facts(attrs.evolve(poisson, name="screened", reward=Screened(poisson.grid, 2.0)))
    assert told["constants"] == {"kappa": 2.0, "law": "<built-in function sin>"}
    assert facts(attrs.evolve(poisson, reward=Plain(poisson.grid)))["constants"] == {"speed": [1.0, 2.0]}


@pytest.mark.parametrize("name", pirf.shipped())
def test_the_shipped_cards_say_what_the_models_were_trained_on(name):
    problem = getattr(pirf.problems, name.removesuffix("-32"))(32)
    model = pirf.load(name)
    assert model.card["problem"] == repr(problem)
    fits(model, problem)
    fits(pirf.DPS(model, problem.reward), problem)
    with pytest.raises(InputError, match="the law of"):
        fits(model, pirf.problems.heat(32))
