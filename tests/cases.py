"""Every problem of the catalogue on its smallest grid, and every reward that comes with it."""

from functools import lru_cache

import attrs

from pirf.errors import InputError
from pirf.problems import catalogue

NAMES = tuple(catalogue)


@lru_cache
def smallest(name):
    """The problem on the first grid of 8 points or more that it accepts."""
    for n in range(8, 65):
        try:
            return catalogue[name](n)
        except InputError:
            continue
    raise AssertionError(f"{name} accepts no grid up to 64")


@lru_cache
def truth(name, count):
    """Reference solutions there."""
    return smallest(name).sample(count, seed=11)


@lru_cache
def rewards(name):
    """What the problem is judged by, by name: its reward, every other form of it, the norm of the solution."""
    problem = smallest(name)
    found = {"reward": problem.reward}
    forms = getattr(attrs.fields_dict(type(problem.reward)).get("form"), "validator", None)
    for form in getattr(forms, "options", ()):
        found.setdefault("reward" if form == problem.reward.form else form, attrs.evolve(problem.reward, form=form))
    if problem.solution_norm is not None:
        found["solution norm"] = problem.solution_norm
    return found
