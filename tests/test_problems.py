import pickle

import attrs
import pytest
import torch
from tolerances import assert_close, assert_moment, orders

from pirf import reference
from pirf.errors import InputError
from pirf.metrics import mean_squares
from pirf.problems import catalogue, darcy, darcy_lognormal, helmholtz, kolmogorov, poisson


def test_sample_i_depends_on_seed_and_index_alone():
    problem = poisson(8)
    whole = problem.sample(10, seed=3)
    assert torch.equal(problem.sample(4, seed=3, start=5), whole[5:9])
    assert not torch.equal(problem.sample(10, seed=4), whole)
    assert whole.dtype == torch.float64
    assert problem.shape == tuple(whole.shape[1:])


def test_its_fields_are_the_reference_solutions():
    problem = poisson(8)
    fields = problem.sample(3, seed=1)
    a = reference.random_fields.neumann_field(8, range(3), seed=1)
    assert torch.equal(fields[:, 0], torch.from_numpy(a))
    assert torch.equal(fields[:, 1], torch.from_numpy(reference.poisson.solve(a)))
    assert torch.equal(problem.solve(fields), fields)
    assert float(mean_squares(problem.reward, fields).max()) < 1e-20


def test_the_law_is_linear():
    problem = poisson(6)
    white = problem.white(range(2), 0)
    both = torch.from_numpy(problem.law(2.0 * white[:1] - 3.0 * white[1:]))
    assert_close(both, 2.0 * torch.from_numpy(problem.law(white[:1])) - 3.0 * torch.from_numpy(problem.law(white[1:])))


def test_units():
    """S is the mean square of a, the solution norm is in units of std(u), and normalised fields have deviation ½."""
    problem = poisson(16)
    fields = problem.sample(300, seed=11)
    assert_moment(fields[:, 0].square().mean((1, 2)), problem.scale)
    x = problem.scaling.normalise(fields).transpose(0, 1).flatten(1)
    assert bool(((x.std(1) / 0.5 - 1).abs() < 0.1).all())
    zero = fields.clone()
    zero[:, 1] = 0
    assert 0.8 < float(mean_squares(problem.solution_norm, zero).mean()) < 1.2
    assert 0.8 < float(mean_squares(problem.reward, zero).mean()) / problem.scale < 1.2


def test_the_manufactured_solution_converges_with_order_two():
    errors = []
    for n in (16, 32, 64):
        problem = poisson(8).refine(n)
        exact = problem.manufactured(problem.grid)
        errors.append(float((problem.solve(exact) - exact)[:, 1].square().mean().sqrt()))
    assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


@pytest.mark.parametrize("make", [poisson, helmholtz, darcy, darcy_lognormal])
def test_impostors_score_worse_and_other_laws_do_not(make):
    problem = make(16)
    fields = problem.sample(8)
    floor = float(mean_squares(problem.reward, fields).max())
    for impostor in problem.impostors.values():
        assert float(mean_squares(problem.reward, impostor(fields)).min()) > 1e6 * floor
        assert float(mean_squares(problem.solution_norm, impostor(fields)).min()) > 1e-6
    for other in problem.off_law.values():
        assert float(mean_squares(problem.reward, other(8)).max()) < 1e-20


def test_given_and_solved_channels_are_all():
    problem = poisson(8)
    assert sorted((*problem.given, *problem.solved)) == [0, 1]
    assert problem.channels == ("a", "u")


def test_a_problem_is_its_call():
    assert poisson(8) is poisson(8)
    assert repr(poisson(8)) == "pirf.problems.poisson(n=8)"
    assert poisson(8).refine(8) is poisson(8)


@pytest.mark.parametrize("bad", [(0, 0), (-2, 0), (3, -1)])
def test_impossible_samples_are_refused(bad):
    with pytest.raises(InputError, match=f"got count={bad[0]}, start={bad[1]}"):
        poisson(8).sample(bad[0], start=bad[1])


def test_a_grid_without_an_inside_is_refused():
    with pytest.raises(InputError, match="at least 4×4 cells: got 3"):
        poisson(3)


def test_only_a_gaussian_law_has_an_oracle():
    with pytest.raises(InputError, match="Gaussian laws only: got"):
        attrs.evolve(poisson(8), gaussian=False).oracle()


def test_a_graft_takes_what_is_solved_for():
    problem = poisson(8)
    ours, theirs = problem.sample(2, seed=0), problem.sample(2, seed=1)
    mixed = problem.graft(ours, theirs)
    assert torch.equal(mixed[:, 0], ours[:, 0])
    assert torch.equal(mixed[:, 1], theirs[:, 1])
    frames = attrs.evolve(problem, solved=(0, 1), evolution=True).graft(ours, theirs)
    assert torch.equal(frames[:, :, 0], ours[:, :, 0])
    assert torch.equal(frames[:, :, 1:], theirs[:, :, 1:])


@pytest.mark.parametrize("make", [*catalogue.values(), lambda n: helmholtz(n, 2.0), lambda n: kolmogorov(n, 70.0, "map")])
def test_a_problem_travels_as_its_call(make):
    problem = make(24)
    assert pickle.loads(pickle.dumps(problem)) is problem


def test_a_problem_of_ones_own_does_not_travel():
    problem = poisson(8)
    with pytest.raises(InputError, match="only a problem of the catalogue can go to another process: got"):
        pickle.dumps(attrs.evolve(problem, scale=2.0))
