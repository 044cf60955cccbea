"""The ensemble has the closed-form posterior's law, is calibrated, and says what it says of measurements and equation."""

import functools
import inspect

import attrs
import pytest
import torch
from tolerances import assert_close, assert_moment
from toys import Function, Tiny, normal, perturb

from pirf.calibration import calibration
from pirf.denoisers import GaussianDenoiser, Handover
from pirf.errors import InputError, NumericalError
from pirf.guidance import DPS, PseudoinverseGuidance
from pirf.inference import sample
from pirf.problems import poisson
from pirf.reconstruction import Posterior, _alike, reconstruct
from pirf.rewards import BlackBox, ConditionalPDEReward, Observation, Points, Stacked, Weights
from pirf.rewards.masks import observe, region, sensors
from pirf.samplers import Euler, Heun

PROBLEM = poisson(8)
SENSORS = sensors(region(PROBLEM.shape, 1), 8)
NOISE = 0.02 * PROBLEM.scaling.scale[1]
CONVERGED = functools.partial(PseudoinverseGuidance.posterior, iterations=8)
FINE = Heun(steps=40)
SHAPE = (2, 8, 8)


@functools.lru_cache
def measured(index=0):
    truth = PROBLEM.sample(1, seed=3, start=index)[0]
    return truth, observe(truth, SENSORS, NOISE, seed=index)


def closed_form(observation):
    """Mean and covariance of the posterior, normalised."""
    oracle, rows = PROBLEM.oracle(), SENSORS.flatten()
    scale = torch.tensor(PROBLEM.scaling.scale, dtype=torch.float64).repeat_interleave(64)
    shift = torch.tensor(PROBLEM.scaling.shift, dtype=torch.float64).repeat_interleave(64)
    prior = oracle.basis @ torch.diag(oracle.variances) @ oracle.basis.T
    y, noise = (observation.values - shift[rows]) / scale[rows], observation.deviations / scale[rows]
    gain = torch.linalg.solve(prior[rows][:, rows] + torch.diag(noise**2), prior[rows]).T
    return oracle.mean + gain @ (y - oracle.mean[rows]), prior - gain @ prior[rows]


def test_mean_and_covariance_are_the_closed_form_posterior():
    """In the posterior's own modes, in units of their deviations, samples are standard normal: from 8 sensors, all 63 modes."""
    _, observation = measured()
    posterior = reconstruct(PROBLEM.oracle(), observation, guidance=CONVERGED, sampler=FINE, samples=400, batch=400)
    mean, covariance = closed_form(observation)
    variances, modes = torch.linalg.eigh(covariance)
    kept = variances > 1e-9 * variances.max()
    assert int(kept.sum()) == 63  # 64 cells, less the constant, which no Poisson source of this law has
    z = (PROBLEM.scaling.normalise(posterior.fields).flatten(1) - mean) @ modes[:, kept] / variances[kept].sqrt()
    for mode in z.T:
        assert_moment(mode, 0.0)
        assert_moment(mode.square(), 1.0)
    assert_moment(z[:, :-1] * z[:, 1:], 0.0)


def test_the_uncertainty_is_right_over_many_truths_and_too_small_where_the_prior_is_too_sharp():
    oracle = PROBLEM.oracle()
    sharp = GaussianDenoiser(SHAPE, oracle.mean.reshape(SHAPE), 0.15 * oracle.variances, oracle.basis, oracle.scaling)

    def judged(prior, steps, count):
        found = [reconstruct(prior, measured(i)[1], sampler=Heun(steps), seed=i).fields for i in range(count)]
        return calibration(found, torch.stack([measured(i)[0] for i in range(count)]), ~SENSORS)

    right, wrong = judged(oracle, 24, 5), judged(sharp, 12, 3)
    assert right.alarms() == ()
    for r in (right.overall, *right.channels):
        assert max(abs(e.deviation) for e in (r.half, r.ninety, r.rank)) < 3
    assert "overconfident" in wrong.alarms()
    assert wrong.overall.ninety.deviation < -3


