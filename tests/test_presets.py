"""A recipe trains, resumes and fills a card; what has none is refused."""

import pytest

import pirf
from pirf import presets


def test_every_recipe_names_a_problem_of_the_package():
    for name, n in presets._STAGES:
        assert presets.stages(getattr(pirf.problems, name)(n))


def test_a_problem_without_recipe_is_refused_in_one_line():
    with pytest.raises(pirf.InputError, match=r"got pirf\.problems\.poisson") as refused:
        presets.stages(pirf.problems.poisson(16))
    assert "\n" not in str(refused.value)


def test_the_distance_from_the_exact_denoiser_vanishes_for_the_exact_denoiser():
    problem = pirf.problems.poisson(8)
    assert max(presets.distance_from_exact(problem, problem.oracle(), samples=4).values()) < 1e-12


def test_the_shipped_model_carries_its_card():
    model = pirf.load("poisson-32")
    assert model.shape == pirf.problems.poisson(32).shape
    assert model.card["problem"] == "pirf.problems.poisson(n=32)"
    assert len(model.card["stages"]) == len(model.card["updates"]) == len(presets.stages(pirf.problems.poisson(32)))
    assert model.card["parameters"] == sum(p.numel() for p in model.parameters())
