"""Corrections of a fixed size, by hand."""

import pytest
import torch
from tolerances import assert_close
from toys import Quadratic, Tiny, normal

from pirf.denoisers import GaussianDenoiser
from pirf.errors import InputError
from pirf.grids import Grid
from pirf.guidance import CoCoGen
from pirf.inference import draw
from pirf.noise import Noise
from pirf.rewards import BlackBox, Observation, Poisson
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, State
from pirf.scaling import Scaling

SAMPLERS = [Euler, Heun, Multistep, Ancestral]
SHAPE = (2, 6, 6)
POISSON = Poisson(Grid.square(6))


def total(x):
    return x.flatten(1).sum(1)


def oracle():
    return GaussianDenoiser(SHAPE, 0.2, torch.linspace(0.2, 2.0, 72), scaling=Scaling((0.1, 0.0), (2.0, 0.5)))


def by_hand(x, scale, target, size):
    """The gradient of ½‖f − y‖² with f = scale·x + shift is scale·(f − y): divided by its largest component."""
    gradient = scale * (oracle().scaling.physical(x) - target)
    return x - size * gradient / gradient.flatten(1).abs().amax(1).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_last_steps_are_corrected_and_then_the_sample(kind):
    guided = CoCoGen(oracle(), Quadratic(1.0), 0.05, post=3, last=2, corrections=2, post_step=0.01)
    scale = torch.tensor([2.0, 0.5], dtype=torch.float64).reshape(-1, 1, 1)
    ours, plain = (Chain(kind(steps=4), d, Noise(3)[range(2)]) for d in (guided, oracle()))
    state = expected = ours.initial()
    for k in range(4):
        state, expected = ours.step(k, state), plain.step(k, expected)
        for _ in range(2 if k >= 2 else 0):
            expected = State(by_hand(expected.x, scale, 1.0, 0.05), expected.memory)
        assert_close(state.x, expected.x)
    end = expected.x
    for _ in range(3):
        end = by_hand(end, scale, 1.0, 0.01)
    assert_close(ours.run(ours.initial()).x, end)


def test_the_component_that_moves_most_moves_by_the_step():
    chain = Chain(Heun(steps=3), CoCoGen(oracle(), POISSON, 2e-3, post=1, post_step=3e-4), Noise(3)[range(4)])
    x = normal(4, *SHAPE)
    moved = (chain.denoiser.finish(chain, x) - x).flatten(1).abs().amax(1)
    assert_close(moved, torch.full((4,), 3e-4, dtype=torch.float64), unit=1e-3)


def test_several_rewards_are_corrected_for_at_once_each_with_a_step_of_its_own():
    mask = torch.ones(SHAPE, dtype=torch.bool)
    observation, x = Observation(mask, normal(*SHAPE, seed=4)), normal(3, *SHAPE)

    def shift(*rewards):
        guided = CoCoGen(oracle(), rewards, post=1, post_step=0.1)
        return guided.finish(Chain(Heun(steps=3), guided, Noise(3)[range(3)]), x) - x

    assert_close(shift(observation, POISSON), shift(observation) + shift(POISSON))


def test_a_solution_stays():
    guided = CoCoGen(oracle(), Quadratic(1.0), post=4)
    x = oracle().scaling.normalise(torch.ones(2, *SHAPE, dtype=torch.float64))
    assert torch.equal(guided.finish(Chain(Euler(steps=2), guided), x), x)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_it_evaluates_no_network_and_lowers_the_residual(kind):
    plain, guided = (draw(d, kind(steps=8), 4) for d in (oracle(), CoCoGen(oracle(), POISSON, 0.02, post=50, post_step=5e-3)))
    assert (guided.evaluations, guided.vjps) == (plain.evaluations, 0)
    assert (POISSON(guided.fields) > POISSON(plain.fields)).all()


@pytest.mark.parametrize("kind", SAMPLERS)
def test_without_corrections_it_is_the_plain_sampler_bit_for_bit(kind):
    for options in ({"last": 0, "post": 0}, {"corrections": 0, "post": 0}):
        ours, plain = (draw(d, kind(steps=3), 2).fields for d in (CoCoGen(Tiny(SHAPE), POISSON, **options), Tiny(SHAPE)))
        assert torch.equal(ours, plain)


def test_posterior_is_a_way_in():
    observation = Observation(torch.ones(SHAPE, dtype=torch.bool), normal(*SHAPE))
    assert CoCoGen.posterior(oracle(), observation, POISSON, post=3).rewards == (observation, POISSON)
    assert CoCoGen.posterior(oracle(), observation).rewards == (observation,)


def test_bad_guidance_is_refused():
    for rewards, got in (((), "none"), ((POISSON, BlackBox(total)), "BlackBox")):
        with pytest.raises(InputError, match=f"at least one reward, and differentiable ones only.*got {got}"):
            CoCoGen(oracle(), rewards)
    for options in ({"step": 0.0}, {"post": -1}, {"last": -1}, {"corrections": -1}, {"post_step": -1.0}):
        with pytest.raises(InputError, match="positive steps, and counts of 0 or more"):
            CoCoGen(oracle(), POISSON, **options)
