"""``pirf sample``, ``reconstruct``, ``compare``, ``data`` and ``convert`` write and print what the Python API gives."""

import json
import logging

import numpy as np
import torch
from edm_files import precond, write

import pirf

SAMPLER = pirf.Heun(4)
WORDS = ("--sampler", "Heun(steps=4)")


def test_samples_are_those_of_the_api_and_go_on_anywhere(call, tiny, tmp_path):
    assert call("sample", tiny, "--out", "new/all.npy", "--count", 5, "--seed", 3, *WORDS).code == 0
    whole = np.load(tmp_path / "new" / "all.npy")
    assert np.array_equal(whole, pirf.sample(pirf.load(tiny), SAMPLER, 5, seed=3).numpy())
    done = call("sample", tiny, "--out", "part.npy", "--count", 2, "--start", 3, "--seed", 3, *WORDS, "--json")
    assert json.loads(done.out)["shape"] == [2, 2, 8, 8]
    np.testing.assert_allclose(np.load(tmp_path / "part.npy"), whole[3:], rtol=1e-5, atol=1e-5 * np.abs(whole).max())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "part.npy"]


def test_samples_in_pieces_are_the_same_samples(call, tiny, tmp_path, monkeypatch):
    call("sample", tiny, "--out", "whole.npy", "--count", 5, *WORDS)
    monkeypatch.setattr("pirf.cli.drawing._TOGETHER", 2)
    call("sample", tiny, "--out", "pieces.npy", "--count", 5, *WORDS)
    whole, pieces = np.load(tmp_path / "whole.npy"), np.load(tmp_path / "pieces.npy")
    np.testing.assert_allclose(pieces, whole, rtol=1e-5, atol=1e-5 * np.abs(whole).max())


def test_a_reconstruction_is_that_of_the_api_with_its_calibration(call, tiny, problem, tmp_path):
    truth = problem.sample(1, seed=9)[0]
    mask = pirf.sensors(pirf.region(problem.shape, problem.solved), 12)
    np.save(tmp_path / "truth.npy", truth.numpy())
    np.save(tmp_path / "observed.npy", torch.where(mask, truth, torch.nan).numpy())
    words = ("reconstruct", tiny, "--observed", "observed.npy", "--noise", 0.001, "--problem", "poisson", *WORDS)
    done = call(*words, "--samples", 3, "--truth", "truth.npy", "--out", "fields.npy", "--picture", "picture.png")
    assert done.code == 0, done.err
    expected = pirf.reconstruct(
        pirf.load(tiny), pirf.Observation(mask, truth, 0.001), problem.reward, sampler=SAMPLER, samples=3
    )
    assert np.array_equal(np.load(tmp_path / "fields.npy"), expected.fields.numpy())
    assert str(expected.score(truth)) in done.out
    assert (tmp_path / "picture.png").stat().st_size > 1000
    judged = json.loads(call(*words, "--samples", 3, "--truth", "truth.npy", "--json").out)
    assert judged["calibration"]["rank"] == expected.score(truth).overall.rank.found
    assert judged["misfit"] == float(expected.misfit.mean())
    other = call(*words, "--samples", 2, "--guidance", "dps", "--noise", 0.002)  # a noise for each channel
    assert other.code == 0, other.err
    assert "calibration" not in other.out


def test_a_comparison_is_that_of_the_api(call, tiny, problem, tmp_path):
    words = ("compare", "poisson", "--model", tiny, "--samples", 6, *WORDS)
    expected = pirf.compare(problem, {str(tiny): pirf.load(tiny)}, sampler=SAMPLER, samples=6, progress=False)
    rows = json.loads(call(*words, "--json").out)["rows"]
    assert [row["name"] for row in rows] == ["truth", str(tiny)]
    assert [row["adherence"]["rho"] for row in rows] == [row.adherence.rho for row in expected.rows]
    done = call(*words, "--report", "report.html")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert done.out.splitlines()[-1] == "report: report.html"


def test_a_model_may_be_tuned_on_another_equation_and_still_says_what_it_makes(call, tiny, problem, caplog):
    words = ("--model", tiny, "--steps", 1, "--batch", 2, *WORDS)
    with caplog.at_level(logging.WARNING):
        assert call("finetune", "poisson", "--out", "same", *words).code == 0
        assert not caplog.messages
        done = call("finetune", "helmholtz", "--out", "tuned", *words)
    assert done.code == 0, done.err
    assert caplog.messages == [f"{tiny} makes fields of poisson: its card will go on to say so, tuned on helmholtz"]
    assert pirf.load("tuned").card["fields"] == json.loads(json.dumps(problem.facts))
    assert call("compare", "poisson", "--model", "tuned", "--samples", 2, *WORDS).code == 0
    refused = call("compare", "helmholtz", "--model", "tuned", "--samples", 2, *WORDS)
    assert refused.code == 2
    assert "a model of helmholtz is needed" in refused.err


def test_data_is_truth_by_seed(call, problem, tmp_path):
    words = ("data", "poisson", "--n", 8, "--count", 3, "--seed", 4, "--out", "truth", "--workers", 1, "--json")
    assert json.loads(call(*words).out)["shape"] == [3, 2, 8, 8]
    assert np.array_equal(np.load(tmp_path / "truth" / "fields.npy"), problem.sample(3, seed=4).float().numpy())


def test_a_converted_checkpoint_is_a_model_like_any_other(call, tmp_path):
    write(tmp_path / "network.pkl", {"ema": precond()})
    units = "Scaling(shift=(0.0, 1.0), scale=(2.0, 0.5))"
    done = call("convert", "network.pkl", "model", "--scaling", units, "--channels", "a", "--channels", "u", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["card"]["channels"] == ["a", "u"]
    assert pirf.load("model").scaling == pirf.Scaling((0.0, 1.0), (2.0, 0.5))
    assert call("sample", "model", "--out", "fields.npy", "--count", 1, *WORDS).code == 0
