"""A network of EDM's layout is the same function here, layer by layer, as its description says it is."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from edm_files import SOURCE, Persistent, precond, write
from tolerances import assert_close
from toys import normal

import pirf
from pirf.denoisers.checkpoints import Record, read_checkpoint
from pirf.denoisers.conversion import convert
from pirf.denoisers.edm_import import edm_names, edm_unet
from pirf.errors import InputError


def described(weights, arguments, x, sigma):
    """The denoiser as the papers describe it, in its own names: the output of every layer, ``D`` last."""
    channels, side = arguments["model_channels"], arguments["img_resolution"]
    multipliers, blocks = arguments["channel_mult"], arguments["num_blocks"]
    seen = {}

    def conv(name, h):
        weight = weights[f"{name}.weight"]
        return F.conv2d(h, weight, weights[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def normed(name, h):
        groups, eps = min(32, h.shape[1] // 4), 1e-6
        parts = h.reshape(len(h), groups, -1)
        spread = ((parts - parts.mean(2, keepdim=True)) ** 2).mean(2, keepdim=True)
        parts = (parts - parts.mean(2, keepdim=True)) / torch.sqrt(spread + eps)
        column = (1, -1, 1, 1)
        return parts.reshape(h.shape) * weights[f"{name}.weight"].reshape(column) + weights[f"{name}.bias"].reshape(column)

    def silu(h):
        return h / (1 + torch.exp(-h))

    def resampled(h, direction):
        width = h.shape[1]
        if direction < 0:
            return F.conv2d(h, torch.full((width, 1, 2, 2), 0.25, dtype=h.dtype), stride=2, groups=width)
        if direction > 0:
            return F.conv_transpose2d(h, torch.ones(width, 1, 2, 2, dtype=h.dtype), stride=2, groups=width)
        return h

    def block(name, h, direction=0):
        inside = conv(f"{name}.conv0", resampled(silu(normed(f"{name}.norm0", h)), direction))
        inside = (
            inside + F.linear(embedding, weights[f"{name}.affine.weight"], weights[f"{name}.affine.bias"])[:, :, None, None]
        )
        inside = conv(f"{name}.conv1", silu(normed(f"{name}.norm1", inside)))
        around = resampled(h, direction)
        around = conv(f"{name}.skip", around) if f"{name}.skip.weight" in weights else around
        h = (inside + around) / math.sqrt(2)
        if f"{name}.qkv.weight" in weights:
            width = h.shape[1]
            q, k, v = conv(f"{name}.qkv", normed(f"{name}.norm2", h)).reshape(len(h), width, 3, -1).unbind(2)
            mixing = torch.softmax(q.transpose(1, 2) @ k / math.sqrt(width), dim=-1)
            h = (conv(f"{name}.proj", (v @ mixing.transpose(1, 2)).reshape(h.shape)) + h) / math.sqrt(2)
        seen[name] = h
        return h

    total = sigma**2 + 0.25
    angles = sigma.log()[:, None] / 4 * 10000 ** (-torch.arange(channels // 2, dtype=x.dtype) / (channels // 2 - 1))
    embedding = torch.cat([angles.sin(), angles.cos()], 1)
    for name in ("map_layer0", "map_layer1"):
        embedding = silu(F.linear(embedding, weights[f"{name}.weight"], weights[f"{name}.bias"]))
    seen["map_layer1"] = embedding
    h = seen[f"enc.{side}x{side}_conv"] = conv(f"enc.{side}x{side}_conv", x / total.sqrt()[:, None, None, None])
    skips = [h]
    for level in range(len(multipliers)):
        here = f"enc.{side >> level}x{side >> level}"
        if level:
            h = block(f"{here}_down", h, -1)
            skips.append(h)
        for i in range(blocks):
            h = block(f"{here}_block{i}", h)
            skips.append(h)
    for level in reversed(range(len(multipliers))):
        here = f"dec.{side >> level}x{side >> level}"
        h = block(f"{here}_in1", block(f"{here}_in0", h)) if level == len(multipliers) - 1 else block(f"{here}_up", h, 1)
        for i in range(blocks + 1):
            h = block(f"{here}_block{i}", torch.cat([h, skips.pop()], 1))
    inner = conv(f"{here}_aux_conv", silu(normed(f"{here}_aux_norm", h)))
    column = (-1, 1, 1, 1)
    seen["D"] = (0.25 / total).reshape(column) * x + (0.5 * sigma / total.sqrt()).reshape(column) * inner
    return seen


def through_a_file(network, folder):
    return read_checkpoint(write(folder / "snapshot.pkl", {"ema": network}))["ema"]


def observed(model, x, sigma):
    """The output of every block, by its name over there."""
    seen, hooks = {}, []

    def keep(name, module, inputs, out):
        seen[name] = out

    blocks = {
        ours.split(".norm0.")[0]: theirs.split(".norm0.")[0] for ours, theirs in edm_names(model).items() if ".norm0." in ours
    }
    blocks |= {"stem": edm_names(model)["stem.weight"].removesuffix(".weight"), "embedding": "map_layer1"}
    for ours, theirs in blocks.items():
        hooks.append(model.get_submodule(ours).register_forward_hook(partial(keep, theirs)))
    with torch.no_grad():
        seen["D"] = model(x, sigma)
    for hook in hooks:
        hook.remove()
    return seen


CONFIGURATIONS = [
    {},
    {"channel_mult": [2, 2, 2], "num_blocks": 2, "attn_resolutions": [4]},
    {"channel_mult": [1], "augment_dim": 0, "attn_resolutions": []},
    {"model_channels": 12, "channel_mult": [1, 3, 2], "attn_resolutions": [8, 2]},
]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("options", CONFIGURATIONS)
def test_every_layer_is_what_the_description_says(options, dtype, tmp_path):
    network = precond(**options)
    weights = {name.removeprefix("model."): tensor.to(dtype) for name, tensor in network.state_dict().items()}
    model, _ = edm_unet(through_a_file(network, tmp_path))
    model = model.to(dtype)
    if dtype is torch.float64:  # the frequencies are made in float32, as the other network's are
        channels = model.config["channels"] // 2
        model.embedding.frequencies = 10000 ** (-torch.arange(channels, dtype=dtype) / (channels - 1))
    x, sigma = normal(2, 2, 8, 8, dtype=dtype), torch.tensor([0.3, 5.0], dtype=dtype)
    with torch.no_grad():
        expected = described(weights, network.model._init_kwargs, x, sigma)
    actual = observed(model, x, sigma)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert_close(actual[name], value)


def test_the_released_configuration_has_the_same_names_and_shapes():
    with torch.device("meta"):
        model = pirf.UNet.ddpmpp((2, 128, 128))
        other = precond(
            128, 2, dtype=torch.float32, model_channels=128, channel_mult=[2, 2, 2], num_blocks=4, attn_resolutions=[16]
        )
    theirs = {name: tensor.shape for name, tensor in other.state_dict().items()}
    ours = model.state_dict()
    names = {here: f"model.{there}" for here, there in edm_names(model).items()}
    assert {there: ours[here].shape for here, there in names.items()} == {
        name: shape for name, shape in theirs.items() if "resample_filter" not in name and "map_augment" not in name
    }
    assert len(set(names.values())) == len(names) == len(ours)


def test_a_converted_checkpoint_loads_by_its_folder(tmp_path):
    network = precond()
    path = write(tmp_path / "network-snapshot-000001.pkl", {"ema": network, "loss_fn": Persistent("EDMLoss"), "note": None})
    scaling = pirf.Scaling((1.0, 0.0), (2.0, 0.5))
    model = convert(path, tmp_path / "model", scaling=scaling, channels=("a", "u"))
    model = pirf.load(model)
    assert (model.scaling, model.shape, model.config["dropout"]) == (scaling, (2, 8, 8), 0.13)
    weights = network.state_dict()
    for ours, theirs in edm_names(model).items():
        assert torch.equal(model.state_dict()[ours], weights[f"model.{theirs}"]), ours
    card = model.card
    assert (card["from"]["file"], card["from"]["entry"], card["from"]["class"]) == (path.name, "ema", "EDMPrecond")
    assert len(card["from"]["sha256"]) == len(card["from"]["code_sha256"]) == 64
    assert card["channels"] == ["a", "u"]
    assert list(card["ignored"]) == ["model.map_augment.weight"]
    assert "SystemExit" in SOURCE  # had it been run, this test would not have come so far


def altered(change):
    network = precond()
    change(network)
    return network


CHANGES = {
    "a missing tensor": (lambda n: n.model.enc["8x8_conv"]._parameters.pop("bias"), r"got model.enc.8x8_conv.bias; "),
    "a left-over tensor": (lambda n: n.model.register_buffer("extra", torch.zeros(2)), r"got model.extra; "),
    "another shape": (lambda n: n.model.map_layer0._parameters.update(bias=torch.zeros(3)), r"got model.map_layer0.bias; "),
    "another filter": (
        lambda n: n.model.enc["4x4_down"].conv0.resample_filter.fill_(0.3),
        r"got .*4x4_down.conv0.resample_filter",
    ),
    "an adaptive scale": (lambda n: n.model._init_kwargs.update(adaptive_scale=True), r"got adaptive_scale; "),
    "labels": (lambda n: n.model._init_kwargs.update(label_dim=3), r"got label_dim=3; "),
    "NCSN++": (lambda n: n.model._init_kwargs.update(encoder_type="residual"), r"got encoder_type='residual'; "),
    "another filter asked": (
        lambda n: n.model._init_kwargs.update(resample_filter=[1, 3, 3, 1]),
        r"resample_filter=\[1, 3, 3, 1\]",
    ),
    "another architecture": (lambda n: setattr(n.model, "name", "DhariwalUNet"), r"got EDMPrecond around DhariwalUNet; "),
    "another preconditioning": (lambda n: setattr(n, "name", "VPPrecond"), r"got VPPrecond around SongUNet; "),
    "inputs unlike outputs": (lambda n: n.model._init_kwargs.update(in_channels=3), r"got \[2, 3, 2\] channels at 8"),
    "no number": (lambda n: n.model._init_kwargs.update(num_blocks="many"), r"'blocks': 'many'"),
    "a name for a terminal": (lambda n: n.model.register_buffer("\x1b[2J", torch.zeros(2)), r"got model.\?\[2J; "),
    "a filter elsewhere": (
        lambda n: n.model.enc["8x8_block0"].conv1.register_buffer("resample_filter", torch.full((1, 1, 2, 2), 0.25)),
        r"got model.enc.8x8_block0.conv1.resample_filter; ",
    ),
    "no levels": (lambda n: n.model._init_kwargs.update(channel_mult=[]), r"'multipliers': \[\]"),
    "a dropout of all": (lambda n: n.model._init_kwargs.update(dropout=1.0), r"'dropout': 1.0"),
    "a giant": (lambda n: n.model._init_kwargs.update(num_blocks=10**9), r"'blocks': 1000000000"),
    "another width than its tensors": (
        lambda n: n.model._init_kwargs.update(model_channels=4096),
        r"got model.map_layer0.weight, .* and \d+ more",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_fit_is_refused_by_its_name(name, tmp_path):
    change, message = CHANGES[name]
    record = through_a_file(altered(change), tmp_path)
    with pytest.raises(InputError, match=message) as refusal:
        edm_unet(record)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [{"weights": {"a": torch.zeros(2)}}, [1, 2], {"ema": 3}])
def test_files_without_a_network_are_refused(content, tmp_path):
    path = write(tmp_path / "x.pkl", content)
    with pytest.raises(InputError, match="its entry ema or net"):
        convert(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_records_name_their_tensors_as_a_state_dict_does(tmp_path):
    network = precond()
    record = through_a_file(network, tmp_path)
    assert isinstance(record, Record)
    expected = network.state_dict()
    actual = dict(record.tensors())
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)
