import copy

import pytest
import torch
from tolerances import assert_close
from torch import nn
from toys import Constant, Linear, Tiny, normal, perturb

from pirf.denoisers import Handover
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep
from pirf.scaling import Scaling
from pirf.schedules import EDM

STEPS = 6
SAMPLERS = [Euler, Heun, Multistep, Ancestral]


def chain(kind, denoiser):
    return Chain(kind(steps=STEPS), denoiser, Noise(3)[range(2)])


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("count", [1, 2, 4])
def test_above_the_handover_everything_is_the_bases_and_below_the_tuned_ones(kind, count):
    base = Tiny()
    handover = Handover.split(base, kind(steps=STEPS).before_last(count))
    perturb(handover.tuned)
    ours, theirs = chain(kind, handover), chain(kind, base)
    for stop in range(STEPS - count + 1):
        assert torch.equal(ours.depart(stop)[1].x, theirs.depart(stop)[1].x)
    state = theirs.depart(STEPS - count)[1]
    assert not torch.equal(ours.step(STEPS - count, state).x, theirs.step(STEPS - count, state).x)
    tail = chain(kind, handover.tuned)
    start = ours.depart(STEPS - count)[1]
    start = type(start)(start.x)  # the tail begins without the base's memory
    assert torch.equal(ours.run(start, STEPS - count).x, tail.run(start, STEPS - count).x)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_fresh_copy_is_the_base(kind):
    """Multistep loses its memory at the handover and only it therefore differs from the plain base."""
    base = Tiny()
    handover = Handover.split(base, kind(steps=STEPS).before_last(2))
    whole = chain(kind, handover).run(chain(kind, handover).initial()).x
    plain = chain(kind, base).run(chain(kind, base).initial()).x
    assert torch.equal(whole, plain) == (kind is not Multistep)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_with_channels_the_others_are_the_bases_after_one_step(kind):
    base = Tiny()
    sampler = kind(steps=STEPS)
    handover = Handover.split(base, sampler.before_last(1), channels=(1,))
    perturb(handover.tuned)
    ours, theirs = chain(kind, handover), chain(kind, base)
    moved, kept = ours.run(ours.initial()).x, theirs.run(theirs.initial()).x
    assert torch.equal(moved[:, 0], kept[:, 0])
    assert not torch.equal(moved[:, 1], kept[:, 1])


def test_the_spliced_tail_costs_one_more_evaluation_per_call():
    base = Tiny()
    for channels, price in ((None, 1), ((1,), 2)):
        c = chain(Heun, Handover.split(base, Heun(steps=STEPS).before_last(2), channels))
        c.run(c.initial())
        assert c.tally.evaluations == 2 * (STEPS - 2) + price * 3


def test_the_spliced_tail_is_tuned_in_its_channels_and_base_elsewhere():
    base, tuned = Tiny(), perturb(Tiny())
    x, sigma = normal(2, 2, 8, 8), torch.tensor(0.1, dtype=torch.float64)
    tail = Handover(base, tuned, 1.0, (1,)).tail
    assert torch.equal(tail(x, sigma)[:, 0], base(x, sigma)[:, 0])
    assert torch.equal(tail(x, sigma)[:, 1], tuned(x, sigma)[:, 1])


def test_a_tail_reads_what_it_is_given_and_nothing_else():
    """Whatever the state holds in the other channels, what the tuned network writes does not change."""
    base, tuned = Tiny(), perturb(Tiny())
    tail = Handover(base, tuned, 1.0, channels=(1,), reads=(0,)).tail
    x, other, sigma = normal(2, 2, 8, 8), normal(2, 2, 8, 8, seed=1), torch.tensor(0.1, dtype=torch.float64)
    mixed = torch.cat([x[:, :1], other[:, 1:]], 1)
    assert torch.equal(tail(x, sigma)[:, 1], tail(mixed, sigma)[:, 1])
    assert torch.equal(tail(x, sigma)[:, 1], tuned(torch.cat([x[:, :1], 0 * x[:, 1:]], 1), sigma)[:, 1])
    assert torch.equal(tail(x, sigma)[:, 0], base(x, sigma)[:, 0])


