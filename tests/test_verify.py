"""The certificate passes a right reward, fails each wrong one on the row that names its fault, and never guesses."""

import subprocess
import sys

import attrs
import pytest
import torch

import pirf
from pirf.operators import laplacian
from pirf.rewards.legacy import ReleasedPoisson

PROBLEM = pirf.problems.poisson(16)


def status(certificate, row):
    """The verdict of the only row whose name starts like this."""
    (found,) = [r for r in certificate.rows if r.name.startswith(row)]
    return found.status


@attrs.frozen
class Wrong(pirf.PDEReward):
    """Poisson with one fault."""

    grid: pirf.Grid
    fault: str

    def residual(self, x):
        a, u = x[:, :1], x[:, 1:]
        if self.fault == "boundary":
            return laplacian(u, self.grid, pirf.Neumann(0.0)) - a
        if self.fault == "sign":
            return laplacian(u, self.grid, pirf.Dirichlet(0.0)) + a
        if self.fault == "blind to u":
            return 0 * u - a
        if self.fault == "threshold":
            return laplacian(u, self.grid, pirf.Dirichlet(0.0)) - a - torch.where(a > 0, 1.0, -1.0).to(a) + torch.sign(a)
        if self.fault == "hard a":
            return laplacian(u, self.grid, pirf.Dirichlet(0.0)) - torch.sign(a)
        if self.fault == "spacing":
            return 0.9 * laplacian(u, self.grid, pirf.Dirichlet(0.0)) - a
        return laplacian(u, self.grid, pirf.Dirichlet(0.0)) - a


def test_the_right_reward_passes_every_row():
    certificate = pirf.verify(PROBLEM)
    assert certificate.passed
    assert certificate.exit_code == 0
    assert {r.status for r in certificate.rows} == {"PASS"}
    assert sum(r.name.startswith("non-solution") for r in certificate.rows) == 7
    assert sum(r.name.startswith("blind spot") for r in certificate.rows) == 4


def test_a_law_that_truth_breaks_is_a_fault_of_the_problem():
    """A defect of 1e-9 where round-off is 1e-16; without laws there is no such row."""
    laws = {"flux": lambda x: PROBLEM.balances["flux out of one half"](x) + 1e-9}
    assert status(pirf.verify(attrs.evolve(PROBLEM, balances=laws), samples=8), "integral laws") == "FAIL"
    assert not [r for r in pirf.verify(attrs.evolve(PROBLEM, balances={}), samples=8).rows if r.name.startswith("integral")]


def test_a_quantity_alone_can_catch_a_blind_spot():
    """Other solutions of the same law: nothing but a quantity that knows the seed tells them from truth."""
    others = {"other solutions": lambda count: PROBLEM.sample(count, seed=5)}
    known = PROBLEM.sample(64, 5)[:, 0, 0, 0]
    problem = attrs.evolve(PROBLEM, off_law=others, quantities={})
    assert status(pirf.verify(problem), "blind spot: other") == "FAIL"
    knowing = attrs.evolve(problem, quantities={"seed": lambda x: torch.isin(x[:, 0, 0, 0], known).double()})
    (row,) = [r for r in pirf.verify(knowing).rows if r.name == "blind spot: other solutions"]
    assert (row.status, row.note) == ("PASS", "caught by quantity: seed")


def test_the_measured_orders_are_second():
    rows = {r.name: float(r.measured) for r in pirf.verify(PROBLEM).rows if r.name.startswith("order")}
    assert rows == {"order, interior rows": pytest.approx(2, abs=0.1), "order, solution": pytest.approx(2, abs=0.02)}


@pytest.mark.parametrize(
    ("fault", "row"),
    [
        ("boundary", "residual of truth"),
        ("boundary", "non-solution: solution of the Neumann problem"),
        ("sign", "residual of truth"),
        ("sign", "order, interior"),
        ("spacing", "order, interior"),
        ("blind to u", "sensitivity, channel 1"),
        ("blind to u", "non-solution: zero solution"),
        ("hard a", "sensitivity, channel 0"),
    ],
)
def test_a_wrong_reward_fails_on_the_row_that_names_its_fault(fault, row):
    certificate = pirf.verify(PROBLEM, reward=Wrong(PROBLEM.grid, fault))
    assert certificate.verdict == "FAIL"
    assert certificate.exit_code == 1
    assert status(certificate, row) == "FAIL"


def test_the_control_without_a_fault_passes_the_same_rows():
    assert pirf.verify(PROBLEM, reward=Wrong(PROBLEM.grid, "none")).passed


def test_the_released_residual_fails_where_it_ranks_non_solutions_above_truth():
    certificate = pirf.verify(PROBLEM, reward=ReleasedPoisson(PROBLEM.grid))
    assert certificate.verdict == "FAIL"
    for row in ("non-solution: zero solution", "non-solution: solution of the Neumann", "residual of truth"):
        assert status(certificate, row) == "FAIL"


def test_rows_without_evidence_are_not_checked_and_the_certificate_partial():
    bare = pirf.verify(PROBLEM.reward)
    assert bare.verdict == "PARTIAL"
    assert bare.exit_code == 3
    assert not bare.passed
    assert {r.status for r in bare.rows} == {"NOT CHECKED"}
    some = pirf.verify(PROBLEM.reward, truth=PROBLEM.sample(32))
    assert some.verdict == "PARTIAL"
    assert status(some, "adjoint") == "PASS"
    assert status(some, "order") == "NOT CHECKED"
    assert status(some, "blind spots") == "NOT CHECKED"


def test_full_evidence_for_a_bare_reward_passes():
    certificate = pirf.verify(
        PROBLEM.reward,
        truth=PROBLEM.sample(128),
        solver=PROBLEM.solve,
        exact=lambda n: (pirf.Poisson(pirf.Grid.square(n)), PROBLEM.manufactured(pirf.Grid.square(n))),
    )
    assert certificate.passed, str(certificate)


def test_the_printed_form_has_one_line_per_row_and_the_verdict_first():
    certificate = pirf.verify(PROBLEM)
    lines = str(certificate).splitlines()
    assert lines[0] == "pirf.problems.poisson(n=16): PASS"
    assert len(lines) == len(certificate.rows) + 2
    assert certificate.as_dict()["verdict"] == "PASS"


def test_what_cannot_be_certified_is_refused_in_one_line():
    # In a process of its own: here the run-time type checks would speak first.
    code = "import pirf\ntry: pirf.verify('poisson')\nexcept pirf.InputError as e: print(e)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "got str" in said
    assert len(said.splitlines()) == 1
