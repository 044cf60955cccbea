r"""The certificate: does a reward rank truth above every non-solution in its table, and is its gradient right?

Rows, each with what was measured, its limit and a verdict:

- *order of convergence* on a smooth manufactured solution, interior rows (ghost cells at a boundary have an O(1) truncation
  error without harming the solution) or in time, and of the error in the solution where the reward knows it;
- *adjoint*: :math:`|\langle Jv, w\rangle - \langle v, J^T w\rangle| \le 10^{-10} (\|Jv\|\|w\| + \|v\|\|J^T w\|)`;
- *sensitivity*: every channel has finite jumps that change the residual, and must then have a non-zero :math:`Jv`; autograd
  agrees with itself even through a hard threshold;
- *residual of truth* in float64, *floor* in float32, and the *integral laws* that truth must keep;
- *hackability*: non-solutions that must score worse than truth, and blind spots that no residual can see, each with the
  alarm that catches it.

A row without its inputs reads NOT CHECKED and the certificate PARTIAL.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, cast, final

import attrs
import torch

from pirf.errors import InputError
from pirf.grids import Grid
from pirf.metrics import PerSample, adherence, alarms, defects, fidelity, mean_squares, round_trip_floor
from pirf.noise import Noise
from pirf.problems import Problem
from pirf.problems.base import grafted
from pirf.rewards import ResidualReward
from pirf.rewards.jacobian import adjoint_gap, sensitivity, spread
from pirf.scaling import Scaling
from pirf.tensors import Field

__all__ = ["Certificate", "Row", "verify"]

Status = Literal["PASS", "FAIL", "NOT CHECKED"]
Exact = Callable[[int], tuple[ResidualReward, Field]]
Solver = Callable[[Field], Field]
Graft = Callable[[Field, Field], Field]


@final
@attrs.frozen
class Row:
    """One check."""

    name: str
    status: Status
    measured: str = "—"
    limit: str = "—"
    note: str = ""


@final
@attrs.frozen
class Certificate:
    """The rows and their verdict: FAIL if one fails, PARTIAL if one could not be checked, else PASS."""

    subject: str
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> Literal["PASS", "PARTIAL", "FAIL"]:
        """FAIL before PARTIAL before PASS."""
        states = {row.status for row in self.rows}
        return "FAIL" if "FAIL" in states else "PARTIAL" if "NOT CHECKED" in states else "PASS"

    @property
    def passed(self) -> bool:
        """Every row was checked and passes."""
        return self.verdict == "PASS"

    @property
    def exit_code(self) -> int:
        """0 for PASS, 1 for FAIL, 3 for PARTIAL."""
        return {"PASS": 0, "FAIL": 1, "PARTIAL": 3}[self.verdict]

    def __str__(self) -> str:
        columns = [("check", "measured", "limit", "")] + [(r.name, r.measured, r.limit, r.status) for r in self.rows]
        widths = [max(len(c[i]) for c in columns) for i in range(4)]
        lines = ["  ".join(c[i].ljust(widths[i]) for i in range(4)).rstrip() for c in columns]
        lines[1:] = [line + (f"  {row.note}" if row.note else "") for line, row in zip(lines[1:], self.rows, strict=True)]
        return "\n".join([f"{self.subject}: {self.verdict}", *lines])

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {"subject": self.subject, "verdict": self.verdict, "rows": [attrs.asdict(row) for row in self.rows]}


@final
@attrs.frozen(eq=False)
class _Case:
    """Everything that the checks look at."""

    reward: ResidualReward
    truth: Field | None
    other: Field | None
    """A second, independent set of truth: the unit of every fidelity figure."""
    solver: Solver | None
    exact: Exact | None
    solution: Exact | None
    solved: tuple[int, ...]
    graft: Graft
    order: float
    tolerance: float
    scale: float | None = None
    """The constant S of MSE/S, where the problem says it."""
    refined: str = "interior rows"
    """Where the order of convergence is measured."""
    impostors: Mapping[str, Solver] = attrs.field(factory=dict)
    off_law: Mapping[str, Callable[[int], Field]] = attrs.field(factory=dict)
    balances: Mapping[str, PerSample] = attrs.field(factory=dict)
    quantities: Mapping[str, PerSample] = attrs.field(factory=dict)


def verify(
    subject: Problem | ResidualReward,
    *,
    reward: ResidualReward | None = None,
    truth: Field | None = None,
    solver: Solver | None = None,
    exact: Exact | None = None,
    solved: tuple[int, ...] = (-1,),
    order: float | None = None,
    tolerance: float | None = None,
    samples: int = 64,
    seed: int = 0,
) -> Certificate:
    """Certify a problem (or another ``reward`` on a problem's data), or a reward with whatever evidence there is.

    ``truth`` are exact solutions in physical units, ``solver`` replaces the solved channels of fields by the reference
    solution, ``exact(n)`` gives the reward on n points and a smooth manufactured solution there, ``order`` is the order
    that the discretisation claims, ``tolerance`` what truth may score; both are the problem's own, or 2 and 1e-12.  Scores
    are in units of the problem's S or, for a bare reward, of what a wrong pairing scores.
    """
    if isinstance(subject, Problem):
        case = _of_problem(subject, reward, order, tolerance, samples, seed)
        name = repr(subject) if reward is None else f"{reward!r} on {subject!r}"
    elif isinstance(subject, ResidualReward):
        half = None if truth is None else len(truth) // 2
        first, second = (None, None) if truth is None else (truth[:half].double(), truth[half:].double())
        channels = () if truth is None else tuple(c % truth.shape[1] for c in solved)
        limits = 2.0 if order is None else order, 1e-12 if tolerance is None else tolerance
        case = _Case(subject, first, second, solver, exact, None, channels, partial(grafted, solved=channels), *limits)
        name = repr(subject)
    else:
        raise InputError(
            "verify takes a Problem or a reward with a residual",
            got=type(subject).__name__,
            why="only a residual can be certified",
            hint="verify(MyReward(grid), truth=fields)",
        )
    if case.truth is not None and len(case.truth) < 2:
        raise InputError(
            "verify needs four samples of truth or more", got=len(case.truth), why="pairs are compared", hint="samples=64"
        )
    return Certificate(name, (*_order(case), *_gradient(case), *_consistency(case), *_non_solutions(case), *_blind_spots(case)))


def _of_problem(
    problem: Problem, reward: ResidualReward | None, order: float | None, tolerance: float | None, samples: int, seed: int
) -> _Case:
    judged = problem.reward if reward is None else reward
    smooth, frames, options = problem.manufactured, problem.manufactured_in_time, problem.manufactured_options

    def on(candidate: ResidualReward | None) -> Exact | None:
        if candidate is not None and frames is not None and attrs.has(type(candidate)) and hasattr(candidate, "interval"):
            return lambda n: (_with(candidate, interval=1 / n), frames(1 / n))
        if smooth is None or candidate is None or not attrs.has(type(candidate)):
            return None
        if not all(hasattr(candidate, name) for name in ("grid", *options)):
            return None

        def exact(n: int) -> tuple[ResidualReward, Field]:
            grid: Grid = problem.refine(n).grid
            return _with(candidate, grid=grid, **options), smooth(grid)

        return exact

    return _Case(
        judged,
        problem.sample(samples, seed),
        problem.sample(samples, seed + 1),
        problem.solve,
        on(judged),
        on(problem.solution_norm) if reward is None else None,
        problem.solved,
        problem.graft,
        problem.order if order is None else order,
        problem.tolerance if tolerance is None else tolerance,
        problem.scale,
        "interior rows" if frames is None else "in time",
        problem.impostors,
        problem.off_law,
        problem.balances,
        problem.quantities,
    )


def _with(reward: ResidualReward, **changes: object) -> ResidualReward:
    """The same reward with other settings; the caller has seen that it is an attrs class."""
    return cast(ResidualReward, attrs.evolve(cast(Any, reward), **changes))


def _order(case: _Case) -> list[Row]:
    rows = []
    for name, exact, crop in ((f"order, {case.refined}", case.exact, 1), ("order, solution", case.solution, 0)):
        if exact is None:
            if crop:
                rows.append(Row(name, "NOT CHECKED", note="needs exact(n) → (reward, smooth solution)"))
            continue
        errors = []
        for n in (32, 64, 128):
            reward, fields = exact(n)
            residual = reward.residuals(fields)
            inner = (..., *[slice(crop, -crop or None)] * (fields.ndim - 2))
            errors.append(float(residual[inner].square().mean().sqrt()))
        slope = math.log2(errors[-2] / errors[-1]) if min(errors) > 0 else math.inf
        ok = abs(slope - case.order) <= 0.1
        rows.append(Row(name, "PASS" if ok else "FAIL", f"{slope:.2f}", f"{case.order:g} ± 0.1"))
    return rows


def _gradient(case: _Case) -> list[Row]:
    if case.truth is None:
        return [Row(name, "NOT CHECKED", note="needs truth=") for name in ("adjoint", "sensitivity")]
    x = case.truth[:8]
    worst = max(adjoint_gap(case.reward, x, Noise(draw)) for draw in range(8))
    rows = [Row("adjoint", "PASS" if worst <= 1e-10 else "FAIL", f"{worst:.0e}", "1e-10")]
    size = float(case.reward.residuals(x).norm())
    for channel in range(x.shape[1]):
        change, slope = sensitivity(case.reward, x, channel)
        seen = change > 1e-9 * (size + change)
        note = "never seen" if not seen else "jumps change it, its derivative is 0" if slope <= 1e-9 * change else ""
        ratio = f"|Jv|/|ΔR| = {slope / max(change, 1e-300):.2g}"
        rows.append(Row(f"sensitivity, channel {channel}", "FAIL" if note else "PASS", ratio, "> 0", note))
    return rows


def _consistency(case: _Case) -> list[Row]:
    if case.truth is None:
        return [Row(name, "NOT CHECKED", note="needs truth=") for name in ("residual of truth", "floor in float32")]
    size = _unit(case)
    worst = float(mean_squares(case.reward, case.truth).max()) / size
    floor = round_trip_floor(case.reward, case.truth, Scaling.fit(case.truth)) / size
    rows = [
        Row(
            "residual of truth",
            "PASS" if worst <= case.tolerance else "FAIL",
            f"{worst:.1e}",
            f"≤ {case.tolerance:.0e}",
            "MSE/S",
        ),
        Row(
            "floor in float32",
            "PASS" if floor <= 1e-2 else "FAIL",
            f"{floor:.1e}",
            "≤ 1e-2",
            "MSE/S after a float32 round trip",
        ),
    ]
    if case.balances:
        gap = float(defects(case.truth, case.balances).max())
        laws = ", ".join(case.balances)
        rows.append(Row("integral laws of truth", "PASS" if gap <= 1e-10 else "FAIL", f"{gap:.1e}", "≤ 1e-10", laws))
    return rows


def _unit(case: _Case) -> float:
    """S, or for a bare reward its median mean square when samples wear each other's solutions."""
    if case.scale is not None or case.truth is None:
        return case.scale or 1.0
    return max(float(mean_squares(case.reward, case.graft(case.truth, case.truth.roll(1, 0))).median()), 1e-300)


def _non_solutions(case: _Case) -> list[Row]:
    if case.truth is None:
        return [Row("non-solutions score worse", "NOT CHECKED", note="needs truth=")]
    x = case.truth
    unit = spread(x)
    board = (sum(torch.meshgrid(*(torch.arange(n) for n in x.shape[2:]), indexing="ij")) % 2) * 2.0 - 1
    noise = Noise(0).fold("verify")[range(len(x))].normal(x.shape[1:], x.dtype)
    table: dict[str, Field] = {
        "zero solution, true given": torch.zeros_like(x),
        "solution + constant": x + unit,
        "smoothed solution": _smoothed(x),
        "solution + 5 % checkerboard": x + 0.05 * unit * board,
        "solution + 5 % noise": x + 0.05 * unit * noise,
        "another sample's solution": x.roll(1, 0),
    }
    table |= {name: make(x) for name, make in case.impostors.items()}
    truth = mean_squares(case.reward, x)
    floor = round_trip_floor(case.reward, x, Scaling.fit(x))
    size = _unit(case)
    rows = []
    for name, fake in table.items():
        scores = mean_squares(case.reward, case.graft(x, fake))
        bar = torch.maximum(truth, torch.full_like(truth, floor))
        ok = bool((scores > 10 * bar).all())
        rows.append(
            Row(
                f"non-solution: {name}",
                "PASS" if ok else "FAIL",
                f"{float(scores.min()) / size:.1e}",
                f"> {10 * float(bar.max()) / size:.0e}",
                "" if ok else f"truth scores {float(truth.median()) / size:.1e}, this {float(scores.median()) / size:.1e}",
            )
        )
    return rows


def _smoothed(x: Field) -> Field:
    """Three-point average along every axis, edges repeated."""
    for dim in range(2, x.ndim):
        padded = torch.cat([x.narrow(dim, 0, 1), x, x.narrow(dim, -1, 1)], dim)
        n = x.shape[dim]
        x = (padded.narrow(dim, 0, n) + padded.narrow(dim, 1, n) + padded.narrow(dim, 2, n)) / 3
    return x


def _blind_spots(case: _Case) -> list[Row]:
    if case.truth is None or case.other is None or case.solver is None:
        return [Row("blind spots are caught by a metric", "NOT CHECKED", note="needs truth= and solver=")]
    given = [c for c in range(case.truth.shape[1]) if c not in case.solved]
    table: dict[str, Field] = {"everything zero": torch.zeros_like(case.truth), "everything halved": 0.5 * case.truth}
    if given:
        bent = case.truth.clone()
        bent[:, given] = bent[:, given] * (bent[:, given] / spread(bent)[:, given]).square() / 3
        table["given field cubed, solved again"] = case.solver(bent)
    table |= {name: make(len(case.truth)) for name, make in case.off_law.items()}
    unit = fidelity(case.other, case.truth, case.quantities)
    size = _unit(case)
    rows = []
    for name, state in table.items():
        figures = adherence(state, case.reward, scale=size, floor=0.0, solve=case.solver, solved=case.solved)
        caught = alarms(figures, fidelity(state, case.truth, case.quantities).over(unit))
        seen = figures.rho > 1e-2
        note = "seen by the residual itself" if seen else f"caught by {', '.join(caught)}" if caught else "nothing sees it"
        rows.append(Row(f"blind spot: {name}", "PASS" if seen or caught else "FAIL", f"{figures.rho:.1e}", "an alarm", note))
    return rows