def test_batches_do_not_matter():
    _, observation = measured()

    def fields(samples, **options):
        return reconstruct(PROBLEM.oracle(), observation, PROBLEM.reward, sampler=Heun(5), samples=samples, **options).fields

    whole = fields(5)
    assert_close(fields(5, batch=2), whole)
    assert_close(fields(3), whole[:3], unit=float(whole.abs().max()))


@pytest.mark.parametrize("guidance", [PseudoinverseGuidance.posterior, DPS.posterior])
def test_base_tuned_and_handover_are_priors(guidance):
    _, observation = measured()
    sampler = Heun(steps=6)
    base = Tiny(SHAPE, scaling=PROBLEM.scaling)
    split = Handover.split(base, sampler.before_last(2))

    def fields(prior):
        return reconstruct(prior, observation, PROBLEM.reward, guidance=guidance, sampler=sampler, samples=2).fields

    whole = fields(base)
    assert_close(fields(split), whole)
    perturb(split.tuned)
    assert float((fields(split) - whole).norm()) > 1e-3 * float(whole.norm())
    assert float((fields(perturb(Tiny(SHAPE, scaling=PROBLEM.scaling))) - whole).norm()) > 1e-3 * float(whole.norm())


def test_the_guidance_is_asked_with_what_was_given():
    _, observation = measured()
    asked = []

    def none(*arguments):
        asked.extend(arguments)
        return arguments[0]

    oracle = PROBLEM.oracle()
    posterior = reconstruct(oracle, observation, PROBLEM.reward, guidance=none, sampler=FINE, samples=3, seed=7)
    assert asked[0] is oracle
    assert asked[1:] == [observation, PROBLEM.reward]
    assert torch.equal(posterior.fields, sample(oracle, FINE, 3, seed=7))
    assert (posterior.evaluations, posterior.vjps) == (79, 0)


@attrs.frozen
class Source(ConditionalPDEReward):
    """u of every cell is what the condition says."""

    def residual(self, x, condition):
        return x[:, 1:] - condition["source"].reshape(-1, 1, 1, 1)


def test_a_condition_is_told_to_every_sample():
    _, observation = measured()
    told = Function(lambda x, sigma, condition: x / (1 + sigma**2) + condition["source"].reshape(-1, 1, 1, 1), SHAPE)
    condition = {"source": torch.tensor([0.3], dtype=torch.float64)}

    def asked(**options):
        options = {"sampler": Euler(steps=3), "samples": 3, "guidance": DPS.posterior, **options}
        return reconstruct(told, observation, Source(), condition=condition, **options)

    posterior = asked()
    expected = posterior.fields[:, 1] - 0.3
    assert_close(posterior.residual(), expected.flatten(1).square().mean(1))
    assert_close(asked(batch=2).fields, posterior.fields)
    last = posterior.picture().axes[2].images[0].get_array().data
    assert_close(torch.tensor(last), expected.square().mean(0).sqrt().T)
    condition["source"] = torch.zeros(1, dtype=torch.float64)
    assert not torch.allclose(asked().fields, posterior.fields)
    condition["source"] = torch.zeros(3, dtype=torch.float64)
    with pytest.raises(InputError, match=r"one entry of the condition is needed: got source of shape \(3,\)"):
        asked()


def ensemble(count=16, reward=PROBLEM.reward):
    truth, observation = measured()
    fields = truth + PROBLEM.sample(count, seed=5)
    return truth, Posterior(fields, observation, reward, 39, 234, 0.5)


