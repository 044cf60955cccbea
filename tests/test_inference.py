import inspect

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import Function, Tiny, tiny_unet

from pirf.denoisers import FieldInput, GaussianDenoiser, Handover, conditioned
from pirf.denoisers.residual_gradient import NAME, ResidualGradient
from pirf.errors import InputError
from pirf.grids import Grid
from pirf.guidance import DPS, CoCoGen, Projection, ResidualDescent
from pirf.inference import branches, draw, sample
from pirf.noise import Noise
from pirf.problems import poisson
from pirf.rewards import Poisson
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.scaling import Scaling

SAMPLERS = [Euler(steps=4), Heun(steps=4), Multistep(steps=4), Ancestral(steps=4)]
SCALING = Scaling((0.5, -1.0), (2.0, 3.0))


def oracle():
    return GaussianDenoiser((2, 4, 4), 0.2, torch.linspace(0.1, 2.0, 32), scaling=SCALING)


@given(st.sampled_from(SAMPLERS), st.integers(1, 7), st.integers(1, 8), st.integers(0, 5), st.integers(0, 3))
def test_sample_i_depends_on_seed_and_index_alone(sampler, count, batch, start, seed):
    whole = sample(oracle(), sampler, 12, seed)
    assert torch.equal(sample(oracle(), sampler, count, seed, start, batch=batch), whole[start : start + count])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_networks_and_full_covariances_agree_to_round_off(sampler):
    for model in (
        Tiny(),
        poisson(4).oracle(),
        Handover.split(Tiny(), sampler.before_last(2)),
        DPS(Tiny((2, 8, 8)), Poisson(Grid.square(8))),
    ):
        whole = sample(model, sampler, 6)
        assert_close(sample(model, sampler, 6, batch=1), whole)
        assert_close(sample(model, sampler, 3, start=2, batch=2), whole[2:5], unit=float(whole.abs().max()))


def test_fields_are_physical():
    chain = Chain(SAMPLERS[1], oracle(), Noise(3)[range(5)])
    assert torch.equal(sample(oracle(), SAMPLERS[1], 5, seed=3), SCALING.physical(chain.run(chain.initial()).x))


def test_seeds_differ():
    assert not torch.equal(sample(oracle(), SAMPLERS[0], 3), sample(oracle(), SAMPLERS[0], 3, seed=1))


def test_costs_are_per_sample():
    figures = draw(oracle(), Heun(steps=4), 7, batch=3)
    assert (figures.evaluations, figures.vjps) == (7, 0)
    guided = draw(DPS(Tiny(), Poisson(Grid.square(8)), active=(0.5, 1.0)), Heun(steps=4), 5, batch=2)
    assert (guided.evaluations, guided.vjps) == (7, 3)
    assert not guided.fields.requires_grad


def test_the_condition_is_cut_like_the_batch():
    told = Function(lambda x, sigma, condition: condition["target"].reshape(-1, 1, 1).expand(x.shape))
    target = torch.arange(7, dtype=torch.float64)
    fields = sample(told, Euler(steps=2), 7, condition={"target": target}, batch=3)
    assert torch.equal(fields[:, 0, 0], target)


@pytest.mark.parametrize("bad", [{"count": 0}, {"count": -1}, {"batch": 0}, {"start": -1}])
def test_impossible_requests_are_refused(bad):
    with pytest.raises(InputError, match="got count="):
        sample(oracle(), SAMPLERS[0], **({"count": 2} | bad))


# Conditions.


def test_every_sample_is_told_its_entry_for_any_batch():
    """D ≡ c: sample i is entry i."""
    model = Function(lambda x, sigma, condition: condition["c"][:, None, None].expand(x.shape))
    told = {"c": torch.linspace(-1, 1, 7, dtype=torch.float64)}
    for batch in (1, 3, 64):
        x = sample(model, Euler(steps=3), 7, start=5, condition=told, batch=batch)
        assert_close(x, told["c"][:, None, None].expand(7, 1, 4))


@pytest.mark.parametrize("bad", [torch.zeros(6), torch.zeros(8), torch.zeros(())])
def test_other_numbers_of_entries_are_refused(bad):
    with pytest.raises(InputError, match="conditions with 7 entries are needed, one for each sample: got c of shape"):
        sample(oracle(), Euler(steps=3), 7, condition={"c": bad})


@pytest.mark.parametrize("bad", [3.0, [3.0] * 7])
def test_a_condition_that_is_no_tensor_is_refused(bad):
    """As callers without a type checker give it."""
    with pytest.raises(InputError, match=f"conditions with 7 entries are needed.* got c, a {type(bad).__name__}"):
        inspect.unwrap(draw)(oracle(), Euler(steps=3), 7, condition={"c": bad})


GUIDED = {
    "DPS": DPS,
    "CoCoGen": CoCoGen,
    "Projection": Projection,
    "ResidualDescent": ResidualDescent,
    "ResidualGradient": lambda model, reward: ResidualGradient(conditioned(model, {NAME: FieldInput(2)}), reward),
}


@pytest.mark.parametrize("guide", GUIDED.values(), ids=GUIDED)
def test_guided_samples_are_the_same_in_inference_mode(guide):
    model = guide(tiny_unet((2, 8, 8)), Poisson(Grid.square(8)))
    plain = sample(model, Heun(steps=3), 2)
    later = branches(model, Heun(steps=3), 1, 2)
    with torch.inference_mode():
        assert torch.equal(sample(model, Heun(steps=3), 2), plain)
        assert torch.equal(branches(model, Heun(steps=3), 1, 2)(model), later(model))
