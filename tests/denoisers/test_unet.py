import pytest
import torch
from tolerances import assert_close
from toys import normal, tiny_unet

from pirf.denoisers import UNet
from pirf.errors import InputError

CONFIGURATIONS = [
    {},
    {"multipliers": (1,), "attention": ()},
    {"multipliers": (1, 2, 2), "blocks": 2, "attention": (2, 8)},
]


@pytest.mark.parametrize("options", CONFIGURATIONS)
def test_stages_partition_the_parameters(options):
    network = tiny_unet(**options)
    owned = [id(p) for name in network.stages for p in network.stage_parameters(name)]
    assert len(owned) == len(set(owned))
    assert set(owned) == {id(p) for p in network.parameters()}
    assert network.stages[0] == "down0"
    assert network.stages[-1] == "up0"


@pytest.mark.parametrize("options", CONFIGURATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_head_after_trunk_is_forward_bit_for_bit(options, dtype):
    network, x = tiny_unet(dtype=dtype, **options), normal(2, 2, 8, 8, dtype=dtype)
    sigma = torch.tensor([0.3, 2.0], dtype=dtype)
    for last in range(1, len(network.stages) + 1):
        features = network.trunk(x, sigma, None, last)
        assert torch.equal(network.head(x, sigma, features, last), network(x, sigma))


@pytest.mark.parametrize("last", [1, 2, 3])
def test_the_head_holds_exactly_the_last_stages(last):
    network, x = tiny_unet(), normal(2, 2, 8, 8)
    sigma = torch.tensor(0.3, dtype=torch.float64)
    with torch.no_grad():
        features = network.trunk(x, sigma, None, last)
    out = network.head(x, sigma, features, last)
    gradients = torch.autograd.grad(out.square().sum(), list(network.parameters()), allow_unused=True)
    reached = {id(p) for p, g in zip(network.parameters(), gradients, strict=True) if g is not None}
    assert reached == {id(p) for p in network.last_stages(last)}


def test_every_parameter_matters():
    network, x = tiny_unet(), normal(2, 2, 8, 8)
    out = network(x, torch.tensor(0.3, dtype=torch.float64))
    for (name, _), gradient in zip(
        network.named_parameters(),
        torch.autograd.grad((out * normal(2, 2, 8, 8, seed=1)).sum(), list(network.parameters())),
        strict=True,
    ):
        assert float(gradient.abs().max()) > 0, name


def test_the_released_configuration():
    """54 M parameters at 128², 20.6 % of them in the last stage."""
    with torch.device("meta"):
        network = UNet.ddpmpp((2, 128, 128))
    total = sum(p.numel() for p in network.parameters())
    last = sum(p.numel() for p in network.stage_parameters("up0"))
    assert abs(total / 54.4e6 - 1) < 0.02, total
    assert abs(last / total - 0.206) < 0.002, last / total


def test_a_new_network_is_nearly_the_skip_connection():
    """The output convolution starts at a gain of 1e-5: D ≈ c_skip x."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = UNet((2, 8, 8), channels=8, multipliers=(1, 2), attention=(4,)).double()
    x, sigma = normal(2, 2, 8, 8), torch.tensor(0.7, dtype=torch.float64)
    skip = 0.25 / (0.49 + 0.25) * x
    assert float((network(x, sigma) - skip).detach().norm() / skip.norm()) < 1e-3


def test_limits_of_the_preconditioning():
    """σ → 0 gives x; σ → ∞ forgets the state's skip path."""
    network, x = tiny_unet(), normal(2, 2, 8, 8)
    assert_close(network(x, torch.tensor(1e-13, dtype=torch.float64)), x)
    huge = torch.tensor(1e12, dtype=torch.float64)
    assert_close(network(x, huge), network(-x, huge))


def test_grids_may_be_oblong():
    network, x = tiny_unet((2, 8, 12)), normal(2, 2, 8, 12)
    assert network(x, torch.tensor(0.3, dtype=torch.float64)).shape == (2, 2, 8, 12)


def test_samples_do_not_couple():
    network, x = tiny_unet(), normal(3, 2, 8, 8)
    sigma = torch.tensor(0.3, dtype=torch.float64)
    changed = x.clone()
    changed[0] += 1.0
    assert_close(network(changed, sigma)[1:], network(x, sigma)[1:].detach())


def test_indivisible_grids_are_refused():
    with pytest.raises(InputError, match=r"divisible by 4 is needed: got \(2, 9, 8\)"):
        UNet((2, 9, 8), multipliers=(1, 2, 2))


@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 8, 8)])
@pytest.mark.parametrize("multipliers", [None, (1, 2, 2)])
def test_what_is_no_field_on_a_plane_is_refused(shape, multipliers):
    with pytest.raises(InputError, match=r"\(channels, height, width\) is needed: got \(2, 8"):
        UNet(shape, multipliers=multipliers)


@pytest.mark.parametrize(
    ("sides", "levels"), [((32, 32), 5), ((8, 12), 3), ((64, 16), 4), ((9, 8), 1), ((2, 2), 1), ((100, 100), 3)]
)
def test_by_default_it_is_as_deep_as_the_grid_allows(sides, levels):
    network = UNet((2, *sides), channels=4)
    assert network.config["multipliers"] == (1, *[2] * (levels - 1))
    assert network(normal(1, 2, *sides, dtype=torch.float32), torch.tensor(0.3)).shape == (1, 2, *sides)


def test_without_norms_amplitudes_pass():
    """With group norms scaling the features of a level by ten hardly changes what it adds; without them it does."""
    for norm, damped in ((True, True), (False, False)):
        network = tiny_unet(norm=norm)
        assert any("norm0" in name for name, _ in network.named_parameters()) == norm
        block, features = network.down[0][0], normal(1, 4, 8, 8)
        embedding = torch.zeros(1, 16, dtype=torch.float64)
        added = [(block(k * features, embedding) * 2**0.5 - k * features).detach() for k in (1.0, 10.0)]
        assert (float((added[1] - added[0]).norm() / added[0].norm()) < 0.1) == damped


def test_a_condition_is_refused_rather_than_ignored():
    with pytest.raises(InputError, match="this UNet is unconditional: got a condition with re"):
        tiny_unet()(normal(1, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64), {"re": torch.ones(1)})
