import copy

import pytest
import torch
from tolerances import assert_close
from toys import Linear, Quadratic, Tiny, normal, tiny_unet

import pirf
from pirf.backprop import Full, LastSteps, LayerTruncated
from pirf.denoisers import Handover, low_rank, merged
from pirf.errors import InputError
from pirf.samplers import Heun

X, SIGMA = normal(3, 2, 8, 8), torch.tensor([0.1, 1.0, 5.0], dtype=torch.float64)


def moved(model):
    with torch.no_grad():
        for index, p in enumerate(model.tunable()):
            p.add_(0.1 * normal(*p.shape, seed=index))
    return model


@pytest.mark.parametrize("make", [Tiny, tiny_unet])
def test_it_begins_as_the_base_to_the_last_bit(make):
    base = make()
    model = low_rank(base, rank=2)
    assert torch.equal(model(X, SIGMA), base(X, SIGMA))
    assert not any("parametrizations" in name for name, _ in base.named_parameters())


@pytest.mark.parametrize("make", [Tiny, tiny_unet])
def test_merged_is_the_same_function_with_plain_weights(make):
    model = moved(low_rank(make(), rank=2))
    assert float((model(X, SIGMA) - make()(X, SIGMA)).detach().norm()) > 1e-3
    plain = merged(model)
    assert torch.equal(plain(X, SIGMA), model(X, SIGMA))
    assert [type(m) for m in plain.modules()] == [type(m) for m in make().modules()]
    assert [n for n, _ in plain.named_parameters()] == [n for n, _ in make().named_parameters()]
    assert torch.equal(plain(X, SIGMA), model(X, SIGMA))  # neither has taken anything from the other


def test_changes_have_the_rank():
    base = Tiny(width=6)
    plain = merged(moved(low_rank(base, rank=2)))
    for name, weight in plain.named_parameters():
        change = (weight - base.get_parameter(name)).detach()
        if weight.ndim > 1:
            assert int(torch.linalg.matrix_rank(change.flatten(1), atol=1e-10)) == min(2, *change.flatten(1).shape)
        else:
            assert not change.any()


@pytest.mark.parametrize("strategy", [Full(), LayerTruncated(LastSteps(1), stages=1)])
def test_fine_tuning_moves_the_factors_alone(strategy):
    base = low_rank(tiny_unet(), rank=2)
    trained = strategy.trainable(base)
    ours = {id(p) for p in trained}
    names = [name for name, p in base.named_parameters() if id(p) in ours]
    assert names
    assert all(name.endswith((".up", ".down")) for name in names)
    tuned = pirf.finetune(base, Quadratic(0.3), sampler=Heun(steps=3), gradient=strategy, steps=3, lr=1e-2, progress=False)
    for (name, a), (_, b) in zip(base.named_parameters(), tuned.named_parameters(), strict=True):
        assert torch.equal(a, b) == (name not in names), name


@pytest.mark.parametrize("form", ["proximal", "subgradient", "squared"])
def test_an_anchor_holds_the_factors(form):
    call = {"sampler": Heun(steps=3), "gradient": LastSteps(1), "steps": 4, "lr": 1e-3, "progress": False}
    base = low_rank(tiny_unet(), rank=2)
    free = pirf.finetune(base, Quadratic(0.3), **call)
    held = pirf.finetune(base, Quadratic(0.3), regularizer=pirf.WeightAnchor(1e3, form), **call)

    def distance(model):
        return sum(float((a - b).detach().norm()) for a, b in zip(model.tunable(), base.tunable(), strict=True))

    assert distance(held) < 0.9 * distance(free)
    if form == "proximal":
        assert distance(held) == 0


def test_a_tail_of_low_rank_shares_the_frozen_weights_values():
    sampler = Heun(steps=3)
    split = Handover(tiny_unet(), low_rank(tiny_unet(), 1), sampler.before_last(1))
    tuned = pirf.finetune(split, Quadratic(0.3), sampler=sampler, steps=2, lr=1e-2, pool=8, progress=False)
    assert {h["evaluations"] for h in tuned.history} == {1}
    assert copy.deepcopy(tuned)(X, SIGMA).shape == X.shape


def test_what_is_saved_is_merged(tmp_path):
    model = moved(low_rank(tiny_unet(dtype=torch.float32), rank=2))
    back = pirf.load(pirf.save(model, tmp_path / "model"))
    assert_close(back(X.float(), SIGMA.float()), model(X.float(), SIGMA.float()))


def test_refusals():
    with pytest.raises(InputError, match="a rank of at least 1 is needed: got 0"):
        low_rank(Tiny(), 0)
    with pytest.raises(InputError, match="without low-rank changes is needed: got Tiny that has some"):
        low_rank(low_rank(Tiny()))
    with pytest.raises(InputError, match="convolutions or linear maps is needed: got Linear"):
        low_rank(Linear())
