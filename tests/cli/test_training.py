"""``pirf finetune`` and ``pirf pretrain`` make the calls of the Python API, keep what they made, and stop and go on."""

import inspect
import json
import shutil

import numpy as np
import pytest
import torch

import pirf
from pirf.cli import jobs, pretraining, tuning
from pirf.cli.objectives import reward_of
from pirf.cli.spelling import read

COMMON = ("--steps", 3, "--batch", 2, "--sampler", "Heun(steps=4)")


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_finetune_is_the_call_of_the_same_words(call, tiny, problem):
    done = call(
        *("finetune", "poisson", "--model", tiny, "--out", "tuned", *COMMON),
        *("--gradient", "LastSteps(2)", "--regularizer", "WeightAnchor(1e-3)", "--reward", "given"),
        *("--lr", 1e-3, "--rate", "Constant(warmup=0.5)", "--optimizer", "SGD", "--micro", 1, "--seed", 5),
    )
    assert done.code == 0, done.err
    expected = pirf.finetune(
        pirf.load(tiny),
        pirf.rewards.Given(problem.reward, problem.given),
        sampler=pirf.Heun(4),
        gradient=pirf.LastSteps(2),
        regularizer=pirf.WeightAnchor(1e-3),
        steps=3,
        batch=2,
        lr=1e-3,
        rate=pirf.Constant(0.5),
        optimizer=torch.optim.SGD,
        micro=1,
        seed=5,
        progress=False,
    )
    tuned = pirf.load("tuned")
    assert same(tuned, expected)
    assert not same(tuned, pirf.load(tiny))
    assert tuned.card["finetune"]["gradient"] == "LastSteps(count=2)"
    assert tuned.card["begun"] == str(tiny)
    assert "3 updates" in done.out


def test_the_defaults_are_those_of_the_api():
    ours, theirs = (inspect.signature(f).parameters for f in (tuning.finetune, pirf.finetune))
    shared = {name for name in ours if name in theirs} - {"reward", "sampler", "out"}
    assert {"gradient", "rate", "optimizer", "batch", "pool", "spill", "recompute", "half_life"} <= shared
    for name in shared:
        default = ours[name].default
        if name in ("gradient", "rate"):
            default = read(default, object)
        if name == "optimizer":
            default = tuning.OPTIMIZERS[default]
        assert default == theirs[name].default, name
    missing = theirs.keys() - ours.keys()
    assert missing == {"denoiser", "condition", "progress"}
    assert inspect.signature(pirf.pretrain).parameters.keys() - inspect.signature(pretraining.pretrain).parameters.keys() == {
        *("source", "denoiser", "half_life", "p_mean", "p_std", "sigma_data", "progress")
    }


@pytest.mark.parametrize(("gradient", "last"), [("LastSteps(1)", 1), ("LastSteps(2)", 2), ("OneStep(3)", 3)])
def test_a_handover_splits_where_the_strategy_begins(call, tiny, problem, gradient, last):
    words = ("--gradient", gradient, "--handover", "--reads-given", "--floor", 2.0, "--pool", 4)
    done = call("finetune", "poisson", "--model", tiny, "--out", "tuned", *COMMON, *words)
    assert done.code == 0, done.err
    model = pirf.load("tuned")
    assert isinstance(model, pirf.Handover)
    assert model.below == pirf.Heun(4).before_last(last)
    assert (model.channels, model.reads, model.floor, model.stages) == (problem.solved, problem.given, 2.0, None)
    assert same(model.base, pirf.load(tiny))
    assert not same(model.tuned, model.base)


def test_a_tail_may_share_its_trunk(call, tiny):
    words = ("--handover", "--tail-stages", 1, "--pool", 4, "--spill")
    done = call("finetune", "poisson", "--model", tiny, "--out", "tuned", *COMMON, *words)
    assert done.code == 0, done.err
    model = pirf.load("tuned")
    assert model.stages == 1
    again = call("finetune", "poisson", "--model", "tuned", "--out", "again", *COMMON, "--handover")
    assert again.code == 2
    assert "a model without a handover is needed to split" in again.err


def test_a_balanced_reward_does_not_change_with_the_last_bits_of_its_samples(tiny, problem):
    base = pirf.load(tiny)
    reward = reward_of("balanced", problem, base, pirf.Heun(4))
    with torch.no_grad():
        for parameter in base.parameters():
            parameter *= 1 + 1e-7
    assert reward_of("balanced", problem, base, pirf.Heun(4)) == reward
    exact = problem.balanced_reward(pirf.sample(base, pirf.Heun(4), 64, seed=3_000_000).double())
    fields = problem.sample(4)
    assert torch.allclose(reward(fields), exact(fields), atol=0.1)  # two digits of a unit are 5 % at most: .02 of a decade


PRESSING = """
import signal
from pathlib import Path
import pirf

class Pressing(pirf.PDEReward):
    calls = 0
    inner = pirf.problems.poisson(8).reward

    def __init__(self, grid): ...

    def __repr__(self):
        return "Pressing()"

    def residual(self, x):
        Pressing.calls += 1
        if Pressing.calls == 2 and Path("pressed").exists():
            Path("pressed").unlink()
            signal.raise_signal(signal.SIGINT)
        return self.inner.residual(x)
"""