@pytest.mark.parametrize("count", [9, 16])
def test_quantiles_are_the_order_statistics_of_their_probabilities(count):
    _, posterior = ensemble(count)
    ordered = posterior.fields.sort(0).values
    for k in range(1, count + 1):
        assert_close(posterior.quantile(k / (count + 1)), ordered[k - 1])
    low, high = posterior.interval(1 - 4 / (count + 1))
    assert_close(low, ordered[1])
    assert_close(high, ordered[-2])
    assert torch.equal(posterior.interval(1.0)[1], ordered[-1])
    assert_close(posterior.mean, posterior.fields.mean(0))
    assert_close(posterior.std.square() * (count - 1), (posterior.fields - posterior.mean).square().sum(0))


def test_misfit_is_in_units_of_the_noise_and_the_residual_in_those_of_the_equation():
    truth, posterior = ensemble()
    gaps = (posterior.fields - truth)[:, SENSORS] + (truth[SENSORS] - posterior.observation.values)
    assert_close(posterior.misfit, (gaps / NOISE).square().mean(1).sqrt())
    fields = posterior.fields + normal(16, *SHAPE)
    found = Posterior(fields, posterior.observation, PROBLEM.reward, 0, 0, 0).residual()
    assert_close(found, PROBLEM.reward.residuals(fields).flatten(1).square().mean(1))


def test_scores_are_of_what_was_not_measured():
    truth, posterior = ensemble()
    expected = calibration(posterior.fields[None], truth[None], ~SENSORS)
    assert posterior.score(truth) == posterior.score(truth[None]) == expected
    assert posterior.score(truth, SENSORS) == calibration(posterior.fields[None], truth[None], SENSORS)
    assert posterior.score(truth, SENSORS) != expected


def test_an_average_measures_no_point_and_who_measures_all_points_is_judged_at_all():
    truth, posterior = ensemble()
    average = Weights(torch.ones(1, *SHAPE, dtype=torch.float64) / 128)
    everywhere = torch.ones(SHAPE, dtype=torch.bool)

    def scored(what):
        return Posterior(posterior.fields, observe(truth, what), None, 0, 0, 0).score(truth)

    whole = calibration(posterior.fields[None], truth[None])
    assert scored(average) == whole
    assert scored(everywhere) == whole
    assert scored(Stacked((Points(SENSORS), average))) == posterior.score(truth)


def test_pictures_show_truth_and_mean_on_one_scale():
    truth, posterior = ensemble()
    figure = posterior.picture(truth, channels=PROBLEM.channels)
    images = {axis.get_title(): axis.images[0] for axis in figure.axes if axis.get_title() and axis.images}
    assert set(images) == {"truth", "mean", "standard deviation", "|mean − truth|", "residual, rms"}
    assert_close(torch.tensor(images["mean"].get_array().data), posterior.mean[0].T)
    assert_close(torch.tensor(images["standard deviation"].get_array().data), posterior.std[0].T)
    assert images["truth"].get_clim() == images["mean"].get_clim()
    assert images["|mean − truth|"].get_clim() == images["standard deviation"].get_clim()
    assert [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()] == list(PROBLEM.channels)
    dots = [len(axis.collections[0].get_offsets()) for axis in figure.axes if axis.collections and axis.images]
    assert 8 in dots
    alone = Posterior(posterior.fields[:1], posterior.observation, None, 0, 0, 0).picture()
    assert [axis.get_title() for axis in alone.axes if axis.get_title()] == ["mean", "standard deviation"]


def test_what_notebooks_show():
    _, posterior = ensemble()
    page = posterior._repr_html_()
    assert page.count("<tr>") == 5
    assert f"{float(posterior.misfit.mean()):.3g}" in page
    assert "16 of 2×8×8" in repr(posterior)
    assert "39 evaluations + 234 products" in repr(posterior)
    assert Posterior(posterior.fields, posterior.observation, None, 1, 0, 1)._repr_html_().count("<tr>") == 4


