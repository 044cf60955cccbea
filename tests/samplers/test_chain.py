import pytest
import torch
from toys import Function, Tiny, normal, perturb, tiny_unet

from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep, State
from pirf.schedules import Levels

STEPS = 5
SAMPLERS = [Euler, Heun, Multistep, Ancestral]
EVALUATIONS = {Euler: STEPS, Heun: 2 * STEPS - 1, Multistep: STEPS, Ancestral: STEPS}


def chain(kind, denoiser=None, samples=3, **options):
    return Chain(kind(steps=STEPS), denoiser or Tiny(), Noise(4)[range(samples)], **options)


@pytest.mark.parametrize("kind", SAMPLERS)
@pytest.mark.parametrize("handover", [False, True])
def test_a_chain_split_anywhere_is_the_chain(kind, handover):
    base = Tiny()
    denoiser = Handover(base, perturb(Tiny()), kind(steps=STEPS).before_last(2)) if handover else base
    c = chain(kind, denoiser)
    whole = c.run(c.initial()).x
    for cut in range(STEPS + 1):
        assert torch.equal(c.run(c.run(c.initial(), 0, cut), cut).x, whole)
        assert torch.equal(c.run(c.depart(cut)[1], cut).x, whole)
    state = c.initial()
    for k in range(STEPS):
        state = c.run(state, k, k + 1).detach()
    assert torch.equal(state.x, whole)


def test_the_memory_of_a_multistep_is_void_at_a_handover():
    """The tail's first step is then Euler's, whatever the base had remembered; and with the memory it would not be."""
    base, tuned = Tiny(), perturb(Tiny())
    below = Multistep(steps=STEPS).before_last(2)
    c = chain(Multistep, Handover(base, tuned, below))
    k = STEPS - 2
    before = c.depart(k)[1]
    euler = chain(Euler, tuned)
    assert torch.equal(c.step(k, before).x, euler.step(k, before).x)
    assert not torch.equal(chain(Multistep, tuned).step(k, before).x, euler.step(k, before).x)


@pytest.mark.parametrize("kind", SAMPLERS)
def test_evaluations_are_counted_where_they_are_made(kind):
    calls = []

    def spy(x, sigma, condition):
        calls.append(float(sigma))
        return 0.5 * x

    c = chain(kind, Function(spy))
    c.run(c.initial())
    assert c.tally.evaluations == len(calls) == EVALUATIONS[kind]
    assert c.tally.ungraded == 0
    c.depart(2)[1]
    assert c.tally.ungraded == c.tally.evaluations - EVALUATIONS[kind] == len(calls) - EVALUATIONS[kind] > 0
    assert set(calls) == set(c.levels[:-1])


def test_heun_corrects_with_the_network_of_its_departure():
    seen = {}

    def spy(name):
        def estimate(x, sigma, condition):
            seen.setdefault(name, []).append(float(sigma))
            return 0.5 * x

        return Function(estimate)

    sampler = Heun(steps=STEPS)
    c = Chain(sampler, Handover(spy("base"), spy("tuned"), sampler.before_last(2)), Noise(0))
    c.run(c.initial())
    s = sampler.levels
    assert seen["base"] == [s[0], s[1], s[1], s[2], s[2], s[3]]
    assert seen["tuned"] == [s[3], s[4], s[4]]


@pytest.mark.parametrize("kind", SAMPLERS)
def test_the_last_step_returns_the_estimate(kind):
    c = chain(kind)
    before = c.run(c.initial(), 0, STEPS - 1)
    assert torch.equal(c.step(STEPS - 1, before).x, c.predict(before.x, STEPS - 1))


@pytest.mark.parametrize("kind", SAMPLERS)
def test_a_sample_does_not_know_its_batch(kind):
    oracle = GaussianDenoiser((2, 4, 4), mean=0.3, variances=torch.linspace(0.1, 2, 32))
    c = chain(kind, oracle, samples=6)
    whole = c.run(c.initial()).x
    for part in ([5, 1], [3], [0, 1, 2, 3, 4, 5]):
        d = c.keyed(c.noise[part])
        assert torch.equal(d.run(d.initial()).x, whole[part])


def test_visits_are_the_departures():
    c, seen = chain(Heun), []
    c.run(c.initial(), visit=lambda k, state: seen.append((k, state.x)))
    assert [k for k, _ in seen] == list(range(STEPS))
    for k, x in seen:
        assert torch.equal(x, c.run(c.initial(), 0, k).x)


