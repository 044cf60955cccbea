"""``finetune(recompute=True)`` keeps the inputs of graded evaluations only: weights and figures are the same bit for bit."""

import pytest
import torch
from toys import Quadratic, Tiny, tiny_unet

from pirf.backprop import Full, LastSteps, LayerTruncated, LowVariance, OneStep, RandomSteps, Windows
from pirf.denoisers import Handover, low_rank
from pirf.regularizers import Distillation
from pirf.samplers import Ancestral, Euler, Heun, Multistep
from pirf.schedules import EDM
from pirf.training import finetune
from pirf.training.meters import metered

LEVELS = EDM(0.5, 10.0)
STRATEGIES = [
    LastSteps(1),
    LastSteps(3),
    Full(),
    Full(segments=2),
    Full(segments=4),
    LowVariance(2),
    OneStep(3),
    RandomSteps(),
    Windows(2, updates=1),
    LayerTruncated(LastSteps(1)),
    LayerTruncated(LastSteps(2)),
    LayerTruncated(LastSteps(2), state_path="preconditioner"),
    LayerTruncated(Full(segments=2), stages=2),
]


def both(denoiser, sampler=Heun(4, LEVELS), **options):
    """The same run with and without."""
    settings = {"steps": 3, "batch": 3, "lr": 0.02, "seed": 1, "progress": False, "sampler": sampler, **options}
    plain, again = (finetune(denoiser, Quadratic(0.4), recompute=recompute, **settings) for recompute in (False, True))
    for (name, p), q in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q), name
    for a, b in zip(plain.history, again.history, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == {k: v for k, v in b.items() if k != "seconds"}
    assert any(not torch.equal(p, q) for p, q in zip(plain.parameters(), denoiser.parameters(), strict=True))


@pytest.mark.parametrize("gradient", STRATEGIES, ids=repr)
def test_every_pathwise_strategy(gradient):
    both(Tiny(), gradient=gradient)


@pytest.mark.parametrize("sampler", [Euler(4, LEVELS), Multistep(4, LEVELS), Ancestral(4, LEVELS)], ids=repr)
@pytest.mark.parametrize("gradient", [LastSteps(2), Full(segments=2)], ids=repr)
def test_every_sampler(sampler, gradient):
    both(Tiny(), sampler, gradient=gradient)


@pytest.mark.parametrize("gradient", [LastSteps(1), LayerTruncated(LastSteps(1))], ids=repr)
@pytest.mark.parametrize("channels", [None, (1,)])
def test_a_handover_with_stored_states(gradient, channels):
    handover = Handover.split(Tiny(), Heun(4, LEVELS).before_last(2), channels=channels)
    both(handover, gradient=gradient, pool=6)


def test_the_real_network_with_adapters_a_regularizer_and_micro_batches():
    both(low_rank(tiny_unet(), 2), gradient=LastSteps(2), regularizer=Distillation(0.1), micro=2, replay=3)


@pytest.mark.parametrize("gradient", [LastSteps(4), Full()])
def test_less_is_kept(gradient):
    """Of 7 evaluations with Heun, N = 4, the activations of one at a time: less than half of the whole graph's peak."""
    peaks = []
    for recompute in (False, True):
        with metered(torch.device("cpu")) as meter:
            options = {"sampler": Heun(4, LEVELS), "gradient": gradient, "batch": 16, "steps": 2, "progress": False}
            finetune(tiny_unet(dtype=torch.float32), Quadratic(0.4), recompute=recompute, **options)
        peaks.append(meter.most())
    assert peaks[1] < 0.5 * peaks[0]
