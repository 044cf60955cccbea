import pytest
import torch
from tolerances import assert_close
from toys import Quadratic, Tiny, perturb

from pirf.backprop import Full, LayerTruncated, Windows
from pirf.denoisers import Handover
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep

NOISE = Noise(5)[range(2)]


def gradients(strategy, chain, trained):
    loss = strategy.loss(chain, Quadratic(0.3), NOISE)
    return loss, torch.autograd.grad(loss.value, trained, allow_unused=True)


@pytest.mark.parametrize("kind", [Euler, Heun, Multistep, Ancestral])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_gradients_of_all_windows_add_up_to_the_whole(kind, count):
    network = Tiny()
    chain = Chain(kind(steps=5), network, Noise(0))
    whole, expected = gradients(Full(), chain, list(network.parameters()))
    parts = [gradients(Windows(count).at(50 * w), chain, list(network.parameters())) for w in range(count)]
    for i, total in enumerate(expected):
        assert_close(sum(part[1][i] for part in parts), total)
    for loss, _ in parts:
        assert torch.equal(loss.value, whole.value)


def test_windows_take_turns_from_coarse_to_fine():
    strategy = Windows(3, updates=2)
    assert [strategy.at(u).window for u in range(8)] == [0, 0, 1, 1, 2, 2, 0, 0]
    chain = Chain(Heun(steps=6), Tiny(), Noise(0))
    departures = [[level for level, _ in strategy.at(u).loss(chain, Quadratic(), NOISE).states] for u in (0, 2, 4)]
    assert [level for window in departures for level in window] == list(chain.levels[:-1])
    truncated = LayerTruncated(strategy)
    assert truncated.at(3).inner == strategy.at(3)


def test_under_a_handover_windows_cut_the_tail():
    sampler = Heun(steps=6)
    model = Handover(Tiny().requires_grad_(False), perturb(Tiny()), sampler.before_last(4))
    chain, trained = Chain(sampler, model, Noise(0)), list(model.tuned.parameters())
    _, expected = gradients(Full(), chain, trained)
    parts = [gradients(Windows(2).at(50 * w), chain, trained)[1] for w in range(2)]
    for i, total in enumerate(expected):
        assert_close(parts[0][i] + parts[1][i], total)
    with pytest.raises(InputError, match=r"at most 4 windows can be cut: got Windows\(5\)"):
        Windows(5).loss(chain, Quadratic(), NOISE)


def test_a_window_saves_the_gradients_of_the_weights_elsewhere():
    network = Tiny()
    chain = Chain(Heun(steps=4), network, Noise(0))
    parameters = list(network.parameters())
    coarse = gradients(Windows(4).at(0), chain, parameters)[1]
    fine = gradients(Windows(4).at(150), chain, parameters)[1]
    assert all(float((a - b).norm()) > 0 for a, b in zip(coarse, fine, strict=True))


@pytest.mark.parametrize("bad", [{"count": 0}, {"updates": 0}, {"window": -1}])
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Windows(**bad)