@pytest.mark.parametrize("channels", [None, (1,)])
def test_below_its_floor_the_tuned_network_is_asked_at_the_floor(channels):
    base, tuned = Tiny(), perturb(Tiny())
    tail = Handover(base, tuned, 9.0, channels, floor=2.0).tail
    x = normal(2, 2, 8, 8)
    for level in (0.1, 2.0, 5.0):
        sigma = torch.tensor(level, dtype=torch.float64)
        assert torch.equal(tail(x, sigma)[:, 1], tuned(x, sigma.clamp_min(2.0))[:, 1])
    assert tail.cost == (1 if channels is None else 2) * base.cost


def test_the_base_of_a_spliced_tail_never_trains_but_carries_the_state_gradient():
    base, tuned = Tiny().requires_grad_(False), Tiny()
    tail = Handover(base, tuned, 1.0, (1,)).tail
    x, sigma = normal(2, 2, 8, 8).requires_grad_(), torch.tensor(0.1, dtype=torch.float64)
    (through,) = torch.autograd.grad(tail(x, sigma)[:, 0].sum(), x)
    (exact,) = torch.autograd.grad(base(x, sigma)[:, 0].sum(), x)
    assert torch.equal(through, exact)


def test_forward_sends_every_sample_where_its_level_belongs():
    base, tuned = Tiny(), perturb(Tiny())
    handover = Handover(base, tuned, 1.0)
    x = normal(3, 2, 8, 8)
    sigma = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    mixed = handover(x, sigma)
    assert torch.equal(mixed[:1], tuned(x, sigma)[:1])
    assert torch.equal(mixed[1:], base(x, sigma)[1:])
    for level, network in ((sigma[0], tuned), (sigma[1], base)):
        assert torch.equal(handover(x, level), network(x, level))


def test_a_handover_trains_its_tuned_network_only():
    handover = Handover.split(Tiny(), 1.0)
    assert [id(p) for p in handover.tunable()] == [id(p) for p in handover.tuned.parameters()]
    assert [id(p) for p in handover.last_stages(1)] == [id(p) for p in handover.tuned.last_stages(1)]
    copied = copy.deepcopy(handover)
    assert copied.tail is copied.tuned
    assert copied.for_step(1.0) is copied.base
    assert copied.for_step(0.999) is copied.tail


