import copy

import pytest
import torch
from tolerances import assert_close
from toys import Quadratic, Tiny, normal, perturb, scramble, tiny_unet

import pirf
from pirf.backprop import AdjointMatching, Full, LastSteps, LayerTruncated, LowVariance, OneStep, Windows
from pirf.denoisers import GaussianDenoiser, Handover, NoiseMap
from pirf.errors import InputError
from pirf.guidance import DPS
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.testing import check_denoiser

SAMPLERS = [Euler(steps=4), Heun(steps=4), Multistep(steps=4), Ancestral(steps=4, eta=0.5)]


def run(denoiser, sampler=SAMPLERS[1], samples=3):
    chain = Chain(sampler, denoiser, Noise(2)[range(samples)])
    with torch.no_grad():
        return chain.run(chain.initial()).x, chain.tally.evaluations


def moved(base, **options):
    model = NoiseMap(base, **options)
    scramble(model.offset, 0.2)
    return model


@pytest.mark.parametrize("sampler", SAMPLERS, ids=repr)
def test_it_begins_as_the_base_to_the_last_bit_and_costs_nothing_more(sampler):
    for base in (Tiny(), Handover(Tiny(), perturb(Tiny()), sampler.before_last(2), channels=(1,))):
        plain, cost = run(base, sampler)
        x, same = run(NoiseMap(base), sampler)
        assert torch.equal(x, plain)
        assert run(moved(base), sampler)[1] == same == cost


@pytest.mark.parametrize("shape", [(3,), (1, 1), (2, 5), (2, 4, 6), (2, 4, 3, 2), (1, 2, 3, 2, 2)])
def test_it_fits_fields_of_any_shape(shape):
    base = GaussianDenoiser(shape, 0.3)
    assert torch.equal(run(NoiseMap(base))[0], run(base)[0])
    assert run(moved(base))[0].shape == (3, *shape)


def test_a_chain_begins_with_the_mapped_noise():
    model = moved(Tiny())
    chain = Chain(SAMPLERS[1], model, Noise(2)[range(3)])
    z = chain.white()
    assert torch.equal(z, chain.noise.fold("initial").normal((2, 8, 8), torch.float64))
    assert torch.equal(chain.initial().x, chain.levels[0] * (z + model.offset(z)))
    assert float((chain.initial().x / chain.levels[0] - z).detach().norm()) > 1
    for wrapped in (DPS(model, Quadratic()), Handover(model, Tiny(), SAMPLERS[1].before_last(1)), NoiseMap(model)):
        assert torch.equal(Chain(SAMPLERS[1], wrapped, chain.noise).initial().x, chain.initial().x)


def test_samples_are_mapped_alone():
    model = moved(Tiny())
    assert_close(run(model, samples=5)[0][:2], run(model, samples=2)[0])


def test_the_map_is_the_base_and_all_that_may_be_tuned_is_the_map():
    model = moved(Tiny())
    check_denoiser(model)
    x, level = normal(2, 2, 8, 8), torch.tensor(0.5, dtype=torch.float64)
    assert torch.equal(model(x, level), Tiny()(x, level))
    assert {id(p) for p in model.tunable()} == {id(p) for p in model.offset.parameters()}
    assert {p.dtype for p in model.parameters()} == {torch.float64}


@pytest.mark.parametrize("split", [False, True])
def test_it_is_saved_loaded_and_copied(split, tmp_path):
    base = tiny_unet(dtype=torch.float32)
    model = moved(Handover.split(base, SAMPLERS[1].before_last(1), channels=(1,), stages=1) if split else base, width=5)
    x, _ = run(model)
    assert torch.equal(run(copy.deepcopy(model))[0], x)
    back = pirf.load(pirf.save(model, tmp_path / "model"))
    assert isinstance(back, NoiseMap)
    assert back.width == 5
    assert torch.equal(run(back)[0], x)


def test_a_pathwise_strategy_reaches_the_map_through_the_whole_chain_alone():
    model = NoiseMap(Tiny())
    chain, noise = Chain(SAMPLERS[1], model, Noise(0)), Noise(5)[range(2)]
    loss = Full().loss(chain, Quadratic(0.3), noise)
    assert float(torch.autograd.grad(loss.value, [model.offset.linear.weight])[0].abs().max()) > 0
    call = {"sampler": SAMPLERS[1], "steps": 1, "progress": False}
    for strategy in (LastSteps(1), LowVariance(1), OneStep(1), Windows(1)):
        with pytest.raises(InputError, match=f"{type(strategy).__name__} needs a differentiable reward and trainable steps"):
            pirf.finetune(model, Quadratic(), gradient=strategy, **call)
    with pytest.raises(InputError, match="AdjointMatching needs steps with trainable weights: got NoiseMap without one"):
        pirf.finetune(model, Quadratic(), gradient=AdjointMatching(), **(call | {"sampler": Ancestral(steps=3)}))
    with pytest.raises(InputError, match="layer truncation needs a denoiser with named stages: got NoiseMap"):
        pirf.finetune(model, Quadratic(), gradient=LayerTruncated(Full()), **call)


def test_a_map_without_a_channel_is_refused():
    with pytest.raises(InputError, match="a map of at least one channel is needed: got width=0"):
        NoiseMap(Tiny(), width=0)
