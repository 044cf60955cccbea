"""``pirf verify``: the certificate of a reward."""

from __future__ import annotations

from typing import Annotated

import typer

from pirf.cli.choices import AsJson, Size, problem_of, say
from pirf.cli.own_files import made_for, named_in
from pirf.errors import InputError
from pirf.problems import Problem, catalogue
from pirf.rewards import ResidualReward
from pirf.verify import Certificate
from pirf.verify import verify as certify

__all__ = ["verify"]


def verify(
    name: Annotated[
        str, typer.Argument(help=f"one of: {', '.join(catalogue)}; or your own, file.py:name", metavar="PROBLEM|FILE.PY:NAME")
    ],
    n: Size = 32,
    published: Annotated[
        str | None, typer.Option(help="judge a published residual instead: pirf, diffusionpde, pidm", metavar="METHOD")
    ] = None,
    released: Annotated[bool, typer.Option("--released", help="the same as --published pirf")] = False,
    as_json: AsJson = False,
) -> None:
    """Certify a reward: order, adjoint, sensitivity, floor, ways to cheat.

    The reward is that of a problem, or a class, reward, problem or function of n in a file of yours; there truth(n), solve and
    exact(n) are the evidence. Exit code 0 PASS, 1 FAIL, 3 PARTIAL.
    """
    method = "pirf" if released else published
    certificate = _own(name, n) if ":" in name and method is None else _known(name, n, method)
    say(str(certificate), certificate.as_dict(), as_json)
    raise typer.Exit(certificate.exit_code)


def _known(name: str, n: int, method: str | None) -> Certificate:
    problem = problem_of(name, n)
    if method is not None and method not in problem.published:
        raise InputError(
            f"one of the published residuals of {problem.name} is needed",
            got=repr(method),
            why="no other is reproduced for it",
            hint=" or ".join(problem.published) or "leaving --published out",
        )
    return certify(problem, reward=None if method is None else problem.published[method])


def _own(place: str, n: int) -> Certificate:
    """The certificate of ``file.py:name``; ``truth``, ``solve`` and ``exact`` in the same file are the evidence."""
    found, module = named_in(place)
    name = place.rpartition(":")[2]
    subject = made_for(name, found, n)
    if isinstance(subject, Problem):
        return certify(subject)
    if not isinstance(subject, ResidualReward):
        raise InputError(
            "a reward with a residual, a problem or a function of n that makes one is needed",
            got=f"{name} = {type(subject).__name__}",
            why="only a residual can be certified",
            hint="a subclass of pirf.PDEReward",
        )
    truth = module.get("truth")
    return certify(subject, truth=truth(n) if callable(truth) else truth, solver=module.get("solve"), exact=module.get("exact"))