def test_the_frozen_trunk_of_a_handover_has_its_value():
    base, tuned = Tiny(), perturb(Tiny())
    for channels, reads, floor in ((None, None, 0.0), ((0,), None, 0.0), ((1,), (0,), 2.0)):
        handover = Handover(base, tuned, 1.0, channels, reads, floor)
        x, sigma = normal(2, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
        assert torch.equal(handover.frozen_trunk(1)(x, sigma), handover(x, sigma))
        with pytest.raises(InputError, match="named stages"):
            Handover(Linear((2, 4)), Linear((2, 4)), 1.0).frozen_trunk(1)


def test_a_handover_below_every_departure_is_refused():
    with pytest.raises(InputError, match=r"depart below the handover at σ=0.001: got departures down to 0.002"):
        chain(Euler, Handover.split(Tiny(), 0.001))


def test_foreign_tail_levels_are_refused():
    sampler = Heun(steps=STEPS)
    below = sampler.before_last(2)
    handover = Handover(Tiny(), Tiny(), below, levels=sampler.levels[-3:-1])
    assert chain(Heun, handover).levels == sampler.levels
    assert chain(Euler, handover).levels == sampler.levels
    with pytest.raises(InputError, match="are what this handover was trained on: got"):
        Chain(Heun(steps=STEPS, schedule=EDM(rho=5.0)), handover, Noise(0))
    with pytest.raises(InputError, match="are what this handover was trained on: got"):
        Chain(Heun(steps=2 * STEPS), handover, Noise(0))


@pytest.mark.parametrize("bad", [
    lambda: Handover(Constant((1, 4)), Constant((1, 5)), 1.0),
    lambda: Handover(Constant((1, 4)), Constant((1, 4), scaling=Scaling((0.0,), (2.0,))), 1.0),
    lambda: Handover(Constant((1, 4)), Constant((1, 4)), 0.0),
    lambda: Handover(Constant((1, 4)), Constant((1, 4)), float("nan")),
])  # fmt: skip
def test_two_denoisers_of_different_fields_are_refused(bad):
    with pytest.raises(InputError, match="the same fields and a positive level: got"):
        bad()


@pytest.mark.parametrize("options", [{"channels": (2,)}, {"channels": ()}, {"channels": (1,), "reads": (-1,)}])
def test_channels_that_the_fields_lack_are_refused(options):
    with pytest.raises(InputError, match=r"channels among 0 … 1 are needed: got"):
        Handover(Tiny(), Tiny(), 1.0, **options)


@pytest.mark.parametrize("options", [{"reads": (0,)}, {"floor": -1.0}, {"floor": float("nan")}])
def test_a_state_cannot_be_overwritten_unread(options):
    with pytest.raises(InputError, match=r"reads= needs channels=, and floor ≥ 0: got"):
        Handover(Tiny(), Tiny(), 1.0, **options)


def forked(base, stages=1):
    handover = Handover.split(base, Heun(steps=STEPS).before_last(2), channels=(1,), stages=stages)
    perturb(nn.ParameterList(handover.tunable()))
    return handover


@pytest.mark.parametrize("stages", [1, 2, 3])
def test_a_shared_trunk_changes_no_value_and_no_gradient(stages):
    """Beside two networks with the same weights, along two graded steps of Heun: the state carries gradients as well."""
    shared = forked(Tiny(), stages)
    apart = Handover(copy.deepcopy(shared.base), copy.deepcopy(shared.tuned), shared.below, (1,))
    ends = []
    for handover in (shared, apart):
        trained = handover.last_stages(stages)
        for p in handover.parameters():
            p.requires_grad_(any(p is q for q in trained))
        c = chain(Heun, handover)
        x = c.run(c.depart(STEPS - 2)[1], STEPS - 2).x
        ends.append((x, *torch.autograd.grad((x**2).sum(), trained)))
    for ours, theirs in zip(*ends, strict=True):
        assert_close(ours, theirs)


def test_a_shared_trunk_is_one_and_evaluated_once():
    base, calls = Tiny(), []
    handover = copy.deepcopy(forked(base))
    assert {id(p) for p in handover.tuned.parameters()} - {id(p) for p in handover.base.parameters()} == {
        id(p) for p in handover.tunable()
    }
    for network in (handover.base, handover.tuned):
        network.two.register_forward_hook(lambda *_: calls.append("trunk"))
        network.three.register_forward_hook(lambda *_: calls.append("end"))
    handover.tail(normal(2, 2, 8, 8), torch.tensor(0.1, dtype=torch.float64))
    assert sorted(calls) == ["end", "end", "trunk"]


def test_what_a_shared_trunk_remembers_is_recalled():
    tail, x, sigma = forked(Tiny()).tail, normal(2, 2, 8, 8), torch.tensor(0.1, dtype=torch.float64)
    assert torch.equal(tail.recall(x, sigma, None, tail.remember(x, sigma)), tail(x, sigma))


def test_the_trunk_of_a_fork_has_no_tunable_stages():
    handover = forked(Tiny(), 2)
    assert handover.frozen_trunk(1) is handover
    with pytest.raises(InputError, match=r"2 stage\(s\) of its own to train: got 3"):
        handover.last_stages(3)
    with pytest.raises(InputError, match=r"2 stage\(s\) of its own to train: got 3"):
        handover.frozen_trunk(3)


@pytest.mark.parametrize("options", [{}, {"channels": (1,), "floor": 2.0}, {"channels": (1,), "reads": (0,)}])
def test_a_trunk_that_would_be_asked_otherwise_is_not_shared(options):
    with pytest.raises(InputError, match=r"stages= needs channels= and two networks on one trunk, asked alike: got Tiny"):
        Handover.split(Tiny(), 1.0, **options, stages=1)
    with pytest.raises(InputError, match="two networks on one trunk"):
        Handover(Tiny(), Tiny(), 1.0, channels=(1,), stages=1)


def test_a_tail_is_continuous_in_its_weights():
    """With base ≡ 0 and tuned ≡ θ the last step returns θ whatever came before."""
    handover = Handover(Constant((1, 4), 0.0), Constant((1, 4), 0.7), 0.01)
    c = chain(Euler, handover)
    assert_close(c.run(c.initial()).x, 0.7)