def test_ctrl_c_leaves_a_checkpoint_that_the_same_call_goes_on_from(call, tiny, tmp_path):
    (tmp_path / "mine.py").write_text(PRESSING)
    words = ("finetune", "poisson", "--model", tiny, "--reward", "mine.py:Pressing", *COMMON)
    (tmp_path / "pressed").touch()
    stopped = call(*words, "--out", "stopped")
    assert stopped.code == 130
    assert stopped.err == "pirf: stopped after update 2: the same call goes on from stopped/checkpoints\n"
    assert not (tmp_path / "stopped" / "card.json").exists()
    assert [p.name for p in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["step-000000002"]
    assert call(*words, "--out", "stopped").code == 0
    assert call(*words, "--out", "whole").code == 0
    assert same(pirf.load("stopped"), pirf.load("whole"))


def test_pretraining_on_files_is_the_call_on_the_same_fields(call, problem, tmp_path):
    fields = problem.sample(12).float()
    np.save(tmp_path / "one.npy", fields[:5].numpy())
    np.save(tmp_path / "two.npy", fields[5:].numpy())
    words = ("--steps", 3, "--batch", 4, "--seed", 2, "--colour", "Matern(length=0.2)", "--lr", 1e-3)
    done = call("pretrain", "--data", "one.npy", "--data", "two.npy", "--out", "learned", *words, "--json")
    assert done.code == 0, done.err
    source = pirf.Fields(fields)
    expected = pirf.pretrain(source, steps=3, batch=4, seed=2, colour=pirf.Matern(0.2), lr=1e-3, progress=False)
    learned = pirf.load("learned")
    assert same(learned, expected)
    assert learned.scaling.colour == pirf.Matern(0.2)
    assert json.loads(done.out)["updates"] == 3
    again = call("pretrain", "--data", "one.npy", "--data", "two.npy", "--model", "learned", "--out", "more", "--steps", 1)
    assert again.code == 0, again.err
    assert pirf.load("more").card["begun"] == "learned"


def test_pretraining_without_settings_follows_the_recipe(call, monkeypatch, problem):
    made = {}

    def recipe(problem, *, out, seconds, progress):
        made.update(problem=problem, out=str(out), seconds=seconds)
        model = pirf.UNet(problem.shape, problem.scaling, channels=4, multipliers=(1, 1), attention=())
        model.card, model.history = {"stages": "told"}, [{"step": 1, "seconds": 2.0, "loss": 3.0}]
        return model

    monkeypatch.setattr(pretraining.presets, "base_model", recipe)
    done = call("pretrain", "poisson", "--out", "base", "--seconds", 7)
    assert done.code == 0, done.err
    assert made == {"problem": pirf.problems.poisson(32), "out": "base/checkpoints", "seconds": 7.0}
    assert pirf.load("base").card == {"stages": "told"}


def test_a_model_that_another_call_made_is_not_written_over(call, tiny, tmp_path):
    shutil.copytree(tiny, tmp_path / "theirs")
    weights = (tmp_path / "theirs" / "weights.safetensors").read_bytes()
    words = ("finetune", "poisson", "--model", tiny, *COMMON)
    by_recipe = ("pretrain", "poisson", "--seconds", 7)
    assert call(*words, "--out", "mine").code == 0
    for refused in (call(*words, "--out", "theirs"), call(*by_recipe, "--out", "theirs"), call(*by_recipe, "--out", "mine")):
        assert refused.code == 2
        assert "a folder without another model is needed" in refused.err
    assert (tmp_path / "theirs" / "weights.safetensors").read_bytes() == weights
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == ["card.json", "weights.safetensors"]
    assert call(*words, "--out", "mine").code == 0


def test_data_of_a_problem_are_learned_as_that_problem(call, problem, tmp_path):
    assert call("data", "poisson", "--n", 8, "--count", 4, "--out", "truth", "--workers", 1).code == 0
    words = ("--n", 8, "--data", "truth", "--steps", 1, "--batch", 2)
    assert call("pretrain", "poisson", *words, "--out", "learned").code == 0
    named = {key: value for key, value in json.loads(json.dumps(problem.facts)).items() if key != "units"}
    assert pirf.load("learned", problem).card["fields"] == named
    refused = call("pretrain", "darcy", *words, "--out", "wrong")
    assert refused.code == 2
    assert "data of pirf.problems.darcy(n=8) are needed: got truth of pirf.problems.poisson(n=8)" in refused.err
    assert not (tmp_path / "wrong").exists()


def test_a_plan_says_what_the_disk_is_for_and_leaves_it_alone(call, caplog, tiny, tmp_path):
    words = ("--model", tiny, *COMMON, "--handover", "--pool", 4)
    done = call("plan", "finetune", "poisson", *words, "--out", "runs/new", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["disk"] > 0
    assert not (tmp_path / "runs").exists()
    assert not caplog.messages  # what trials say is not what the run will say
    assert json.loads(call("plan", "finetune", "poisson", *words, "--json").out)["disk"] == 0


def test_a_plan_is_that_of_the_call(call, monkeypatch, tiny):
    asked = []

    class Planned:
        def as_dict(self):
            return {"seconds": float("inf")}

        def __str__(self):
            return "an estimate"

    def plan(method, *arguments, **options):
        asked.append((method, arguments, options))
        return Planned()

    monkeypatch.setattr(jobs, "plan", plan)
    words = ("finetune", "poisson", "--model", tiny, "--gradient", "LastSteps(2)", *COMMON)
    assert call("plan", *words).out == "an estimate\n"
    assert json.loads(call("plan", *words, "--json").out) == {"seconds": None}
    (method, (denoiser, reward), options), _ = asked
    assert method is pirf.finetune
    assert same(denoiser, pirf.load(tiny))
    assert reward == pirf.problems.poisson(8).reward
    assert options["gradient"] == pirf.LastSteps(2)
    assert options["steps"] == 3
    call("plan", "pretrain", "poisson", "--n", 32)
    method, (source, _), options = asked[-1]
    assert method is pirf.pretrain
    assert source is pirf.problems.poisson(32)
    assert options == pirf.presets.stages(source)[0]
