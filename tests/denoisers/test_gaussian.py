import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import flow, normal

from pirf.denoisers import GaussianDenoiser
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.problems import poisson
from pirf.samplers import Chain, Heun
from pirf.scaling import Scaling


def dense(covariance, mean, x, sigma):
    """m + Σ(Σ + σ²)⁻¹(x − m) by a linear solve, nothing diagonalised."""
    noisy = covariance + sigma**2 * torch.eye(len(covariance), dtype=torch.float64)
    return mean + torch.linalg.solve(noisy, covariance @ (x.flatten(1) - mean).T).T


@given(st.floats(1e-3, 1e2), st.integers(1, 6), st.integers(0, 1000))
def test_it_is_the_posterior_mean_of_the_law(sigma, rank, seed):
    factor, x = normal(6, rank, seed=seed), normal(3, 2, 3, seed=seed + 1)
    oracle = GaussianDenoiser.from_factor((2, 3), 0.4, factor)
    expected = dense(factor @ factor.T, 0.4, x, sigma).reshape(x.shape)
    assert_close(oracle(x, torch.tensor(sigma, dtype=torch.float64)), expected, unit=10.0 / min(sigma, 1.0))


def test_every_sample_may_have_its_own_level():
    oracle, x = GaussianDenoiser((3,), 0.1, torch.tensor([0.5, 1.0, 2.0])), normal(4, 3)
    sigma = torch.tensor([0.1, 1.0, 5.0, 0.1], dtype=torch.float64)
    for i in range(4):
        assert torch.equal(oracle(x, sigma)[i], oracle(x[i : i + 1], sigma[i])[0])


@given(st.floats(0.05, 20), st.integers(0, 100))
def test_tweedie(sigma, seed):
    """(D − x)/σ² is the score of the noisy law: the gradient of log N(x; m, Σ + σ²)."""
    factor = normal(4, 4, seed=seed)
    x = normal(2, 4, seed=seed + 1).requires_grad_()
    law = torch.distributions.MultivariateNormal(
        torch.full((4,), 0.2, dtype=torch.float64), factor @ factor.T + sigma**2 * torch.eye(4, dtype=torch.float64)
    )
    (score,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    x = x.detach()
    estimate = GaussianDenoiser.from_factor((4,), 0.2, factor)(x, torch.tensor(sigma, dtype=torch.float64))
    assert_close(estimate - x, sigma**2 * score, unit=float(x.abs().max()) * max(1.0, float(factor.norm() ** 2)))


def test_limits():
    oracle, x = GaussianDenoiser((3,), 0.3, 2.0), normal(2, 3)
    assert_close(oracle(x, torch.tensor(1e-12, dtype=torch.float64)), x)
    assert_close(oracle(x, torch.tensor(1e12, dtype=torch.float64)), 0.3, unit=1.0)


def test_directions_outside_a_thin_basis_have_no_variance():
    basis = torch.eye(3, 1, dtype=torch.float64)
    x = normal(2, 3)
    estimate = GaussianDenoiser((3,), 0.5, 4.0, basis)(x, torch.tensor(0.1, dtype=torch.float64))
    assert_close(estimate[:, 1:], 0.5)


def test_the_oracle_of_a_problem_samples_its_law():
    """Σ of the oracle is the covariance of the normalised fields; Heun with many steps reproduces the flow it defines."""
    problem = poisson(4)
    oracle = problem.oracle()
    columns = problem.scaling.normalise(
        torch.from_numpy(problem.law(torch.eye(16, dtype=torch.float64).reshape(16, 4, 4).numpy()))
    )
    centre = problem.scaling.normalise(torch.zeros(1, *problem.shape, dtype=torch.float64))
    factor = (columns - centre).flatten(1).T
    covariance = oracle.basis @ torch.diag(oracle.variances) @ oracle.basis.T
    assert_close(covariance, factor @ factor.T)
    assert_close(oracle.mean, centre.flatten())
    c = Chain(Heun(steps=4), oracle, Noise(0)[range(2)])
    reward = problem.reward(problem.scaling.physical(c.run(c.initial()).x))
    assert float(reward.min()) > -1e-20  # the law lives on solutions, and every step is affine in it


def test_flow_of_the_diagonal_law_is_a_semigroup():
    x, v = normal(2, 1, 3), torch.tensor([0.25, 1.0, 4.0], dtype=torch.float64)
    assert_close(flow(flow(x, 0.1, v, 4.0, 1.0), 0.1, v, 1.0, 0.2), flow(x, 0.1, v, 4.0, 0.2))


def test_impossible_laws_are_refused():
    with pytest.raises(InputError, match="got min variance -1"):
        GaussianDenoiser((3,), 0.0, -1.0)
    with pytest.raises(InputError, match=r"basis \(2, 1\)"):
        GaussianDenoiser((3,), 0.0, 1.0, torch.ones(2, 1))
    with pytest.raises(InputError, match=r"a scaling with 3 channel\(s\) is needed: got 1"):
        GaussianDenoiser((3,), scaling=Scaling.identity(1))
