"""NaN and infinity wherever they can appear: the run stops before the update, names what it was, and no weight has moved."""

import itertools
import os
import re
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from soak.poison import BadPenalty, BadResidual, BadReward, BadSource, Poison
from soak.runs import save_always
from toys import Quadratic, Tiny, tiny_unet

import pirf
from pirf.errors import InputError, NumericalError
from pirf.samplers import Ancestral, Euler
from pirf.scaling import Scaling
from pirf.schedules import EDM

LONG = "PIRF_SOAK" in os.environ
LEVELS = EDM(0.5, 10.0)
ODE, SDE = Euler(steps=4, schedule=LEVELS), Ancestral(steps=4, schedule=LEVELS)
ALONE = pirf.Fitted(structured=False, width=4, pretrain=1, batch=8)
STRUCTURED = pirf.Fitted(structured=True, width=4, pretrain=1, batch=8)
NAN, INFINITY = float("nan"), float("inf")
VALUES = itertools.cycle((NAN, INFINITY, -INFINITY))

STRATEGIES = {
    "Full": (pirf.Full(), ODE),
    "Full, in segments": (pirf.Full(segments=2), ODE),
    "LastSteps": (pirf.LastSteps(2), ODE),
    "LastSteps, random": (pirf.LastSteps(2), SDE),
    "LayerTruncated": (pirf.LayerTruncated(pirf.LastSteps(1)), ODE),
    "LowVariance": (pirf.LowVariance(2), ODE),
    "RandomSteps": (pirf.RandomSteps(), ODE),
    "OneStep": (pirf.OneStep(2), ODE),
    "Windows": (pirf.Windows(2, updates=2), SDE),
    "AdjointMatching": (pirf.AdjointMatching(), SDE),
    "PolicyGradient": (pirf.PolicyGradient(), SDE),
    "KLPolicyGradient": (pirf.KLPolicyGradient(), SDE),
    "ContinuousTime": (pirf.ContinuousTime(value=ALONE, kl=0.1), SDE),
    "ContinuousTime, structured": (pirf.ContinuousTime(value=STRUCTURED), SDE),
    "ContinuousTime, climbing": (pirf.ContinuousTime(value=STRUCTURED, form="gradient"), SDE),
    "ValueGradient": (pirf.ValueGradient(ALONE), SDE),
    "StochasticControl": (pirf.StochasticControl(100.0, ALONE, epochs=1), SDE),
    "RewardDirectedQ": (pirf.RewardDirectedQ(100.0, ALONE), SDE),
}
SCORING = {"Windows", "PolicyGradient", "KLPolicyGradient", "ContinuousTime", "ContinuousTime, structured", "ValueGradient"}
SCORING |= {"StochasticControl", "RewardDirectedQ"}  # these never ask for a gradient of the reward
KINDS = ["value", "slope", "channel", "layer", "gradient", "penalty", "penalty's slope"]
CASES = [
    pytest.param(name, kind, at, next(VALUES), id=f"{name}: {kind}, update {at}")
    for (name, kind), at in zip(itertools.product(STRATEGIES, KINDS), itertools.cycle((0, 1, 2)))
    if not (kind == "slope" and name in SCORING)
    if not (kind == "channel" and name == "LayerTruncated")  # it evaluates parts of the network
]


def stops(poison, run, label):
    """The one line of a run that had to stop."""
    with pytest.raises((NumericalError, InputError)) as refusal:
        run()
    line = str(refusal.value)
    assert poison.before is not None  # it struck
    assert poison.updates == poison.where
    assert poison.untouched()
    assert line.isprintable()
    assert label in line
    assert re.search(rf"update {poison.where}\b", line), line
    assert "untouched" in line
    return line


@pytest.mark.parametrize(("name", "kind", "at", "value"), CASES[:: 1 if LONG else 2])
def test_fine_tuning_stops_before_harm(name, kind, at, value, count):
    poison, (gradient, sampler) = Poison(kind, at, value), STRATEGIES[name]
    model = Tiny()
    options = {"regularizer": BadPenalty(poison)} if kind.startswith("penalty") else {}
    settings = {"sampler": sampler, "gradient": gradient, "steps": 6, "batch": 2, "lr": 1e-3, "progress": False}
    run = partial(pirf.finetune, poison.network(model, model.two, sampler.levels[-2]), BadReward(poison), optimizer=poison)
    line = stops(poison, partial(run, **settings, **options), "fine-tuning")
    if kind == "value":
        assert "BadReward()" in line
    if kind == "channel":
        assert "channel(s) [1]" in line
    if kind in ("slope", "gradient"):
        assert "gradient of" in line or "loss" in line
    if kind == "penalty":
        assert "BadPenalty()" in line or "loss" in line
    count("NaN and infinities")


BASELINES = {
    "pretraining": lambda model, reward, **options: pirf.pretrain(options.pop("source"), model, **options),
    "PIDM": lambda *given, **options: pirf.pidm(*given, sampler=ODE, weight=1e-2, **options),
    "PIDM of samples": lambda *given, **options: pirf.pidm(*given, sampler=ODE, weight=1e-2, estimate="sample", **options),
    "PBFM": lambda *given, **options: pirf.pbfm(*given, sampler=ODE, unroll=2, **options),
    "PG-Diffusion": lambda *given, **options: pirf.pg_diffusion(*given, **options),
}
TRAINED = [
    pytest.param(name, kind, at, value, id=f"{name}: {kind}, update {at}, {value}")
    for name, kind in itertools.product(BASELINES, ["data", "channel", "layer", "gradient", "value", "slope"])
    for at, value in ((2, NAN), (0, -INFINITY))
    if not (name == "pretraining" and kind in ("value", "slope")) and not (name == "PG-Diffusion" and kind == "value")
]


@pytest.mark.parametrize(("name", "kind", "at", "value"), TRAINED[:: 1 if LONG else 3])
def test_training_on_data_stops_before_harm(name, kind, at, value, count):
    poison = Poison(kind, at, value)
    model = tiny_unet()
    inner = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    source = BadSource(poison, scaling=Scaling((0.0, 0.0), (1.0, 1.0)))
    settings = {"source": source, "steps": 4, "batch": 3, "lr": 1e-3, "progress": False}
    run = partial(BASELINES[name], poison.network(model, inner), BadResidual(poison), optimizer=poison, **settings)
    line = stops(poison, run, name.split(" of ")[0])
    if kind == "data":
        assert "channel(s) [1]" in line
    if kind == "value":
        assert "BadResidual()" in line
    if kind == "channel" and name.startswith(("PIDM", "PBFM")):
        assert re.search(r"channel\(s\) \[(0, )?1\]", line)  # a network mixes them
    count("NaN and infinities")


def test_a_step_that_overflows_leaves_no_checkpoint(tmp_path):
    """The gradient is finite and the weights are not, after it: they must not displace what was good."""

    def runaway(parameters, lr):
        method = torch.optim.SGD(parameters, lr)
        calls = itertools.count()

        def spoil(*_):
            if next(calls) == 3:
                parameters[0].data.view(-1)[0] = INFINITY

        method.register_step_post_hook(spoil)
        return method

    with pytest.MonkeyPatch.context() as patch:
        save_always(patch.setattr)
        with pytest.raises(NumericalError):
            pirf.finetune(
                Tiny(), Quadratic(0.4), sampler=ODE, steps=6, batch=2, lr=1e-3, optimizer=runaway, out=tmp_path, progress=False
            )
    for folder in tmp_path.glob("step-*"):
        assert all(bool(torch.isfinite(t).all()) for t in load_file(folder / "tensors.safetensors").values())
