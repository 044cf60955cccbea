"""What is handed in wrong is refused in one line that says what came and what to try, by every room of the package."""

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn
from toys import normal

import pirf
from pirf import calibration
from pirf.errors import InputError, instance
from pirf.generation import generate
from pirf.rewards import BlackBox, Functional
from pirf.schedules import Levels, Linear

PROBLEM = pirf.problems.poisson(8)
SHAPE, REWARD = PROBLEM.shape, PROBLEM.reward
BASE = pirf.testing.ConstantNetwork(SHAPE, PROBLEM.scaling)
ONE = pirf.testing.ConstantNetwork((1, 8, 8))
SAMPLER = pirf.Heun(4)
TRUTH = PROBLEM.sample(1)[0]
MASK = pirf.region(SHAPE, PROBLEM.solved)
SEEN = pirf.observe(TRUTH, MASK, 0.01)
GUIDED = pirf.DPS(BASE, REWARD)
NAN = torch.full(SHAPE, torch.nan)
FIELDS = normal(4, *SHAPE)
SOURCE = pirf.Fields(FIELDS)


def tune(denoiser=BASE, reward=REWARD, **options):
    return pirf.finetune(denoiser, reward, **{"sampler": SAMPLER, "steps": 1, "batch": 2, "progress": False, **options})


def learn(source=SOURCE, denoiser=BASE, **options):
    return pirf.pretrain(source, denoiser, **{"steps": 1, "batch": 2, "progress": False, **options})


def rebuild(observation=SEEN, denoiser=BASE, reward=None, **options):
    return pirf.reconstruct(denoiser, observation, reward, **{"samples": 2, "sampler": SAMPLER, **options})


def told(**condition):
    return pirf.sample(BASE, SAMPLER, 2, condition=condition)


