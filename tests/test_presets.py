"""A recipe trains, resumes and fills a card; what has none is refused."""

import pytest
import torch

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


@pytest.mark.parametrize("name", pirf.shipped())
def test_a_shipped_model_carries_its_card(name):
    kind, n = name.rsplit("-", 1)
    problem = pirf.problems.catalogue[kind](int(n))
    model = pirf.load(name)
    assert model.shape == problem.shape
    assert model.card["problem"] == repr(problem)
    assert len(model.card["stages"]) == len(model.card["updates"]) == len(presets.stages(problem))
    assert model.card["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("preset", [presets.as_released, presets.as_described, presets.distilled])
def test_both_readings_of_pirf_tune_a_model_by_name(preset):
    problem = pirf.problems.poisson(8)
    base = pirf.UNet(problem.shape, problem.scaling, channels=4, multipliers=(1, 2))
    recipe = preset(problem, steps=2, batch=2)
    tuned = pirf.finetune(base, **recipe, progress=False)
    assert recipe["gradient"] == pirf.LayerTruncated(pirf.LastSteps(2), stages=1)
    ours = {id(p) for p in recipe["gradient"].trainable(tuned)}
    for before, after in zip(base.parameters(), tuned.parameters(), strict=True):
        assert id(after) in ours or torch.equal(before, after)


def test_the_released_ramp_is_that_of_images():
    """The rate after u updates of b images is 1e-4 · min(1, u b / 10⁷)."""
    rate = presets.as_released(pirf.problems.poisson(8), steps=1000, batch=20)["rate"]
    assert rate(0.5) == pytest.approx(500 * 20 / 1e7)
    long = presets.as_released(pirf.problems.poisson(8), steps=1_000_000, batch=20)["rate"]
    assert long(0.5) == 1.0
    assert long(0.25) == pytest.approx(250_000 * 20 / 1e7)


def test_what_the_recipes_do_not_say_is_asked_for():
    problem = pirf.problems.poisson(8)
    assert presets.as_described(problem, steps=1, sampling=80)["gradient"].inner == pirf.LastSteps(1)
    with pytest.raises(pirf.InputError, match="graded= is needed at 40 sampling steps: got None"):
        presets.as_described(problem, steps=1, sampling=40)
    with pytest.raises(pirf.InputError, match="a problem with a published residual is needed: got"):
        presets.as_released(pirf.problems.heat(8), steps=1)


def test_the_handover_writes_what_is_solved_for_and_can_be_run():
    problem = pirf.problems.poisson(16)
    base = pirf.UNet(problem.shape, problem.scaling, channels=8, multipliers=(1, 2))
    recipe = presets.handed_over(problem, base, sampling=4, reads=True, pool=8)
    split = recipe["denoiser"]
    assert (split.channels, split.reads, split.floor) == (problem.solved, problem.given, 2.0)
    tuned = pirf.finetune(**recipe, steps=2, progress=False)
    plain, after = (pirf.sample(model, recipe["sampler"], 4, seed=5) for model in (base, tuned))
    assert torch.equal(plain[:, problem.given], after[:, problem.given])
    assert not torch.equal(plain[:, problem.solved], after[:, problem.solved])
    whole = presets.handed_over(pirf.problems.burgers(16), pirf.UNet(pirf.problems.burgers(16).shape), sampling=4, pool=8)[
        "denoiser"
    ]
    assert (whole.channels, whole.floor) == (None, 0.0)
