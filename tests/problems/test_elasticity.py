import math

import numpy as np
import pytest
import torch
from tolerances import assert_close, orders

import pirf
from pirf import reference
from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.metrics import mean_squares
from pirf.operators import stress_divergence
from pirf.problems import catalogue, elasticity

C = reference.elasticity.plane_strain(0.3)


def test_the_certificate_passes():
    certificate = pirf.verify(elasticity(16))
    assert certificate.passed, str(certificate)
    names = {row.name for row in certificate.rows}
    assert {"order, interior rows", "order, solution", "sensitivity, channel 2"} <= names
    assert {"non-solution: solution in plane stress", "non-solution: components exchanged"} <= names
    assert sum(name.startswith("blind spot") for name in names) == 7


def test_sample_i_depends_on_seed_and_index_alone():
    problem = elasticity(8)
    whole = problem.sample(10, seed=3)
    assert torch.equal(problem.sample(4, seed=3, start=5), whole[5:9])
    assert not torch.equal(problem.sample(10, seed=4), whole)
    assert whole.dtype == torch.float64
    assert problem.shape == tuple(whole.shape[1:]) == (3, 8, 8)


def test_its_fields_are_the_reference_solutions():
    fields = elasticity(8).sample(3, seed=1)
    e = reference.elasticity.modulus(reference.random_fields.white((15, 15), range(3), 1), 8)
    u = reference.elasticity.solve(e, np.array([1.0, 0.0, 1.0]))
    assert torch.equal(fields, torch.from_numpy(np.concatenate([e[:, None], u], 1)))


def test_units():
    """The solution norm is in units of the data's displacement, and normalised fields have deviation ½."""
    for problem in (elasticity(16), elasticity(16, (0.0, 2.0, 0.0))):
        fields = problem.sample(96, seed=11)
        assert 0.9 < float(fields[:, 1:].std()) / problem.solution_norm.scale < 1.1
    x = elasticity(16).scaling.normalise(elasticity(16).sample(96, seed=11)).transpose(0, 1).flatten(1)
    assert bool(((x.std(1) / 0.5 - 1).abs() < 0.1).all())