MALFORMED = {
    # of training and sampling
    "a name for a denoiser": lambda: tune("poisson-32"),
    "a class for a denoiser": lambda: tune(pirf.UNet),
    "a network for a denoiser": lambda: tune(nn.Identity()),
    "a class for a reward": lambda: tune(reward=pirf.Poisson),
    "a function for a reward": lambda: tune(reward=torch.sum),
    "a class for a strategy": lambda: tune(gradient=pirf.LastSteps),
    "a text for a strategy": lambda: tune(gradient="LastSteps(1)"),
    "a class for a regularizer": lambda: tune(regularizer=pirf.WeightAnchor),
    "a class for a rate": lambda: tune(rate=pirf.Cosine),
    "a number for a rate": lambda: tune(rate=0.1),
    "a name for an optimizer": lambda: tune(optimizer="Adam"),
    "a text for a precision": lambda: tune(precision="bfloat16"),
    "a text for a graded precision": lambda: tune(graded_precision="bfloat16"),
    "a class for the prefix' sampler": lambda: tune(prefix=pirf.Multistep),
    "a text for a learning rate": lambda: tune(lr="1e-3"),
    "a text for steps": lambda: tune(steps="100"),
    "half an update": lambda: tune(steps=2.5),
    "half a sample in a batch": lambda: tune(batch=2.5),
    "half a seed": lambda: tune(seed=0.5),
    "a text for seconds": lambda: tune(steps=None, seconds="60"),
    "a negative clip": lambda: tune(clip=-1.0),
    "a negative half-life": lambda: tune(half_life=-0.1),
    "a negative micro-batch": lambda: tune(micro=-1),
    "a name for what is pretrained": lambda: learn(denoiser="poisson-32"),
    "a class for what is pretrained": lambda: learn(denoiser=pirf.UNet),
    "an array for a source": lambda: learn(source=FIELDS),
    "half a batch": lambda: learn(batch=0.5),
    "a negative spread of levels": lambda: learn(p_std=-1.0),
    "no spread of data": lambda: learn(sigma_data=0.0),
    "a class for PIDM's sampler": lambda: pirf.pidm(BASE, REWARD, source=SOURCE, sampler=pirf.Heun, weight=1.0, steps=1),
    "a class for PBFM's sampler": lambda: pirf.pbfm(BASE, REWARD, source=SOURCE, sampler=pirf.Heun, steps=1),
    "a name to sample": lambda: pirf.sample("poisson-32", SAMPLER, 2),
    "a class to sample": lambda: pirf.sample(pirf.UNet, SAMPLER, 2),
    "a sampler's class": lambda: pirf.sample(BASE, pirf.Heun, 2),
    "half a sample to draw": lambda: pirf.sample(BASE, SAMPLER, 2.5),
    "a tensor for conditions": lambda: pirf.sample(BASE, SAMPLER, 2, condition=torch.zeros(2)),
    "a name for a problem": lambda: generate("poisson", 4, "data"),
    "no workers": lambda: generate(PROBLEM, 4, "data", workers=0),
    "half a chunk": lambda: generate(PROBLEM, 4, "data", chunk=1.5),
    "an array for fields": lambda: pirf.Fields(FIELDS.numpy()),
    "numbers for a scaling": lambda: pirf.Fields(FIELDS, (0.0, 1.0)),
    "nothing to load": lambda: pirf.load(None),
    "nothing to tune": lambda: tune(PROBLEM.oracle()),
    "a model to load": lambda: pirf.load(BASE),
    "a maker of problems to load for": lambda: pirf.load("poisson-32", pirf.problems.poisson),
    "a name to save": lambda: pirf.save("poisson-32", "model"),
    # a class or a text for an instance
    "DPS of a class": lambda: pirf.DPS(pirf.UNet, REWARD),
    "DPS of a name": lambda: pirf.DPS("poisson-32", REWARD),
    "DPS of nothing": lambda: pirf.DPS(None, REWARD),
    "DPS of a network": lambda: pirf.DPS(nn.Identity(), REWARD),
    "DPS by a reward class": lambda: pirf.DPS(BASE, pirf.Poisson),
    "CoCoGen of a name": lambda: pirf.CoCoGen("poisson-32", REWARD),
    "CoCoGen by a reward class": lambda: pirf.CoCoGen(BASE, pirf.Poisson),
    "Projection of a class": lambda: pirf.Projection(pirf.UNet, REWARD),
    "Projection by a reward class": lambda: pirf.Projection(BASE, pirf.Poisson),
    "SVDD of a name": lambda: pirf.SVDD("poisson-32", REWARD),
    "SVDD by a reward class": lambda: pirf.SVDD(BASE, pirf.Poisson),
    "SVDD by a function": lambda: pirf.SVDD(BASE, torch.sum),
    "ResidualDescent of a name": lambda: pirf.ResidualDescent("poisson-32", REWARD),
    "ResidualDescent by a reward class": lambda: pirf.ResidualDescent(BASE, pirf.Poisson),
    "PseudoinverseGuidance of a name": lambda: pirf.PseudoinverseGuidance("poisson-32", SEEN),
    "PseudoinverseGuidance by a mask": lambda: pirf.PseudoinverseGuidance(BASE, MASK),
    "PseudoinverseGuidance by a class": lambda: pirf.PseudoinverseGuidance(BASE, pirf.Observation),
    "PseudoinverseGuidance with rewards as terms": lambda: pirf.PseudoinverseGuidance(BASE, SEEN, [REWARD]),
    "a term of a class": lambda: pirf.Term(pirf.Poisson),
    "Coloured of a name": lambda: pirf.Coloured("poisson-32", pirf.Matern()),
    "Coloured by a class": lambda: pirf.Coloured(BASE, pirf.Matern),
    "Bound of a name": lambda: pirf.Bound("poisson-32", {}),
    "ClassifierFree of a class": lambda: pirf.ClassifierFree(pirf.UNet, 1.0),
    "NoiseMap of a name": lambda: pirf.NoiseMap("poisson-32"),
    "Handover of names": lambda: pirf.Handover("poisson-32", "tuned", 1.0),
    "Handover onto a class": lambda: pirf.Handover(BASE, pirf.UNet, 1.0),
    "Prediction of a class": lambda: pirf.Prediction(nn.Identity, SHAPE, pirf.LinearPath(), pirf.Velocity()),
    "Prediction on a path's class": lambda: pirf.Prediction(nn.Identity(), SHAPE, pirf.LinearPath, pirf.Velocity()),
    "Prediction of a target's name": lambda: pirf.Prediction(nn.Identity(), SHAPE, pirf.LinearPath(), "velocity"),
    "a chain on a sampler's class": lambda: pirf.Chain(pirf.Heun, BASE),
    "a chain on a sampler's name": lambda: pirf.Chain("Heun", BASE),
    "sampling on a class": lambda: pirf.sample(BASE, pirf.Heun, 2),
    "reconstructing on a sampler's class": lambda: rebuild(sampler=pirf.Heun),
    "reconstructing with a name": lambda: rebuild(denoiser="poisson-32"),
    "reconstructing with a class": lambda: rebuild(denoiser=pirf.UNet),
    "reconstructing by a reward class": lambda: rebuild(reward=pirf.Poisson),
    "reconstructing by a guidance class": lambda: rebuild(guidance=pirf.DPS),
    "reconstructing by an instance": lambda: rebuild(guidance=GUIDED),
    "pidm of a name": lambda: pirf.pidm("poisson-32", REWARD, source=SOURCE, sampler=SAMPLER, weight=1.0, steps=1),
    "pidm by a reward class": lambda: pirf.pidm(BASE, pirf.Poisson, source=SOURCE, sampler=SAMPLER, weight=1.0, steps=1),
    "pbfm of a class": lambda: pirf.pbfm(pirf.UNet, REWARD, source=SOURCE, sampler=SAMPLER, steps=1),
    "instance of a class": lambda: instance("a sampler", pirf.Heun, pirf.Sampler, hint="Heun()"),
    "instance of a long text": lambda: instance("a sampler", "Heun" * 99, pirf.Sampler, hint="Heun()"),
    # guidance: numbers that cannot be
    "a negative weight": lambda: pirf.Term(REWARD, -1.0),
    "a weight of NaN": lambda: pirf.Term(REWARD, float("nan")),
    "an infinite weight": lambda: pirf.DPS(BASE, REWARD, float("inf")),
    "a weight in words": lambda: pirf.Term(REWARD, "high"),
    "no weight": lambda: pirf.Term(REWARD, None),
    "a true weight": lambda: pirf.Term(REWARD, True),
    "a list of weights": lambda: pirf.DPS(BASE, REWARD, [1.0, 2.0]),
    "a fading weight in words": lambda: pirf.Fading("1"),
    "a negative weight below a level": lambda: pirf.Below(-1.0),
    "a share that ends before it begins": lambda: pirf.Term(REWARD, active=(0.9, 0.1)),
    "a share beyond the end": lambda: pirf.Term(REWARD, active=(0.5, 1.5)),
    "a share that is a number": lambda: pirf.Term(REWARD, active=0.8),
    "a share in words": lambda: pirf.Term(REWARD, active=("early", "late")),
    "relative and together": lambda: pirf.Term(REWARD, relative=True, together=True),
    "no terms": lambda: pirf.DPS(BASE, []),
    "rewards for terms": lambda: pirf.DPS(BASE, [REWARD]),
    "guidance around guidance": lambda: pirf.DPS(GUIDED, REWARD),
    "a rule for the schedule of DPS": lambda: pirf.DPS.posterior(BASE, SEEN, observed=pirf.Below(1.0)),
    "DPS by a mask": lambda: pirf.DPS.posterior(BASE, MASK),
    "FunDPS by values": lambda: pirf.DPS.fundps(BASE, TRUTH),
    "SVDD of no candidates": lambda: pirf.SVDD(BASE, REWARD, count=0),
    "SVDD below zero": lambda: pirf.SVDD(BASE, REWARD, temperature=-1.0),
    "SVDD on an ODE": lambda: pirf.sample(pirf.SVDD(BASE, REWARD), SAMPLER, 2),
    "CoCoGen standing still": lambda: pirf.CoCoGen(BASE, REWARD, step=0.0),
    "CoCoGen by nothing": lambda: pirf.CoCoGen(BASE, []),
    "ResidualDescent uphill": lambda: pirf.ResidualDescent(BASE, REWARD, step=-1.0),
    "Projection with a negative ridge": lambda: pirf.Projection(BASE, REWARD, ridge=-1.0),
    "Projection without iterations": lambda: pirf.Projection(BASE, REWARD, iterations=0),
    "Projection on nothing": lambda: pirf.Projection(BASE, ()),
    "a gradient of a black box": lambda: pirf.Term(BlackBox(torch.sum)),
    "a spread of 0": lambda: pirf.PseudoinverseGuidance(BASE, SEEN, spread=0.0),
    "terms by the step": lambda: pirf.PseudoinverseGuidance(BASE, SEEN, [pirf.Term(REWARD, active=(0.8, 1.0))]),
    "candidates in words": lambda: pirf.SVDD(BASE, REWARD, count="four"),
    "a step in words": lambda: pirf.CoCoGen(BASE, REWARD, step="small"),
    "a true number of corrections": lambda: pirf.CoCoGen(BASE, REWARD, post=True),
    "a ridge in words": lambda: pirf.Projection(BASE, REWARD, ridge="none"),
    "a spread in words": lambda: pirf.PseudoinverseGuidance(BASE, SEEN, spread="wide"),
    "a descent in words": lambda: pirf.ResidualDescent(BASE, REWARD, step="small"),
    # measurements
    "values in words": lambda: pirf.Observation(MASK, "values"),
    "noise in words": lambda: pirf.Observation(MASK, TRUTH, "low"),
    "noise that is a dictionary": lambda: pirf.Observation(MASK, TRUTH, {"u": 0.1}),
    "half a sensor": lambda: pirf.sensors(MASK, 2.5),
    "a region by the name of its channel": lambda: pirf.region(SHAPE, "u"),
    "a mask of numbers": lambda: pirf.Observation(MASK.float(), TRUTH),
    "a mask of nothing": lambda: pirf.Observation(torch.zeros(SHAPE, dtype=torch.bool), TRUTH),
    "a mask in NumPy": lambda: pirf.Observation(MASK.numpy(), TRUTH),
    "too few values": lambda: pirf.Observation(MASK, torch.zeros(3)),
    "values of another grid": lambda: pirf.Observation(MASK, torch.zeros(2, 9, 9)),
    "values that are NaN": lambda: pirf.Observation(MASK, NAN),
    "negative noise": lambda: pirf.Observation(MASK, TRUTH, -0.1),
    "noise of NaN": lambda: pirf.Observation(MASK, TRUTH, float("nan")),
    "noise for three channels": lambda: pirf.Observation(MASK, TRUTH, (0.1, 0.1, 0.1)),
    "weights of zero": lambda: pirf.Weights(torch.zeros(1, *SHAPE)),
    "whole weights": lambda: pirf.Weights(torch.ones(1, *SHAPE, dtype=torch.int64)),
    "functionals of different fields": lambda: pirf.Stacked((pirf.Points(MASK), pirf.Points(MASK[:1] | True))),
    "functionals that are tensors": lambda: pirf.Stacked((MASK,)),
    "observing NumPy": lambda: pirf.observe(TRUTH.numpy(), MASK),
    "observing another grid": lambda: pirf.observe(torch.zeros(2, 9, 9), MASK),
    "observing a batch": lambda: pirf.observe(torch.zeros(3, *SHAPE), MASK),
    "lines in numbers": lambda: pirf.lines(MASK.float(), axis=1, count=2),
    "lines in NumPy": lambda: pirf.lines(MASK.numpy(), axis=1, count=2),
    "lines along no axis": lambda: pirf.lines(MASK, axis=2, count=2),
    "no lines": lambda: pirf.lines(MASK, axis=1, count=0),
    "sensors in numbers": lambda: pirf.sensors(MASK.double(), 3),
    "more sensors than points": lambda: pirf.sensors(MASK, 65),
    "sensors by count and share": lambda: pirf.sensors(MASK, 3, share=0.1),
    "a region of no channel": lambda: pirf.region(SHAPE, 2),
    "a region of no frame": lambda: pirf.region(SHAPE, 1, frames=slice(8, 9)),
    "measuring other fields": lambda: SEEN(torch.zeros(1, 2, 9, 9)),
    # reconstruction and its figures
    "reconstructing from a mask": lambda: rebuild(MASK),
    "reconstructing other fields": lambda: rebuild(denoiser=ONE),
    "reconstructing under guidance": lambda: rebuild(denoiser=GUIDED),
    "no samples": lambda: rebuild(samples=0),
    "a condition for two": lambda: rebuild(condition={"nu": torch.ones(2)}),
    "a condition that is a number": lambda: rebuild(condition={"nu": 1.0}),
    "half a sample": lambda: rebuild(samples=2.5),
    "a probability in words": lambda: rebuild().quantile("half"),
    "truth in NumPy": lambda: rebuild().score(TRUTH.numpy()),
    "truth of another grid": lambda: rebuild().score(torch.zeros(2, 9, 9)),
    "truth as a list in a picture": lambda: rebuild().picture([1.0]),
    "a spread of one": lambda: rebuild(samples=1).std,
    "a probability above 1": lambda: rebuild().quantile(1.5),
    "the residual of no equation": lambda: rebuild().residual(),
    "calibration on one sample": lambda: calibration.calibration([FIELDS[:1]], TRUTH[None]),
    "calibration on NaN": lambda: calibration.calibration([FIELDS], NAN[None]),
    "calibration nowhere": lambda: calibration.calibration([FIELDS], TRUTH[None], torch.zeros(SHAPE, dtype=torch.bool)),
    # samplers and chains
    "no steps": lambda: pirf.Heun(0),
    "half a step": lambda: pirf.Heun(2.5),
    "steps in words": lambda: pirf.Heun("twenty"),
    "levels upside down": lambda: pirf.EDM(sigma_min=2.0, sigma_max=1.0),
    "equal levels": lambda: Linear(1.0, 1.0),
    "levels that rise": lambda: Levels((1.0, 2.0, 0.0)),
    "levels that do not end": lambda: Levels((2.0, 1.0)),
    "levels for other steps": lambda: pirf.Heun(5, Levels((2.0, 1.0, 0.0))).levels,
    "a handover before the first step": lambda: SAMPLER.before_last(4),
    "no samples of a model": lambda: pirf.sample(BASE, SAMPLER, 0),
    "samples from before 0": lambda: pirf.sample(BASE, SAMPLER, 2, start=-1),
    "a batch of 0": lambda: pirf.sample(BASE, SAMPLER, 2, batch=0),
    "a condition of another length": lambda: told(nu=torch.ones(3)),
    "a condition in words": lambda: told(nu="high"),
    # denoisers and their files
    "a scaling of other channels": lambda: pirf.testing.ConstantNetwork(SHAPE, pirf.Scaling.identity(1)),
    "a scale of 0": lambda: pirf.Scaling((0.0,), (0.0,)),
    "a scale of NaN": lambda: pirf.Scaling((0.0,), (float("nan"),)),
    "more shifts than scales": lambda: pirf.Scaling((0.0, 0.0), (1.0,)),
    "scaling other fields": lambda: PROBLEM.scaling.normalise(torch.zeros(1, 3, 8, 8)),
    "a handover at 0": lambda: pirf.Handover.split(BASE, 0.0),
    "a handover below 0": lambda: pirf.Handover.split(BASE, -1.0),
    "a handover of no channel": lambda: pirf.Handover.split(BASE, 1.0, channels=(2,)),
    "a handover that reads without writing": lambda: pirf.Handover.split(BASE, 1.0, reads=(0,)),
    "a handover of different fields": lambda: pirf.Handover(BASE, ONE, 1.0),
    "a handover above every level": lambda: pirf.Chain(SAMPLER, pirf.Handover.split(BASE, 1e-9)),
    "a colour twice": lambda: pirf.Coloured(pirf.Coloured(BASE, pirf.Matern()), pirf.Matern()),
    "a negative length": lambda: pirf.Matern(-0.1),
    "a network too deep for its grid": lambda: pirf.UNet((1, 6, 6), multipliers=(1, 1, 1)),
    "a network on a line": lambda: pirf.UNet((1, 8)),
    "loading nothing": lambda: pirf.load("nothing"),
    "loading a folder": lambda: pirf.load("/"),
    "saving a stranger": lambda: pirf.save(BASE, "never"),
    "converting nothing": lambda: pirf.convert("nothing.pkl", "never"),
    "reading nothing": lambda: pirf.read("nothing.npy"),
    "reading another ending": lambda: pirf.read(__file__),
    # data and training
    "no data": lambda: pirf.Fields(FIELDS[:0]),
    "data that are NaN": lambda: pirf.Fields(NAN[None]),
    "data without channels": lambda: pirf.Fields(FIELDS[:, 0, 0]),
    "conditions for other samples": lambda: pirf.Fields(FIELDS, conditions={"nu": torch.ones(3)}),
    "all channels told": lambda: pirf.Conditional(PROBLEM, {"all": (0, 1)}),
    "an unknown channel told": lambda: pirf.Conditional(PROBLEM, {"a": (5,)}),
    "truth without samples": lambda: PROBLEM.sample(0),
    "truth from before 0": lambda: PROBLEM.sample(1, start=-1),
    "generating nothing": lambda: pirf.generate(PROBLEM, 0, "never"),
    "no budget": lambda: tune(steps=None),
    "a budget of 0": lambda: tune(steps=0),
    "seconds below 0": lambda: tune(seconds=-1.0),
    "a batch of nothing": lambda: tune(batch=0),
    "a micro-batch of nothing": lambda: tune(micro=0),
    "a pool below a batch": lambda: tune(pool=1),
    "no replay": lambda: tune(replay=0),
    "a rate of 0": lambda: tune(lr=0.0),
    "a rate below 0": lambda: tune(lr=-1.0),
    "tuning a guided model": lambda: tune(GUIDED),
    "more graded steps than steps": lambda: tune(gradient=pirf.LastSteps(5)),
    "no graded step": lambda: pirf.LastSteps(0),
    "more stages than there are": lambda: tune(gradient=pirf.LayerTruncated(pirf.LastSteps(1), stages=3)),
    "a policy on an ODE": lambda: tune(gradient=pirf.PolicyGradient()),
    "adjoint matching on an ODE": lambda: tune(gradient=pirf.AdjointMatching()),
    "a noise map that is none": lambda: tune(gradient=pirf.NoiseHypernetwork()),
    "a black box through the chain": lambda: tune(reward=BlackBox(torch.sum)),
    "a black box without a name": lambda: BlackBox(lambda x: x),
    "another prefix": lambda: tune(prefix=pirf.Euler(3)),
    "learning without a batch": lambda: learn(batch=0),
    "learning on other fields": lambda: learn(denoiser=ONE),
    "a negative weight of PIDM": lambda: pirf.pidm(BASE, REWARD, source=SOURCE, sampler=SAMPLER, weight=-1.0, steps=1),
    "nothing to unroll": lambda: pirf.pbfm(BASE, REWARD, source=SOURCE, sampler=SAMPLER, unroll=0, steps=1),
    "comparing nothing": lambda: pirf.compare(PROBLEM, {}, sampler=SAMPLER),
    "comparing by name": lambda: pirf.compare(PROBLEM, {"base": "poisson-32"}, sampler=SAMPLER),
    "comparing a list": lambda: pirf.compare(PROBLEM, [BASE], sampler=SAMPLER),
    "comparing on a problem's name": lambda: pirf.compare("poisson", {"base": BASE}, sampler=SAMPLER),
    "comparing on a function": lambda: pirf.compare(pirf.problems.poisson, {"base": BASE}, sampler=SAMPLER),
    "comparing on a sampler's class": lambda: pirf.compare(PROBLEM, {"base": BASE}, sampler=pirf.Heun),
    "truncating a class": lambda: pirf.LayerTruncated(pirf.LastSteps),
    "truncating a number": lambda: pirf.LayerTruncated(2),
    "comparing other fields": lambda: pirf.compare(PROBLEM, {"one": ONE}, sampler=SAMPLER),
    # grids, problems and rewards
    "a field of another grid": lambda: REWARD(torch.zeros(1, 2, 9, 9)),
    "a field of other channels": lambda: REWARD(torch.zeros(1, 3, 8, 8)),
    "a field without a batch": lambda: REWARD(torch.zeros(SHAPE)),
    "a scaled class": lambda: pirf.Scaled(pirf.Poisson, 1.0),
    "a class that is given": lambda: pirf.rewards.Given(pirf.Poisson, (0,)),
    "decades of a function": lambda: pirf.rewards.Decades(torch.sum, 1.0),
    "a sum of one": lambda: pirf.Sum(REWARD),
    "a sum of classes": lambda: pirf.Sum((pirf.Poisson, pirf.Poisson)),
    "a balance of one": lambda: pirf.balance(REWARD, FIELDS),
    "a balance of classes": lambda: pirf.balance([pirf.Poisson], FIELDS),
    "a balance on truth": lambda: pirf.balance([REWARD], torch.zeros(2, *SHAPE)),
    "a grid that is too small": lambda: pirf.problems.poisson(2),
    "no recipe": lambda: pirf.presets.stages(PROBLEM),
    "no published residual": lambda: pirf.presets.as_released(pirf.problems.heat(8), steps=1),
    "no published count": lambda: pirf.presets.as_described(PROBLEM, steps=1, sampling=7),
    "no oracle": lambda: pirf.problems.darcy(8).oracle(),
}


