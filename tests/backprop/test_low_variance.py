import pytest
import torch
from tolerances import assert_close, assert_moment
from toys import Affine, Quadratic, Tiny

from pirf.backprop import LastSteps, LowVariance
from pirf.noise import Noise
from pirf.samplers import Ancestral, Chain, Euler, Heun, Multistep

Y = 0.7


def coefficients(sigma, s=0.5):
    total = sigma**2 + s**2
    return s**2 / total, sigma * s / total**0.5


@pytest.mark.parametrize("count", [1, 3])
def test_the_gradient_is_the_formula_on_every_re_noised_copy(count):
    """c_out (D_j − y) per term, D_j = c_skip (x̄_N + σ ε_j) + c_out θ: nothing passes through x̄_N."""
    network, sampler, noise = Affine(theta=0.2), Heun(steps=4), Noise(5)[range(6)]
    loss = LowVariance(count).loss(Chain(sampler, network, Noise(0)), Quadratic(Y), noise)
    (gradient,) = torch.autograd.grad(loss.value, [network.theta])
    sigma = sampler.levels[3]
    skip, out = coefficients(sigma)
    chain = Chain(sampler, network, noise)
    x0 = chain.run(chain.initial()).x.detach()
    copies = [x0 + sigma * noise.fold("renoise", j).normal((1, 1), torch.float64) for j in range(count)]
    finals = torch.stack([x0, *(skip * copy + out * 0.2 for copy in copies)])
    assert_close(gradient, (out * (finals - Y)).mean())
    assert loss.evaluations == 2 * 4 - 1 + count
    assert loss.vjps == 1 + count


def test_the_expected_gradient_of_a_copy():
    """E g = c_out (y − c_skip x̄ − c_out θ) for the gradient of r."""
    network, noise = Affine(theta=0.2), Noise(5)[range(3000)]
    chain = Chain(Euler(steps=2), network, noise)
    x0 = torch.full((3000, 1, 1), 0.4, dtype=torch.float64)
    skip, out = coefficients(chain.levels[1])
    copies = chain.predict(chain.renoise(x0, 1, noise), 1)
    assert_moment((out * (Y - copies)).detach(), out * (Y - skip * 0.4 - out * 0.2))


@pytest.mark.parametrize("kind", [Euler, Heun, Multistep, Ancestral])
def test_copies_are_graded_beside_the_last_step_itself(kind):
    network, sampler, noise = Tiny(), kind(steps=3), Noise(5)[range(2)]
    chain = Chain(sampler, network, Noise(0))
    plain = LastSteps(1).loss(chain, Quadratic(Y), noise)
    loss = LowVariance(1).loss(chain, Quadratic(Y), noise)
    keyed = chain.keyed(noise)
    copy = keyed.predict(keyed.renoise(keyed.run(keyed.initial()).x.detach(), 2, noise.fold("renoise", 0)), 2)
    other = -Quadratic(Y)(copy).mean()
    assert_close(loss.value, 0.5 * (plain.value + other).detach())
    parameters = list(network.parameters())
    ours, one, two = (torch.autograd.grad(v, parameters) for v in (loss.value, plain.value, other))
    for a, b, c in zip(ours, one, two, strict=True):
        assert_close(a, 0.5 * (b + c))
    assert loss.score == plain.score  # of the final sample, not of copies
    assert len(loss.states) == 2


def test_no_copies_are_refused():
    with pytest.raises(ValueError, match="count"):
        LowVariance(0)
