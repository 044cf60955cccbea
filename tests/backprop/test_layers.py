import pytest
import torch
from tolerances import assert_close
from toys import Affine, Linear, Quadratic, Tiny, perturb, tiny_unet

from pirf.backprop import Full, LastSteps, LayerTruncated, Windows
from pirf.denoisers import Handover, UNet
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep

REWARD = Quadratic(0.3)


def gradients(strategy, network, sampler, parameters):
    loss = strategy.loss(Chain(sampler, network, Noise(0)), REWARD, Noise(5)[range(2)])
    return loss, torch.autograd.grad(loss.value, parameters)


@pytest.mark.parametrize("kind", [Euler, Heun, Multistep, Ancestral])
@pytest.mark.parametrize("inner", [LastSteps(1), LastSteps(2), LastSteps(3), Full(), Full(segments=2)])
@pytest.mark.parametrize("stages", [1, 2])
def test_on_the_trained_tensors_the_gradient_is_the_inner_ones(kind, inner, stages):
    network, sampler = Tiny(), kind(steps=3)
    strategy = LayerTruncated(inner, stages)
    trained = strategy.trainable(network)
    expected, exact = gradients(inner, network, sampler, trained)
    loss, got = gradients(strategy, network, sampler, trained)
    assert torch.equal(loss.value, expected.value)
    assert loss.evaluations == expected.evaluations
    for a, b in zip(got, exact, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_on_a_unet_with_its_trunk_frozen(count, dtype):
    network, sampler = tiny_unet(dtype=dtype), Heun(steps=3)
    strategy = LayerTruncated(LastSteps(count))
    trained = strategy.trainable(network)
    ours = {id(p) for p in trained}
    for p in network.parameters():
        p.requires_grad_(id(p) in ours)
    _, exact = gradients(LastSteps(count), network, sampler, trained)
    _, got = gradients(strategy, network, sampler, trained)
    for a, b in zip(got, exact, strict=True):
        assert_close(a, b)


def test_the_trunk_never_gets_a_gradient():
    for count in (1, 2):
        network = Tiny()
        strategy = LayerTruncated(LastSteps(count))
        trained = {id(p) for p in strategy.trainable(network)}
        for p in network.parameters():
            p.requires_grad_(count == 1 or id(p) in trained)  # at K = 1 not even a trunk that could train
        strategy.loss(Chain(Heun(steps=3), network, Noise(0)), REWARD, Noise(5)[range(2)]).value.backward()
        for p in network.parameters():
            assert (p.grad is not None) == (id(p) in trained)


def test_the_state_path_is_kept_at_two_steps():
    """Dropping it would be another gradient: the chained evaluations see each other through the trunk."""
    network, sampler = Tiny(), Heun(steps=3)
    strategy = LayerTruncated(LastSteps(2))
    trained = strategy.trainable(network)
    _, exact = gradients(strategy, network, sampler, trained)

    class Dropped(Tiny):
        def trunk(self, x, sigma, condition, last):
            with torch.no_grad():
                return super().trunk(x, sigma, condition, last)

    wrong = Dropped()
    _, dropped = gradients(LastSteps(2), wrong, sampler, wrong.last_stages(1))
    assert any(float((a - b).norm()) > 1e-3 * float(a.norm()) for a, b in zip(exact, dropped, strict=True))


def test_the_preconditioner_is_exact_where_the_network_ignores_the_state():
    """∂D/∂x = c_skip for D = c_skip x + c_out θ."""
    network, sampler = Affine(theta=0.2), Heun(steps=4)
    _, (exact,) = gradients(LastSteps(2), network, sampler, [network.theta])
    _, (ours,) = gradients(LayerTruncated(LastSteps(2), state_path="preconditioner"), network, sampler, [network.theta])
    assert_close(ours, exact)


@pytest.mark.parametrize("kind", [Euler, Heun])
def test_the_preconditioner_is_the_gradient_with_every_trunk_detached(kind):
    class Detached(Tiny):
        def trunk(self, x, sigma, condition, last):
            return super().trunk(x.detach(), sigma, condition, last)

    network, reference, sampler = Tiny(), Detached(), kind(steps=3)
    strategy = LayerTruncated(LastSteps(2), state_path="preconditioner")
    loss, ours = gradients(strategy, network, sampler, network.last_stages(1))
    expected, theirs = gradients(LastSteps(2), reference, sampler, reference.last_stages(1))
    assert torch.equal(loss.value, expected.value)
    for a, b in zip(ours, theirs, strict=True):
        assert_close(a, b)


def test_the_preconditioner_is_exact_at_one_step_and_saves_every_trunk():
    network, sampler = Tiny(), Heun(steps=3)
    trained = network.last_stages(1)
    for a, b in zip(
        *(
            gradients(LayerTruncated(LastSteps(1), state_path=path), network, sampler, trained)[1]
            for path in ("exact", "preconditioner")
        ),
        strict=True,
    ):
        assert torch.equal(a, b)
    for p in network.parameters():
        p.requires_grad_(any(p is q for q in trained))
    exact, ours = (saved_bytes(LayerTruncated(LastSteps(2), state_path=path), network) for path in ("exact", "preconditioner"))
    assert ours < 0.75 * exact


@pytest.mark.parametrize("inner", [LastSteps(3), Full(), Windows(1)])
def test_the_preconditioner_is_refused_beyond_two_steps(inner):
    with pytest.raises(InputError, match=r"over two steps at most: got [34] graded steps of"):
        gradients(LayerTruncated(inner, state_path="preconditioner"), Tiny(), Heun(steps=4), [])


def saved_bytes(strategy, network):
    """Bytes of distinct activations that the graph of one update keeps, weights not counted."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        strategy.loss(Chain(Heun(steps=2), network, Noise(0)), REWARD, Noise(5)[range(2)])
    return sum(kept.values())


def test_at_one_step_half_of_the_activations_are_gone():
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = UNet((2, 32, 32), multipliers=(1, 2, 4))
    whole = saved_bytes(LastSteps(1), network)
    strategy = LayerTruncated(LastSteps(1))
    ours = {id(p) for p in strategy.trainable(network)}
    for p in network.parameters():
        p.requires_grad_(id(p) in ours)
    assert saved_bytes(strategy, network) <= 0.5 * whole


def test_under_a_handover_the_tuned_networks_last_stages_train():
    base = Tiny()
    handover = Handover(base, perturb(Tiny()), Heun(steps=3).before_last(2))
    strategy = LayerTruncated(LastSteps(2))
    trained = strategy.trainable(handover)
    assert [id(p) for p in trained] == [id(p) for p in handover.tuned.last_stages(1)]
    _, exact = gradients(LastSteps(2), handover, Heun(steps=3), trained)
    _, got = gradients(strategy, handover, Heun(steps=3), trained)
    for a, b in zip(got, exact, strict=True):
        assert torch.equal(a, b)


def test_it_passes_on_what_is_not_its_business():
    chain = Chain(Heun(steps=5), Tiny(), Noise(0))
    assert LayerTruncated(LastSteps(2)).first_graded(chain) == LastSteps(2).first_graded(chain) == 3
    assert LayerTruncated(Full()).first_graded(chain) == 0
    strategy = LayerTruncated(LastSteps(2), stages=2)
    assert eval(repr(strategy)) == strategy


def test_a_denoiser_without_stages_is_refused():
    strategy = LayerTruncated(LastSteps(1))
    with pytest.raises(InputError, match="layer truncation needs a denoiser with named stages: got Linear"):
        strategy.trainable(Linear())
    with pytest.raises(InputError, match="layer truncation needs a denoiser with named stages: got Linear"):
        strategy.loss(Chain(Euler(steps=2), Linear(), Noise(0)), REWARD, Noise(0))
    with pytest.raises(ValueError, match="stages"):
        LayerTruncated(LastSteps(1), stages=0)
