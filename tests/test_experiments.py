"""A comparison is paired, exact rows measure as exact, and what was bought is named."""

import json

import pytest
import torch

import pirf
from pirf.denoisers import GaussianDenoiser

PROBLEM = pirf.problems.poisson(8)
WEIGHTS = {"weight": (1e-3, 1e1), "order": (1.0, 2.0)}
SAMPLER = pirf.Heun(steps=40)
SEARCHED = pirf.tune(lambda weight, order: weight * order if weight < 1 else float("nan"), WEIGHTS, trials=5)


@pytest.fixture(scope="module")
def table():
    oracle = PROBLEM.oracle()
    shrunk = GaussianDenoiser(
        oracle.shape, oracle.mean.reshape(oracle.shape), 0.25 * oracle.variances, oracle.basis, oracle.scaling
    )
    rows = {
        "oracle": oracle,
        "shrunk": shrunk,
        "guided": pirf.Entry(pirf.DPS(oracle, PROBLEM.reward), tuning_seconds=3.0, note="ζ = 0.001", tuning=SEARCHED),
    }
    return pirf.compare(PROBLEM, rows, sampler=SAMPLER, samples=128, progress=False)


def test_the_exact_denoiser_solves_the_equation_to_round_off(table):
    assert table["oracle"].adherence.rho < 1e-20
    assert table["oracle"].adherence.resolve < 1e-10
    assert table["oracle"].adherence.satisfied == 1.0


def test_the_exact_denoiser_keeps_the_integral_laws(table):
    assert table["oracle"].adherence.conserved == 1.0
    assert table["oracle"].adherence.defect < 1e-12
    assert table["truth"].adherence.conserved == 1.0
    assert table.cells()[1][list(pirf.experiments.COLUMNS).index("laws")] == "100 %"
    assert "quantity: energy of u" in table["shrunk"].alarms


def test_the_exact_denoiser_is_as_good_as_data(table):
    assert not set(table["oracle"].alarms) - {"below the data's floor"}  # it works in float64, the floor is float32's
    assert max(table["oracle"].fidelity.w1) < 3
    assert table["truth"].alarms == ()


def test_a_collapsed_law_obeys_the_equation_and_raises_alarms(table):
    row = table["shrunk"]
    assert row.adherence.rho < 1e-20
    assert {"variance", "diversity"} <= set(row.alarms)
    assert row.fidelity.variance == pytest.approx(tuple(0.25 * v for v in table["oracle"].fidelity.variance), rel=0.05)


def test_costs_are_counted(table):
    assert table["oracle"].evaluations == 2 * SAMPLER.steps - 1
    assert table["oracle"].vjps == 0
    # DPS differentiates the last fifth of the steps, 32 to 39, both evaluations of all but the last.
    assert table["guided"].vjps == 15
    assert table["guided"].evaluations == 2 * SAMPLER.steps - 1
    assert table["guided"].tuning_seconds == 3.0


def test_rows_are_paired_by_noise(table):
    again = pirf.compare(PROBLEM, {"oracle": PROBLEM.oracle()}, sampler=SAMPLER, samples=128, batch=50, progress=False)
    assert torch.equal(again["oracle"].fields, table["oracle"].fields)


def test_json_and_text_carry_every_row(table, tmp_path):
    saved = json.loads(table.save(tmp_path / "table.json").read_text())
    assert [row["name"] for row in saved["rows"]] == ["truth", "oracle", "shrunk", "guided"]
    assert saved["rows"][1]["adherence"]["rho"] == table["oracle"].adherence.rho
    assert saved["rows"][1]["fidelity"]["quantities"]["energy of u"]["mean"] == pytest.approx(1, abs=0.3)
    assert saved["rows"][3]["note"] == "ζ = 0.001"
    assert saved["rows"][3]["tuning"] == SEARCHED.as_dict()
    assert [loss is None for _, loss in saved["rows"][3]["tuning"]["trials"]] == [False, False, True, False, False]
    assert saved["rows"][1]["tuning"] is None
    for name in ("truth", "oracle", "shrunk", "guided", "variance"):
        assert name in str(table)


def test_the_text_fits_the_screen_and_loses_nothing(table, monkeypatch):
    wide, narrow = str(table), table.text(80)
    assert max(map(len, wide.splitlines())) > 80
    lines = narrow.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("shrunk" in line for line in lines) == sum("method" in line for line in lines) > 1
    words = {word for cells in table.cells() for cell in cells for word in cell.split()}
    assert words <= set(narrow.split())
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    assert str(table) == narrow


def test_the_report_is_one_file_without_outside_requests(table, tmp_path):
    page = table.report(tmp_path / "report.html", title="<b>&", calls="x < y").read_text()
    assert "http" not in page
    assert page.count("data:image/png;base64,") == 2
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page
    assert "x &lt; y" in page
    assert page.count("<tr>") == 5
    assert "ζ = 0.001; weight = 0.001, order = 1: loss 0.001, best of 5 trials" in page


def test_bad_calls_are_refused_in_one_line():
    with pytest.raises(pirf.InputError, match="got none"):
        pirf.compare(PROBLEM, {}, sampler=SAMPLER)
    with pytest.raises(pirf.InputError, match="problem that the models were trained on"):
        pirf.compare(PROBLEM, {"other": GaussianDenoiser((2, 4, 4))}, sampler=SAMPLER)