@pytest.fixture(autouse=True)
def as_users_run_it(monkeypatch, tmp_path):
    """Without the suite's own check of types, which would speak first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("case", MALFORMED)
def test_one_line_says_what_came_and_what_to_try(case, tmp_path):
    with pytest.raises(InputError) as refusal:
        MALFORMED[case]()
    said = str(refusal.value)
    assert len(said.splitlines()) == 1
    assert ": got " in said
    assert "; " in said
    assert " Try " in said
    assert said.endswith(".")
    assert len(said) < 500
    assert not list(tmp_path.iterdir())


def test_there_are_many_ways_to_be_wrong():
    assert len(MALFORMED) >= 150


def test_an_instance_passes_and_is_not_changed():
    assert instance("a sampler", SAMPLER, pirf.Sampler, hint="Heun()") is None
    assert instance("a number", 3, (int, float), hint="3") is None


def test_what_came_is_named_shortly():
    with pytest.raises(
        InputError, match=r"^a sampler is needed: got the class Heun; a class is no instance: it is called first\."
    ):
        instance("a sampler", pirf.Heun, pirf.Sampler, hint="Heun()")
    with pytest.raises(InputError, match=r"^a mask is needed: got ndarray; it is none\. Try torch\.from_numpy\(mask\)\.$"):
        instance("a mask", np.zeros(10**6), torch.Tensor, hint="torch.from_numpy(mask)")
    with pytest.raises(InputError, match=r"^a functional is needed: got str 'line'; it is none\."):
        instance("a functional", "line", Functional, hint="Points(mask)")
