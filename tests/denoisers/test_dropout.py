"""Every sample's mask is its own: whatever batch it travels in, whoever makes it again."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointError, checkpoint
from toys import normal, tiny_unet

import pirf
from pirf.denoisers import ScalarInput
from pirf.denoisers.dropout import KeyedDropout, again, keyed_dropout, lost, number
from pirf.errors import InputError
from pirf.noise import Noise

NOISE = Noise(3).fold("pretrain", 7)[range(6)]
SIGMA = torch.tensor(0.4, dtype=torch.float64)


def dropped(p=0.3, layer=0):
    module = KeyedDropout(p)
    module.layer = layer
    return module


def masks(module, noise, *shape):
    with keyed_dropout(noise):
        return module(torch.ones(len(noise), *shape, dtype=torch.float64))


@pytest.mark.parametrize(
    "parts", [[range(6)], [range(2), range(2, 6)], [range(i, i + 1) for i in range(6)], [(5, 0), (3, 1, 2, 4)]]
)
def test_masks_are_bit_equal_for_any_split_and_order(parts):
    whole = masks(dropped(), NOISE, 3, 8, 8)
    for part in parts:
        assert torch.equal(masks(dropped(), NOISE[part], 3, 8, 8), whole[list(part)])


def test_masks_have_mean_one_and_no_two_are_the_same():
    count, p = 4096, 0.3
    x = masks(dropped(p), Noise(0)[range(count)], 64)
    assert set(x.unique().tolist()) == {0.0, 1 / (1 - p)}
    deviation = (p / (1 - p)) ** 0.5
    assert abs(float(x.mean()) - 1) < 4 * deviation / (count * 64) ** 0.5
    # At every entry and of every pair of neighbouring entries as well: no layer of weights sees a pattern.
    assert float((x.mean(0) - 1).abs().max()) < 5 * deviation / count**0.5
    assert float(((x[:, 1:] - 1) * (x[:, :-1] - 1)).mean(0).abs().max()) < 5 * deviation**2 / count**0.5
    assert len(x.unique(dim=0)) == count


def test_layers_addresses_and_seeds_have_masks_of_their_own():
    layers = torch.stack([masks(dropped(layer=i), NOISE, 40) for i in range(50)])
    others = (NOISE.fold(1), Noise(4).fold("pretrain", 7)[range(6)], NOISE[range(6, 12)])
    rows = torch.cat([layers.flatten(0, 1), *(masks(dropped(), noise, 40) for noise in others)])
    assert len(rows.unique(dim=0)) == len(rows)
    units = (layers - 1) / (0.3 / 0.7) ** 0.5
    assert abs(float((units[1:] * units[:-1]).mean())) < 4 / (49 * 6 * 40) ** 0.5
    pairs = (units.flatten(0, 1).sum(0) ** 2 - 300) / 300  # of any two masks, the same entry: mean 0, variance 2
    assert abs(float(pairs.mean())) < 4 * (2 / 40) ** 0.5


def test_a_network_with_dropout_is_one_function_of_each_sample():
    model = tiny_unet(dropout=0.3).train()
    x, levels = normal(6, 2, 8, 8), torch.linspace(0.1, 2.0, 6, dtype=torch.float64)
    with torch.no_grad(), keyed_dropout(NOISE):
        whole = model(x, levels)
    with torch.no_grad():
        for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
            with keyed_dropout(NOISE[NOISE.samples[rows]]):
                torch.testing.assert_close(model(x[rows], levels[rows]), whole[rows], rtol=1e-12, atol=1e-12)
        with keyed_dropout(NOISE.fold("another")):
            assert not torch.allclose(model(x, levels), whole)
        assert not torch.allclose(model.eval()(x, levels), whole)


def test_conditions_are_dropped_by_sample_as_well():
    model = tiny_unet(conditions={"nu": ScalarInput()}, drop=0.5).train()
    x, told = normal(64, 2, 8, 8), {"nu": normal(64)}
    noise = Noise(1)[range(64)]
    with torch.no_grad():
        with keyed_dropout(noise):
            whole = model(x, SIGMA, told)
        with keyed_dropout(noise[range(10, 64)]):
            torch.testing.assert_close(model(x[10:], SIGMA, {"nu": told["nu"][10:]}), whole[10:], rtol=1e-12, atol=1e-12)
        never, always = model(x, SIGMA), model.eval()(x, SIGMA, told)
        forgotten, kept = ((whole - other).flatten(1).abs().amax(1) < 1e-9 for other in (never, always))
        assert bool((forgotten ^ kept).all())
        assert 16 < int(kept.sum()) < 48


def gradients(model, evaluate):
    x = normal(6, 2, 8, 8).requires_grad_()
    with keyed_dropout(NOISE):
        value = evaluate(model, x, SIGMA)
    return torch.autograd.grad(value.square().sum(), [x, *model.parameters()])  # outside: the seeds are gone by now


@pytest.mark.parametrize("segments", [1, 2])
def test_what_is_made_again_in_the_backward_pass_drops_the_same(segments):
    model = tiny_unet(dropout=0.3).train()
    plain = gradients(model, lambda model, x, sigma: model(x, sigma))

    def in_parts(model, x, sigma):
        if segments == 1:
            return checkpoint(model, x, sigma, use_reentrant=False, context_fn=again)
        features = checkpoint(model.trunk, x, sigma, None, 2, use_reentrant=False, context_fn=again)
        with keyed_dropout(NOISE):  # entered once more, the layers have the same numbers
            return checkpoint(model.head, x, sigma, features, 2, use_reentrant=False, context_fn=again)

    for found, expected in zip(gradients(model, in_parts), plain, strict=True):
        assert torch.equal(found, expected)


def test_a_context_inside_what_is_made_again_does_as_well():
    model = tiny_unet(dropout=0.3).train()

    def keyed(x, sigma):
        with keyed_dropout(NOISE):
            return model(x, sigma)

    plain = gradients(model, lambda model, x, sigma: model(x, sigma))
    found = gradients(model, lambda model, x, sigma: checkpoint(keyed, x, sigma, use_reentrant=False))
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one, other)


def test_other_masks_in_the_backward_pass_do_not_pass_in_silence():
    with pytest.raises(CheckpointError):
        gradients(tiny_unet(dropout=0.3).train(), lambda m, x, sigma: checkpoint(m, x, sigma, use_reentrant=False))


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_it_is_torchs_where_no_seeds_are_known_and_nothing_while_evaluating(p):
    x = normal(4, 50)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(2)
        expected = nn.Dropout(p)(x)
        torch.manual_seed(2)
        assert torch.equal(dropped(p)(x), expected)
    with keyed_dropout(NOISE):  # of six samples: neither asks for them
        assert dropped(0.0)(x) is x
        assert dropped(p).eval()(x) is x
    if p == 1:
        assert not masks(dropped(p), NOISE, 3).any()


def test_the_global_generator_is_left_alone_and_seeds_end_with_their_block():
    before = torch.random.get_rng_state()
    masks(dropped(), NOISE, 5)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert lost((6,), 0.5, 0, torch.device("cpu")) is None
    with pytest.raises(RuntimeError, match="inside"), keyed_dropout(NOISE):
        raise RuntimeError("inside")
    assert lost((6,), 0.5, 0, torch.device("cpu")) is None


def test_batches_of_another_size_are_refused():
    with keyed_dropout(NOISE), pytest.raises(InputError, match="a batch of 6 samples is needed: got 4;") as refusal:
        dropped()(torch.ones(4, 3))
    assert "\n" not in str(refusal.value)


def test_layers_are_numbered_and_keep_their_names():
    model = pirf.UNet((1, 8, 8), channels=4, dropout=0.1)
    layers = [m for m in model.modules() if isinstance(m, KeyedDropout)]
    assert [m.layer for m in layers] == list(range(len(layers)))
    assert not any("dropout" in name for name in model.state_dict())
    number(model, 5)
    assert layers[0].layer == 5
