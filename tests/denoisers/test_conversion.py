"""Folders of diffusers: the noise that their settings say, and the network, where its library is there."""

import json
import math
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from edm_files import precond, write
from safetensors.torch import save_file
from tolerances import assert_close
from torch import nn
from toys import Quadratic, normal

import pirf
from pirf.denoisers.conversion import convert, from_diffusers
from pirf.denoisers.paths import LinearPath
from pirf.denoisers.prediction import Clean, Epsilon, V, Velocity
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Chain, Euler
from pirf.schedules import EDM, Levels

CONFIG = {"_class_name": "UNet2DModel", "sample_size": [4, 6], "in_channels": 2, "out_channels": 2}
SCHEDULER = {"num_train_timesteps": 50, "beta_start": 0.001, "beta_end": 0.2, "beta_schedule": "linear"}


class UNet2DModel(nn.Module):
    """Stands for the library's own: one number, times the state, plus the time."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(()))

    @classmethod
    def from_config(cls, config):
        assert config["_class_name"] == "UNet2DModel"
        return cls()

    def forward(self, x, t):
        return SimpleNamespace(sample=self.factor * x + 0 * t.reshape(-1, 1, 1, 1))


@pytest.fixture
def library(monkeypatch):
    module = ModuleType("diffusers")
    module.UNet2DModel = UNet2DModel
    monkeypatch.setitem(sys.modules, "diffusers", module)


def folder(path, config=None, **scheduler):
    path.mkdir()
    (path / "config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (path / "scheduler_config.json").write_text(json.dumps({**SCHEDULER, **scheduler}))
    save_file({"factor": torch.tensor(0.25)}, path / "diffusion_pytorch_model.safetensors")
    return path


LINEAR = [0.001 + (0.2 - 0.001) * i / 49 for i in range(50)]
SCALED = [(math.sqrt(0.001) + (math.sqrt(0.2) - math.sqrt(0.001)) * i / 49) ** 2 for i in range(50)]
COSINE = [
    min(
        1 - (math.cos(((i + 1) / 50 + 0.008) / 1.008 * math.pi / 2) / math.cos((i / 50 + 0.008) / 1.008 * math.pi / 2)) ** 2,
        0.999,
    )
    for i in range(50)
]


@pytest.mark.parametrize(
    ("law", "betas"), [("linear", LINEAR), ("scaled_linear", SCALED), ("squaredcos_cap_v2", COSINE), ("given", [0.1, 0.3])]
)
def test_the_steps_are_those_of_the_settings(law, betas, library, tmp_path):
    given = {"trained_betas": betas} if law == "given" else {"beta_schedule": law}
    model = from_diffusers(folder(tmp_path / "model", **given))
    expected = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), 0)
    assert_close(torch.tensor(model.path.alphas_bar, dtype=torch.float64), expected)
    assert model.shape == (2, 4, 6)


@pytest.mark.parametrize(("kind", "target"), [("epsilon", Epsilon()), ("v_prediction", V()), ("sample", Clean())])
def test_the_target_is_that_of_the_settings(kind, target, library, tmp_path):
    scaling = pirf.Scaling((1.0, 2.0), (3.0, 4.0))
    model = from_diffusers(folder(tmp_path / "model", prediction_type=kind), scaling)
    assert (model.target, model.scaling) == (target, scaling)
    x, sigma = normal(3, 2, 4, 6), torch.tensor([0.2, 0.9, 3.0], dtype=torch.float64)
    alpha, beta = (1 / torch.sqrt(1 + sigma**2))[:, None, None, None], (sigma / torch.sqrt(1 + sigma**2))[:, None, None, None]
    clean = {"epsilon": x - beta / alpha * 0.25 * alpha * x, "v_prediction": alpha**2 * x - beta * 0.25 * alpha * x}
    assert_close(model(x, sigma).detach(), clean.get(kind, 0.25 * alpha * x))


def test_a_pipeline_keeps_its_scheduler_beside_the_network(library, tmp_path):
    path = folder(tmp_path / "unet")
    (tmp_path / "scheduler").mkdir()
    (path / "scheduler_config.json").rename(tmp_path / "scheduler" / "scheduler_config.json")
    assert len(from_diffusers(path).path.alphas_bar) == 50


REFUSED = {
    "another network": ({"_class_name": "UNet2DConditionModel"}, {}, "got a UNet2DConditionModel;"),
    "classes": ({"num_class_embeds": 10}, {}, "got a UNet2DModel with classes;"),
    "no size": ({"sample_size": None}, {}, "got 2 to 2 channels on None;"),
    "learned variances": ({"out_channels": 4}, {}, "got 2 to 4 channels on"),
    "another target": ({}, {"prediction_type": "flow"}, "got prediction_type='flow' in 50 steps;"),
    "another law": ({}, {"beta_schedule": "sigmoid"}, "got beta_schedule='sigmoid';"),
    "no law": ({}, {"beta_schedule": None}, "got beta_schedule=None;"),
    "no numbers": ({}, {"trained_betas": ["a", "b"]}, "got betas that are no numbers;"),
    "no betas": ({}, {"beta_start": None}, "got betas that are no numbers;"),
    "another time": ({}, {"timestep_type": "continuous"}, "got timestep_type='continuous';"),
    "a flow backwards": (
        {},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "invert_sigmas": True},
        "got invert_sigmas=True;",
    ),
    "a flow without steps": (
        {},
        {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": "many"},
        "in 'many' steps;",
    ),
    "no last level": ({}, {"rescale_betas_zero_snr": True}, "got rescale_betas_zero_snr;"),
    "no steps": ({}, {"num_train_timesteps": 10**9}, "in 1000000000 steps;"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_other_folders_are_refused_by_what_they_hold(name, library, tmp_path):
    config, scheduler, message = REFUSED[name]
    with pytest.raises(InputError, match="a diffusers folder of an unconditional UNet2DModel") as refusal:
        from_diffusers(folder(tmp_path / "model", config, **scheduler))
    assert message in str(refusal.value)


@pytest.mark.parametrize("damage", ["config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"])
@pytest.mark.parametrize("content", [None, b"[]", b"\xff" * 30, (2**62).to_bytes(8, "little")])
def test_damaged_folders_are_refused_in_one_line(damage, content, library, tmp_path):
    path = folder(tmp_path / "model")
    (path / damage).unlink() if content is None else (path / damage).write_bytes(content)
    with pytest.raises(InputError, match="a diffusers folder of an unconditional UNet2DModel") as refusal:
        from_diffusers(path)
    assert str(refusal.value).isprintable()


def test_without_the_library_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"got no such package; .* Try pip install diffusers\."):
        from_diffusers(folder(tmp_path / "model"))


def test_folders_of_diffusers_are_not_converted(tmp_path):
    with pytest.raises(InputError, match=r"Try pirf\.from_diffusers\(folder\)"):
        convert(folder(tmp_path / "model"), tmp_path / "out")


def test_a_flow_is_told_its_time_in_steps(library, tmp_path):
    """x_t = (1 − t)x0 + tz, u = z − x0; the network of these tests answers 0.25 x_t."""
    model = from_diffusers(folder(tmp_path / "model", _class_name="FlowMatchEulerDiscreteScheduler", beta_schedule=None))
    assert (model.path, model.target, model.time_scale) == (LinearPath(), Velocity(), 50.0)
    x, sigma = normal(2, 2, 4, 6), torch.tensor(3.0, dtype=torch.float64)
    assert_close(model(x, sigma).detach(), (1 - 0.75 * 0.25) * x / 4)


@pytest.fixture
def diffusers():
    """The library itself, where it is installed: the extra of that name."""
    return pytest.importorskip("diffusers")


def written(diffusers, scheduler, path):
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = diffusers.UNet2DModel(
            sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        )  # fmt: skip
    network.save_pretrained(path)
    scheduler.save_pretrained(path)
    return network.eval()


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("law", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_the_librarys_own_network_is_read_as_its_own_scheduler_reads_it(diffusers, kind, law, tmp_path):
    """At every step the clean sample that the scheduler finds; and whole chains: DDIM without noise is Euler's method."""
    options = {"num_train_timesteps": 100, "beta_schedule": law, "prediction_type": kind, "clip_sample": False}
    ddpm, ddim = diffusers.DDPMScheduler(**options), diffusers.DDIMScheduler(**options)
    network = written(diffusers, ddpm, tmp_path).double()
    model = from_diffusers(tmp_path).double()
    kept = torch.tensor(model.path.alphas_bar, dtype=torch.float64)
    assert_close(kept.float(), ddpm.alphas_cumprod)
    ddpm.alphas_cumprod = ddim.alphas_cumprod = kept  # the library keeps its own in float32
    for t in (0, 3, 40, 98):
        x_t, sigma = normal(2, 2, 8, 8, seed=t), ((1 - kept[t]) / kept[t]).sqrt()
        with torch.no_grad():
            answer = network(x_t, t).sample
            expected = ddpm.step(answer, t, x_t, generator=torch.Generator().manual_seed(0)).pred_original_sample
            assert_close(model(x_t / kept[t].sqrt(), sigma), expected)
    ddim.set_timesteps(10)
    steps = [int(t) for t in ddim.timesteps]
    levels = Levels((*(float(((1 - kept[t]) / kept[t]).sqrt()) for t in steps), 0.0))
    chain = Chain(Euler(10, levels), model, Noise(0)[range(2)])
    with torch.no_grad():
        state = chain.initial()
        x = state.x * kept[steps[0]].sqrt()
        for t in steps:
            x = ddim.step(network(x, t).sample, t, x, eta=0.0).prev_sample
        assert_close(chain.run(state).x, x)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_librarys_flow_is_the_same_chain(diffusers, shift, tmp_path):
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    network = written(diffusers, scheduler, tmp_path)
    model = from_diffusers(tmp_path)
    scheduler.set_timesteps(sigmas=[0.98, 0.8, 0.5, 0.2, 0.05])
    times = scheduler.sigmas.double().tolist()
    chain = Chain(Euler(5, Levels(tuple(t / (1 - t) for t in times))), model, Noise(0)[range(2)])
    with torch.no_grad():
        state = chain.initial()
        x = state.x * (1 - times[0])
        for t in scheduler.timesteps:
            x = scheduler.step(network(x, t).sample, t, x).prev_sample
        assert_close(chain.run(state).x, x)


def test_the_librarys_network_is_saved_and_filled_again(diffusers, tmp_path):
    network = written(diffusers, diffusers.DDPMScheduler(num_train_timesteps=100), tmp_path / "theirs")
    model = from_diffusers(tmp_path / "theirs")
    tuned = pirf.finetune(model, Quadratic(), sampler=Euler(2, EDM(0.02, 1.0)), steps=1, batch=1, lr=1e-3, progress=False)
    back = pirf.load(pirf.save(tuned, tmp_path / "ours"), network=network)
    x, sigma = normal(2, 2, 8, 8, dtype=torch.float32), torch.tensor(0.5)
    with torch.no_grad():
        assert torch.equal(back(x, sigma), tuned(x, sigma))
        assert not torch.equal(back(x, sigma), model(x, sigma))


def test_names_of_channels_are_one_for_each(tmp_path):
    path = write(tmp_path / "snapshot.pkl", precond(channel_mult=[1]))
    with pytest.raises(InputError, match="2 names of channels are needed: got"):
        convert(path, tmp_path / "out", channels=("a",))
    assert not (tmp_path / "out").exists()
    assert pirf.load(convert(path, tmp_path / "out")).card["from"]["entry"] == ""