def test_samples_that_are_no_numbers_are_refused():
    broken = Function(lambda x, sigma, condition: x / 0 * 0, SHAPE)
    with pytest.raises(NumericalError, match="Function gave NaN or infinity in 3 of 3 samples") as refused:
        reconstruct(broken, measured()[1], guidance=lambda denoiser, *_: denoiser, sampler=Euler(steps=3), samples=3)
    assert "\n" not in str(refused.value)


def hard(first, second):
    points = Points(SENSORS)
    return Observation(
        Stacked((points, points)), torch.cat([torch.full((8,), v, dtype=torch.float64) for v in (first, second)])
    )


NOWHERE = torch.zeros_like(SENSORS)
ONE_CHANNEL = torch.ones(1, 8, 8, dtype=torch.bool)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: reconstruct(DPS.posterior(PROBLEM.oracle(), measured()[1]), measured()[1]), "without guidance is needed: got DPS"),
    (lambda: reconstruct(poisson(4).oracle(), measured()[1]), r"fields of shape \(2, 4, 4\) is needed: got \(2, 8, 8\)"),
    (lambda: reconstruct(PROBLEM.oracle(), measured()[1], samples=0), "a sample or more is needed: got 0"),
    (lambda: reconstruct(PROBLEM.oracle(), measured()[1], batch=0), "batch=0"),
    (lambda: reconstruct(PROBLEM.oracle(), observe(measured()[0], ONE_CHANNEL)), "fields of shape"),
    (lambda: reconstruct(PROBLEM.oracle(), observe(measured()[0], NOWHERE)), "no point"),
    (lambda: reconstruct(PROBLEM.oracle(), observe(measured()[0] * torch.nan, SENSORS)), "finite measurements .* got nan"),
    (lambda: reconstruct(PROBLEM.oracle(), hard(0.0, 0.1)), "a contradiction of 0.05 among 16 rows"),
    (lambda: reconstruct(PROBLEM.oracle(), measured()[1], BlackBox(len), guidance=DPS.posterior), "a differentiable reward"),
    (lambda: reconstruct(PROBLEM.oracle(), measured()[1], guidance=DPS), "got the class DPS.*guidance=DPS.posterior"),
    (lambda: reconstruct(PROBLEM.oracle(), measured()[1], guidance=DPS.posterior(PROBLEM.oracle(), measured()[1])),
     "got an instance of DPS.*guidance=DPS.posterior"),
    (lambda: reconstruct(PROBLEM.oracle(), measured()[1], guidance=PROBLEM.oracle()), "an instance of GaussianDenoiser"),
    (lambda: inspect.unwrap(_alike)("kappa", 3.0, 4), "one entry of the condition is needed: got kappa=3.0"),
    (lambda: ensemble()[1].picture(channels=("u",)), r"2 names of channels are needed: got \('u',\)"),
    (lambda: ensemble(1)[1].std, "two samples or more are needed: got 1"),
    (lambda: ensemble()[1].quantile(1.5), "a q between 0 and 1 is needed: got 1.5"),
    (lambda: ensemble()[1].interval(-0.5), "a level between 0 and 1 is needed: got -0.5"),
    (lambda: ensemble(reward=None)[1].residual(), "a posterior with an equation is needed: got None"),
    (lambda: ensemble()[1].score(PROBLEM.sample(2)), r"one truth of shape \(2, 8, 8\) is needed: got \(2, 2, 8, 8\)"),
])  # fmt: skip
def test_bad_calls_get_one_line(call, message):
    with pytest.raises(InputError, match=message) as refused:
        call()
    assert "\n" not in str(refused.value)


def test_exact_measurements_that_agree_are_met():
    """No noise: every sample of the oracle passes through the points."""
    truth, _ = measured()
    posterior = reconstruct(PROBLEM.oracle(), observe(truth, SENSORS), guidance=CONVERGED, samples=3)
    assert float(posterior.misfit.max()) < 1e-2 * float(truth[1].std())
    assert float((posterior.fields - truth)[:, ~SENSORS].norm()) > 0.1
