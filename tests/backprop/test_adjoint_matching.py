import attrs
import pytest
import torch
from gaussian import ALPHA, B, M, S, Slope, laws, optimum, setting
from tolerances import assert_close, assert_moment
from toys import Constant, Quadratic, Tiny

from pirf.backprop import AdjointMatching
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Ancestral, Chain, Heun
from pirf.schedules import EDM


@pytest.mark.parametrize("spread", [S, 0.0])
def test_the_estimator_is_the_formula(spread):
    """At the base, ∂L/∂θ_k = 2 (1 − τ'/τ) a_{k+1} with a_{k+1} = −(b/α) w_{k+1}, where the step has a variance."""
    chain, network = setting(6, spread)
    strategy = AdjointMatching(ALPHA)
    state = strategy.init(chain, Slope(), Noise(0))
    loss = strategy.loss(chain, Slope(), Noise(5)[range(3)], state)
    (gradient,) = torch.autograd.grad(loss.value, [network.shift])
    expected = [-2 * share * B / ALPHA * w * (v > 0) for v, w, share in laws(chain)]
    assert_close(gradient, torch.tensor(expected, dtype=torch.float64))
    assert loss.evaluations == 6 + 6 + 6 - (spread == 0)


def test_the_target_of_a_linear_reward_has_no_variance():
    """At the optimum the loss of every sample is zero, not only its mean."""
    chain, network = setting(8)
    strategy = AdjointMatching(ALPHA)
    state = strategy.init(chain, Slope(), Noise(0))
    before = float(strategy.loss(chain, Slope(), Noise(5)[range(4)], state).value.detach())
    with torch.no_grad():
        network.shift.copy_(optimum(chain))
    loss = strategy.loss(chain, Slope(), Noise(5)[range(4)], state)
    assert float(loss.value.detach()) < 1e-20 * before
    assert float(torch.autograd.grad(loss.value, [network.shift])[0].abs().max()) < 1e-10


@pytest.mark.parametrize("steps", [5, 20, 80])
def test_the_shift_of_the_sampled_mean_is_exact_for_any_number_of_steps(steps):
    """s² b/α · τ/(s² + τ) with τ = σ_0², and the variance stays s²."""
    chain, network = setting(steps)
    chain = chain.keyed(Noise(5)[range(2000)])
    plain = chain.run(chain.initial()).x.detach()
    with torch.no_grad():
        network.shift.copy_(optimum(chain))
    shifted = chain.run(chain.initial()).x.detach()
    top = chain.levels[0] ** 2
    assert_close(shifted - plain, torch.full_like(plain, S**2 * B / ALPHA * top / (S**2 + top)))
    # The chain starts at N(0, σ_0²), not N(m, σ_0² + s²): what is left of that is (s² / (s² + τ)) of it.
    assert_moment(plain, M, errors=5)
    assert_moment((plain - M) ** 2, S**2, errors=5)


def test_plug_in_kernels_shift_by_less():
    """(b/α) Σ v_k w²_{k+1} = .60 at N = 20, m = 0, s = α = b = 1, EDM levels: discretisation, not the estimator."""
    chain, network = setting(20, spread=0.0, s=1.0)
    with torch.no_grad():
        plain = chain.run(chain.initial()).x
        network.shift.copy_(optimum(chain, s=1.0, b=1.0, alpha=1.0))
        shift = float((chain.run(chain.initial()).x - plain).squeeze())
    assert_close(shift, sum(v * w**2 for v, w, _ in laws(chain, 1.0)))
    assert abs(shift - 0.60) < 0.005


def test_descent_finds_the_optimum():
    chain, network = setting(4)
    chain = attrs.evolve(chain, sampler=Ancestral(steps=4, spread=S, schedule=EDM(0.1, 5.0)))
    network.known = chain.levels[:-1]
    strategy = AdjointMatching(ALPHA)
    state = strategy.init(chain, Slope(), Noise(0))
    optimizer = torch.optim.LBFGS([network.shift], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = strategy.loss(chain, Slope(), Noise(5)[range(2)], state).value
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(closure)
    assert float((network.shift.detach() / optimum(chain) - 1).abs().max()) < 1e-4


def test_the_adjoint_runs_through_the_base_not_through_what_is_trained():
    chain = Chain(Ancestral(steps=3), Tiny(), Noise(0))
    strategy = AdjointMatching()
    state = strategy.init(chain, Quadratic(), Noise(0))
    assert not any(p.requires_grad for p in state.parameters())
    strategy.loss(chain, Quadratic(), Noise(5)[range(2)], state).value.backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in chain.denoiser.parameters())
    assert all(p.grad is None for p in state.parameters())


@pytest.mark.parametrize("sampler", [Heun(steps=4), Ancestral(steps=4, eta=0.5)])
def test_samplers_with_a_memory_are_refused(sampler):
    chain = Chain(sampler, Tiny(), Noise(0))
    with pytest.raises(InputError, match="AdjointMatching needs a memoryless stochastic sampler: got"):
        AdjointMatching().loss(chain, Quadratic(), Noise(0), Tiny())


def test_what_it_needs_is_said():
    chain = Chain(Ancestral(steps=3), Constant((1, 1)), Noise(0))
    with pytest.raises(InputError, match="AdjointMatching needs its base: got state=None"):
        AdjointMatching().loss(chain, Quadratic(), Noise(0))

    @attrs.frozen
    class Deaf(Reward):
        def __call__(self, x, condition=None):
            return Quadratic()(x.detach())

    with pytest.raises(InputError, match="AdjointMatching needs a differentiable reward: got a score without gradient"):
        AdjointMatching().loss(chain, Deaf(), Noise(0), Constant((1, 1)))
    with pytest.raises(ValueError, match="temperature"):
        AdjointMatching(0.0)
