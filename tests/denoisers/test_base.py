import pytest
import torch
from toys import Constant, Linear, Tiny, normal

from pirf.denoisers import FrozenTrunk, GaussianDenoiser
from pirf.errors import InputError

X, SIGMA = normal(2, 2, 8, 8), torch.tensor(0.7, dtype=torch.float64)


def test_stages_partition_the_parameters():
    network = Tiny()
    owned = [id(p) for name in network.stages for p in network.stage_parameters(name)]
    assert sorted(owned) == sorted(id(p) for p in network.parameters())
    assert len(network.last_stages(2)) == 4
    assert {id(p) for p in network.last_stages(3)} == {id(p) for p in network.parameters()}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_frozen_trunk_changes_the_graph_and_not_the_value(count):
    network = Tiny()
    frozen = network.frozen_trunk(count)
    assert isinstance(frozen, FrozenTrunk)
    assert torch.equal(frozen(X, SIGMA), network(X, SIGMA))
    gradients = torch.autograd.grad(frozen(X, SIGMA).square().sum(), list(network.parameters()), allow_unused=True)
    trained = {id(p) for p in network.last_stages(count)}
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        assert (gradient is not None) == (id(parameter) in trained)


def test_with_a_state_gradient_the_trunk_stays_in_the_graph():
    network = Tiny()
    states = [X.clone().requires_grad_() for _ in range(2)]
    ours, exact = (
        torch.autograd.grad(f(x, SIGMA).square().sum(), x)[0]
        for f, x in zip((network.frozen_trunk(1), network), states, strict=True)
    )
    assert torch.equal(ours, exact)


def test_a_denoiser_without_stages_cannot_be_truncated():
    for denoiser in (Linear(), GaussianDenoiser((1, 2))):
        for ask in (denoiser.last_stages, denoiser.frozen_trunk):
            with pytest.raises(InputError, match=f"named stages: got {type(denoiser).__name__}"):
                ask(1)


@pytest.mark.parametrize("count", [0, 4, -1])
def test_stages_beyond_the_network_are_refused(count):
    for ask in (Tiny().last_stages, Tiny().frozen_trunk):
        with pytest.raises(InputError, match=f"between 1 and 3 stages can be trained: got {count}; .* one, two, three"):
            ask(count)


def test_defaults():
    denoiser = Constant((2, 3))
    assert denoiser.for_step(1.0) is denoiser
    assert denoiser.tunable() == [denoiser.theta]
    assert denoiser.cost == 1
    assert denoiser.like.dtype == torch.float64
    assert len(denoiser.scaling.scale) == 2
