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
from toys import normal

import pirf
from pirf.denoisers.conversion import convert, from_diffusers
from pirf.denoisers.prediction import Clean, Epsilon, V
from pirf.errors import InputError

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


def test_the_librarys_own_network(tmp_path):
    """Where diffusers is installed: its network, and the sample that its own scheduler finds in the network's answer."""
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng(devices=()):
        network = diffusers.UNet2DModel(
            sample_size=8, in_channels=2, out_channels=2, block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4,
            down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
        )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=100, clip_sample=False)
    network.save_pretrained(tmp_path)
    scheduler.save_pretrained(tmp_path)
    model = from_diffusers(tmp_path)
    x_t, t = normal(2, 2, 8, 8, dtype=torch.float32), 40
    alpha = scheduler.alphas_cumprod[t].sqrt()
    sigma = ((1 - scheduler.alphas_cumprod[t]) / scheduler.alphas_cumprod[t]).sqrt()
    with torch.no_grad():
        answer = network.eval()(x_t, t).sample
        expected = scheduler.step(answer, t, x_t, generator=torch.Generator().manual_seed(0)).pred_original_sample
        assert_close(model(x_t / alpha, sigma), expected)


def test_names_of_channels_are_one_for_each(tmp_path):
    path = write(tmp_path / "snapshot.pkl", precond(channel_mult=[1]))
    with pytest.raises(InputError, match="2 names of channels are needed: got"):
        convert(path, tmp_path / "out", channels=("a",))
    assert not (tmp_path / "out").exists()
    assert pirf.load(convert(path, tmp_path / "out")).card["from"]["entry"] == ""