def test_the_scale_is_what_no_displacement_scores_in_the_limit_of_fine_grids():
    """E Σ|r|² for u = 0 from the covariance of E on each grid, wave by wave; its distance from S is of order two."""
    problem = elasticity(16)
    weights = reference.elasticity.spectrum() ** 2
    gaps = []
    for n in (32, 64, 128):
        wave = np.cos(2 * np.pi * np.outer((np.arange(15) + 1) // 2, np.arange(n) / n))  # a cosine and a sine: 2 of ½
        covariance = torch.from_numpy(np.exp(0.25 + wave.T @ weights @ wave))  # of e^G
        delta = torch.zeros(1, 1, n, n, dtype=torch.float64)
        delta[..., 0, 0] = 1.0
        still = torch.zeros(1, 2, n, n, dtype=torch.float64)
        response = torch.fft.fft2(stress_divergence(delta, still, elasticity(n).grid, 0.3, (1.0, 0.0, 1.0)))
        expected = (torch.fft.fft2(covariance) * response.abs().square()).real.sum() / (2 * n**2)
        gaps.append(1 - float(expected) / problem.scale)
    assert all(abs(order - 2) < 0.1 for order in orders(gaps)), gaps
    assert elasticity(32).scale == problem.scale


def test_solving_keeps_the_modulus_and_reads_it_as_the_reward_does():
    problem = elasticity(8)
    fields = problem.sample(3)
    assert torch.equal(problem.solve(fields), fields)
    low = fields.clone()
    low[:, 0, 3, 3] = -1.0  # a model may say so
    solved = problem.solve(low)
    assert torch.equal(solved[:, 0], low[:, 0])
    assert float(mean_squares(problem.reward, solved).max()) < 1e-15


def test_impostors_score_worse_and_other_laws_do_not():
    problem = elasticity(16)
    fields = problem.sample(8)
    floor = float(mean_squares(problem.reward, fields).max())
    for impostor in problem.impostors.values():
        assert float(mean_squares(problem.reward, impostor(fields)).min()) > 1e6 * floor
        assert float(mean_squares(problem.solution_norm, impostor(fields)).min()) > 1e-6
    for other in problem.off_law.values():
        assert float(mean_squares(problem.reward, other(8)).max()) < 1e-20


def test_the_oblique_laminate_is_a_solution():
    """The reference solver on its modulus converges to it with order two, on a rectangle of elements too."""
    strain = (0.3, -1.0, 0.8)
    problem = elasticity(8, strain)
    for stretch in (1, 2):
        errors = []
        for n in (16, 32, 64):
            exact = problem.manufactured(Grid((Axis(n, 1.0, "periodic"), Axis(stretch * n, 1.0, "periodic"))))
            u = reference.elasticity.solve(exact[:, 0].numpy(), np.array(strain))
            errors.append(float((torch.from_numpy(u) - exact[:, 1:]).square().mean().sqrt()))
        assert all(abs(order - 2) < 0.1 for order in orders(errors)), orders(errors)


def test_balances_hold_for_solutions_and_not_for_others():
    problem = elasticity(16, (0.7, -0.2, 1.0))
    fields = problem.sample(6)
    noisy = fields.clone()
    noisy[:, 1:] += 0.1 * fields[:, 1:].roll(1, 0)
    for law in problem.balances.values():
        assert tuple(law(fields).shape) == (6,)
        assert float(law(fields).max()) < 1e-10
        assert float(law(problem.solve(2.0 * fields)).max()) < 1e-10
        assert float(law(noisy).min()) > 1e-4


def test_no_displacement_satisfies_hill_and_mandel_but_not_the_sections():
    """The first law is the work of the residual's forces, and they do none on u = 0."""
    problem = elasticity(16)
    still = problem.sample(6) * torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)
    assert not bool(problem.balances["Hill–Mandel"](still).any())
    assert float(problem.balances["force through sections"](still).min()) > 0.01


def test_hill_and_mandel_is_the_work_of_the_residual():
    """⟨σ:ε⟩ − ⟨σ⟩:ε̄ = ⟨u·r⟩ for displacements of mean zero."""
    problem = elasticity(8)
    fields = problem.sample(4).roll(1, 0)
    fields[:, 0] = problem.sample(4)[:, 0]
    work = (fields[:, 1:] * problem.reward.residual(fields)).sum(1).mean((1, 2)).abs()
    strain = np.array([1.0, 0.0, 1.0])
    energy = fields[:, 0].mean((1, 2)) * float(strain @ C @ strain)
    assert_close(problem.balances["Hill–Mandel"](fields), work / energy)


def test_the_effective_modulus_lies_between_reuss_and_voigt():
    problem = elasticity(16)
    fields = problem.sample(16)
    effective = problem.quantities["effective modulus"](fields)
    e = fields[:, 0]
    assert bool((effective > 1 / (1 / e).mean((1, 2))).all())
    assert bool((effective < problem.quantities["mean modulus"](fields)).all())
    assert_close(problem.quantities["mean modulus"](fields), e.mean((1, 2)))
    still = problem.off_law["one modulus everywhere, no displacement"](2)
    assert_close(problem.quantities["effective modulus"](still), 1.0)


def test_the_effective_modulus_does_not_depend_on_the_grid():
    coarse, fine = (elasticity(n).quantities["effective modulus"](elasticity(n).sample(4)) for n in (32, 64))
    assert float((coarse / fine - 1).abs().max()) < 2e-3


def test_names_and_calls():
    assert catalogue["elasticity"](8) is elasticity(8) is elasticity(8).refine(8)
    assert repr(elasticity(8)) == "pirf.problems.elasticity(n=8, strain=(1.0, 0.0, 1.0))"
    other = elasticity(8, [0, 1, 0])
    assert other is elasticity(8, (0.0, 1.0, 0.0))
    assert other.refine(16).parameters == {"strain": (0.0, 1.0, 0.0)}
    assert other.channels == ("E", "u_x", "u_y")
    assert math.isclose(other.scale / elasticity(8, (0, 2, 0)).scale, 0.25)


def test_impossible_calls_are_refused():
    with pytest.raises(InputError, match="at least 4×4 elements: got 3"):
        elasticity(3)
    for strain in ((0.0, 0.0, 0.0), (1.0, 0.0)):
        with pytest.raises(InputError, match="a mean strain has three finite parts"):
            elasticity(8, strain)
