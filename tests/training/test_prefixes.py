import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Quadratic, Tiny, perturb

from pirf.backprop import LastSteps, LayerTruncated
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
    stored = Prefixes.compute(chain, 4, Noise(7).fold("pool")[range(6)], batch=3, progress=False)
    perturb(handover.tuned)
    again = torch.cat([chain.keyed(Noise(7).fold("pool")[range(i, i + 3)]).depart(4)[1].x for i in (0, 3)])
    assert torch.equal(stored.state.x, again)
    served = attrs.evolve(chain, prefixes=stored).keyed(Noise(9)[[4, 1]]).depart(4)[1]
    assert torch.equal(served.x, again[[4, 1]])


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_gradient_from_stored_states_is_that_of_recomputation(kind, count):
    """Also where graded steps begin above the handover, in the middle of the base's own multistep memory."""
    handover, chain = setting(kind, 2)
    perturb(handover.tuned)
    pool = Noise(7).fold("pool")
    stored = Prefixes.compute(chain, STEPS - count, pool[range(4)], progress=False)
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
    stored = Prefixes.compute(chain, 3, pool[range(6)], progress=False)
    part = LastSteps(3).loss(attrs.evolve(chain, prefixes=stored), Quadratic(0.3), pool[[5, 2]])
    assert_close(part.value, LastSteps(3).loss(chain, Quadratic(0.3), pool[[5, 2]]).value.detach())


def test_other_samples_are_computed():
    _, chain = setting(Euler, 2)
    stored = Prefixes.compute(chain, 4, Noise(7).fold("pool")[range(3)], progress=False)
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


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("options", [{}, {"channels": (1,)}, {"channels": (1,), "reads": (0,), "floor": 2.0}])
@pytest.mark.parametrize("truncated", [False, True])
def test_what_is_recalled_is_what_would_be_evaluated(kind, options, truncated):
    """The features of a frozen trunk and the base's estimate, stored: the same loss and gradient, fewer evaluations."""
    sampler = kind(steps=STEPS)
    handover = Handover(Tiny(), perturb(Tiny()), sampler.before_last(2), **options)
    chain, pool = Chain(sampler, handover, Noise(7)), Noise(7).fold("pool")
    strategy = LayerTruncated(LastSteps(2)) if truncated else LastSteps(2)
    trained = strategy.trainable(handover)
    stored = Prefixes.compute(strategy.prepare(chain), 4, pool[range(5)], batch=2, progress=False)
    bare = Prefixes.compute(strategy.prepare(chain), 4, pool[range(5)], batch=2, features=0, progress=False)
    assert len(stored.state.known) == truncated + ("channels" in options)
    assert bare.state.known == ()
    losses = [strategy.loss(attrs.evolve(chain, prefixes=p), Quadratic(0.3), pool[[4, 1]]) for p in (stored, bare)]
    assert_close(losses[0].value.detach(), losses[1].value.detach())
    for a, b in zip(*(torch.autograd.grad(loss.value, trained) for loss in losses), strict=True):
        assert_close(a, b)
    assert losses[0].evaluations == losses[1].evaluations - ("channels" in options)


def test_states_live_in_files_where_a_folder_is_given(tmp_path):
    _, chain = setting(Multistep, 2, (1,))
    noise = Noise(7).fold("pool")[range(5)]
    here = Prefixes.compute(chain, 4, noise, batch=2, progress=False)
    there = Prefixes.compute(chain, 4, noise, batch=2, folder=tmp_path / "states", progress=False)
    assert len(list((tmp_path / "states").glob("*.raw"))) == 3  # x, what a multistep method remembers, the base's estimate
    for a, b in zip(here(chain.keyed(Noise(0)[[3, 0]]))[1].known, there(chain.keyed(Noise(0)[[3, 0]]))[1].known, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(here.state.x, there.state.x)


def test_files_of_the_same_pool_are_used_again_and_damaged_or_other_ones_are_not(tmp_path):
    _, chain = setting(Multistep, 2, (1,))
    noise = Noise(7).fold("pool")[range(5)]

    def compute(identity="me"):
        before = chain.tally.evaluations
        found = Prefixes.compute(chain, 4, noise, batch=2, folder=tmp_path, identity=identity, progress=False)
        return found, chain.tally.evaluations - before

    made, cost = compute()
    again, nothing = compute()
    assert cost > 0
    assert nothing == 0
    assert torch.equal(made.state.x, again.state.x)
    for one, other in zip((*made.state.memory, *made.state.known), (*again.state.memory, *again.state.known), strict=True):
        assert torch.equal(one, other)
    raw = tmp_path / "0.raw"
    data = bytearray(raw.read_bytes())
    data[11] ^= 1
    raw.write_bytes(bytes(data))
    repaired, spent = compute()
    assert spent == cost
    assert torch.equal(repaired.state.x, Prefixes.compute(chain, 4, noise, batch=2, progress=False).state.x)
    assert compute("you")[1] == cost
    (tmp_path / "manifest.json").write_text("{")
    assert compute("you")[1] == cost
