import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Quadratic, Tiny, perturb

from pirf.backprop import LastSteps
from pirf.backprop.base import first_trained
from pirf.denoisers import Handover
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.training.prefixes import Prefixes

STEPS = 6
SAMPLERS = [Euler, Heun, Multistep, Ancestral]


def setting(kind, tail, channels=None):
    sampler = kind(steps=STEPS)
    handover = Handover.split(Tiny(), sampler.before_last(tail), channels)
    return handover, Chain(sampler, handover, Noise(7))


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("channels", [None, (1,)])
def test_stored_states_do_not_see_the_tuned_weights(kind, channels):
    handover, chain = setting(kind, 2, channels)
    stored = Prefixes.compute(chain, 4, Noise(7).fold("pool"), 6, batch=3, progress=False)
    perturb(handover.tuned)
    again = torch.cat([chain.keyed(Noise(7).fold("pool")[range(i, i + 3)]).depart(4)[1].x for i in (0, 3)])
    assert torch.equal(stored.states, again)
    served = attrs.evolve(chain, prefixes=stored).keyed(Noise(9)[[4, 1]]).depart(4)[1]
    assert torch.equal(served.x, again[[4, 1]])


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_gradient_from_stored_states_is_that_of_recomputation(kind, count):
    """Also where graded steps begin above the handover, in the middle of the base's own multistep memory."""
    handover, chain = setting(kind, 2)
    perturb(handover.tuned)
    pool = Noise(7).fold("pool")
    stored = Prefixes.compute(chain, STEPS - count, pool, 4, progress=False)
    trained = list(handover.tuned.parameters())
    losses = [LastSteps(count).loss(c, Quadratic(0.3), pool[range(4)]) for c in (attrs.evolve(chain, prefixes=stored), chain)]
    assert torch.equal(losses[0].value, losses[1].value)
    for a, b in zip(*(torch.autograd.grad(loss.value, trained, allow_unused=True) for loss in losses), strict=True):
        assert torch.equal(a, b)
    assert losses[0].evaluations < losses[1].evaluations
    assert losses[0].vjps == losses[1].vjps


def test_a_batch_of_the_pool_is_the_pools():
    _, chain = setting(Multistep, 2)
    pool = Noise(7).fold("pool")
    stored = Prefixes.compute(chain, 3, pool, 6, progress=False)
    part = LastSteps(3).loss(attrs.evolve(chain, prefixes=stored), Quadratic(0.3), pool[[5, 2]])
    assert_close(part.value, LastSteps(3).loss(chain, Quadratic(0.3), pool[[5, 2]]).value.detach())


def test_other_samples_are_computed():
    _, chain = setting(Euler, 2)
    stored = Prefixes.compute(chain, 4, Noise(7).fold("pool"), 3, progress=False)
    served = attrs.evolve(chain, prefixes=stored)
    assert stored(served.keyed(Noise(0)[[3]])) is None
    assert stored(served.keyed(Noise(0)[[2]]))[0] == 4
    assert torch.equal(served.keyed(Noise(0)[[3]]).depart(4)[1].x, chain.keyed(Noise(0)[[3]]).depart(4)[1].x)


def test_what_is_stored_are_the_steps_that_no_trained_weight_makes():
    handover, chain = setting(Heun, 2)
    handover.base.requires_grad_(False)
    assert first_trained(chain) == 4
    assert first_trained(Chain(Heun(steps=STEPS), handover.tuned, Noise(0))) == 0
    shared = Handover(handover.tuned, handover.tuned, handover.below)
    assert first_trained(Chain(Heun(steps=STEPS), shared, Noise(0))) == 0
    assert first_trained(Chain(Heun(steps=STEPS), handover.base, Noise(0))) == STEPS
