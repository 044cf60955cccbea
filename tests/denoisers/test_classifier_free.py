import pytest
import torch
from tolerances import assert_close
from toys import Function, Tiny, normal, perturb, tiny_unet

from pirf.denoisers import ClassifierFree, Handover
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Chain, Euler, Heun, Multistep

S2, T2 = 0.3, 1.7  # x | c ~ N(c, s²), c ~ N(0, t²), so that x ~ N(0, s² + t²)


def exact(x, sigma, condition):
    if condition is None:
        return (S2 + T2) / (S2 + T2 + sigma**2) * x
    c = condition["c"][:, None, None]
    return c + S2 / (S2 + sigma**2) * (x - c)


@pytest.mark.parametrize("weight", [-1.0, 0.0, 0.5, 3.0])
@pytest.mark.parametrize("level", [0.05, 0.7, 9.0])
def test_the_score_is_that_of_the_tilted_gaussian(weight, level):
    """p_σ(x|c)^{1+w}/p_σ(x)^w is a Gaussian of precision (1+w)/(s²+σ²) − w/(s²+t²+σ²); D = x + σ² ∇ log of it."""
    model, x, c = ClassifierFree(Function(exact), weight), normal(5, 1, 4), normal(5, seed=3)
    precision = (1 + weight) / (S2 + level**2) - weight / (S2 + T2 + level**2)
    mean = (1 + weight) * c / (S2 + level**2) / precision
    expected = x - level**2 * precision * (x - mean[:, None, None])
    found = model(x, torch.tensor(level, dtype=torch.float64), {"c": c})
    assert_close(found, expected, unit=float(expected.abs().max()) * max(1, weight))


@pytest.mark.parametrize(("weight", "times"), [(0.0, 1), (0.5, 2), (-1.0, 2)])
def test_evaluations_are_counted_as_they_are_made(weight, times):
    calls = []

    def spy(x, sigma, condition):
        calls.append(condition is None)
        return 0.5 * x

    chain = Chain(Heun(steps=4), ClassifierFree(Function(spy), weight), Noise(0)[range(2)], {"c": torch.zeros(2)})
    chain.run(chain.initial())
    assert chain.tally.evaluations == len(calls) == 7 * times
    assert sum(calls) == 7 * (times - 1)


def test_without_a_condition_it_is_the_denoiser():
    model, x, sigma = Tiny(), normal(2, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    assert torch.equal(ClassifierFree(model, 2.0)(x, sigma), model(x, sigma))


def test_a_multistep_keeps_its_memory_except_at_a_handover():
    """The network of a step is always the same object, as it is without guidance."""
    split = Handover(Tiny(), perturb(Tiny()), Multistep(steps=5).before_last(2))
    plain, guided = (Chain(Multistep(steps=5), model, Noise(1)[range(2)]) for model in (split, ClassifierFree(split, 0.5)))
    assert torch.equal(guided.run(guided.initial()).x, plain.run(plain.initial()).x)
    assert guided.denoiser.for_step(0.01) is guided.denoiser.for_step(0.02)
    assert guided.denoiser.for_step(0.01).inner is split.for_step(0.01)


def test_layers_and_levels_are_the_inner_denoisers():
    model = tiny_unet()
    guided = ClassifierFree(model, 0.5)
    assert guided.tunable() == model.tunable()
    assert [id(p) for p in guided.last_stages(1)] == [id(p) for p in model.last_stages(1)]
    x, sigma = normal(2, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(guided.frozen_trunk(1)(x, sigma), model(x, sigma))
    below = Euler(steps=5).before_last(2)
    with pytest.raises(InputError, match="must depart below the handover"):
        Chain(Euler(steps=5), ClassifierFree(Handover.split(model, 1e-9), 0.5), Noise(0))
    Chain(Euler(steps=5), ClassifierFree(Handover.split(model, below), 0.5), Noise(0))


@pytest.mark.parametrize("weight", [-1.1, float("nan"), float("inf")])
def test_weights_that_turn_against_the_condition_are_refused(weight):
    with pytest.raises(InputError, match="a weight of -1 or more is needed"):
        ClassifierFree(Tiny(), weight)