def test_the_initial_state_and_renoising():
    c = chain(Euler)
    assert torch.equal(c.initial().x, c.levels[0] * c.noise.fold("initial").normal((2, 8, 8), torch.float64))
    x0, noise = normal(3, 2, 8, 8), Noise(9)[range(3)]
    assert torch.equal(c.renoise(x0, 2, noise), x0 + c.levels[2] * noise.normal((2, 8, 8), torch.float64))


def test_a_denoiser_may_start_elsewhere():
    network = Tiny()
    network.start = lambda z: 2 * z + 1
    c = chain(Euler, network)
    assert torch.equal(c.initial().x, c.levels[0] * (2 * c.white() + 1))
    assert torch.equal(c.white(), chain(Euler).white())
    assert torch.equal(chain(Euler, network.frozen_trunk(1)).initial().x, c.initial().x)


def test_an_estimate_that_lies_ahead_is_not_made_again():
    c = chain(Ancestral)
    x = c.initial().x
    law, made = c.transition(2, State(x)), c.predict(x, 2)
    count = c.tally.evaluations
    again = c.transition(2, State(x, ahead=made))
    assert torch.equal(again.mean, law.mean)
    assert c.tally.evaluations == count
    c.transition(2, State(x, ahead=made).detach())
    assert c.tally.evaluations == count + 1


def test_gradients_begin_at_a_stored_state_or_after_it():
    c = chain(Euler)
    stored = c.depart(3)[1]
    d = chain(Euler, prefixes=lambda chain: (3, stored))
    for step in (0, 2, 3):
        assert d.depart(step) == (3, stored)
    assert d.depart(4)[0] == 4
    assert torch.equal(d.depart(4)[1].x, c.depart(4)[1].x)
    none = chain(Euler, prefixes=lambda chain: None)
    assert torch.equal(none.depart(2)[1].x, c.depart(2)[1].x)


def test_a_quick_prefix_is_the_other_samplers():
    ours, theirs = chain(Heun, quick=Multistep(steps=STEPS)), chain(Multistep)
    step, state = ours.depart(3)
    assert torch.equal(state.x, theirs.depart(3)[1].x)
    assert (step, state.memory, ours.tally.evaluations) == (3, (), 3)
    with pytest.raises(InputError, match="the prefix needs the levels of the sampler: got Multistep"):
        chain(Heun, quick=Multistep(steps=STEPS + 1))


def test_a_prefix_in_lower_precision_is_close_and_graded_steps_are_not_cast():
    network = tiny_unet(dtype=torch.float32)
    exact, cast = chain(Heun, network), chain(Heun, network, precision=torch.bfloat16)
    x, y = exact.depart(3)[1].x, cast.depart(3)[1].x
    assert x.dtype == y.dtype
    assert 0 < float((x - y).norm() / x.norm()) < 0.05
    state = exact.depart(3)[1]
    assert torch.equal(exact.run(state, 3).x, cast.run(state, 3).x)


def test_the_condition_reaches_the_network():
    told = Function(lambda x, sigma, condition: condition["target"].reshape(-1, 1, 1).expand(x.shape))
    target = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    c = chain(Heun, told, condition={"target": target})
    assert torch.equal(c.run(c.initial()).x[:, 0, 0], target)


@pytest.mark.parametrize("bounds", [(-1, 2), (3, 2), (0, STEPS + 1)])
def test_steps_outside_the_chain_are_refused(bounds):
    c = chain(Euler)
    with pytest.raises(InputError, match=f"got start={bounds[0]}, stop={bounds[1]}"):
        c.run(c.initial(), *bounds)


def test_a_class_is_no_sampler():
    with pytest.raises(InputError, match=r"a sampler is needed: got <class 'pirf.samplers.heun.Heun'>"):
        Chain(Heun, Tiny())


def test_an_ode_step_has_no_density():
    c = chain(Heun)
    with pytest.raises(InputError, match="stochastic sampler: got Heun"):
        c.transition(0, c.initial())


def test_a_custom_schedule_is_obeyed():
    c = Chain(Euler(steps=2, schedule=Levels((4.0, 1.0, 0.0))), Tiny(), Noise(0))
    assert c.levels == (4.0, 1.0, 0.0)
    assert c.steps == 2
