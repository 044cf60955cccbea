import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import Affine, Tiny, normal


@given(st.floats(1e-3, 1e2), st.floats(-3, 3))
def test_the_preconditioning_is_the_formula(sigma, theta):
    x, s = normal(2, 1, 3), 0.5
    estimate = Affine((1, 3), theta)(x, torch.tensor(sigma, dtype=torch.float64)).detach()
    expected = s**2 / (sigma**2 + s**2) * x + sigma * s / math.sqrt(sigma**2 + s**2) * theta
    assert_close(estimate, expected, unit=max(1.0, abs(theta)) * float(x.abs().max()))


def test_limits():
    """σ → 0: D → x, whatever the network; σ → ∞: D → s θ, whatever the state."""
    x = normal(2, 1, 3)
    denoiser = Affine((1, 3), 1.7)
    assert_close(denoiser(x, torch.tensor(1e-12, dtype=torch.float64)), x)
    assert_close(denoiser(x, torch.tensor(1e12, dtype=torch.float64)), 0.5 * 1.7)


def test_the_networks_input_and_target_have_unit_variance():
    """c_in² (σ² + s²) = 1, and (x0 − c_skip x)/c_out has variance 1 when x0 ~ N(0, s²)."""
    for sigma in (0.01, 0.5, 3.0, 80.0):
        s, total = 0.5, sigma**2 + 0.25
        seen = []

        class Spy(Affine):
            def encode(self, x, c_noise, condition, last, seen=seen):
                seen.append((x, c_noise))
                return super().encode(x, c_noise, condition, last)

        x = normal(1, 1, 4)
        Spy((1, 4))(x, torch.tensor(sigma, dtype=torch.float64))
        assert_close(seen[0][0], x / math.sqrt(total))
        assert_close(seen[0][1], math.log(sigma) / 4)
        c_skip, c_out = s**2 / total, sigma * s / math.sqrt(total)
        assert_close(((1 - c_skip) ** 2 * s**2 + c_skip**2 * sigma**2) / c_out**2, 1.0)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_head_after_trunk_is_forward_bit_for_bit(last):
    network, x = Tiny(), normal(3, 2, 8, 8)
    for sigma in (torch.tensor(0.3, dtype=torch.float64), torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)):
        assert torch.equal(network.head(x, sigma, network.trunk(x, sigma, None, last), last), network(x, sigma))


def test_a_level_per_sample_is_the_level_of_each():
    network, x = Tiny(), normal(3, 2, 8, 8)
    sigma = torch.tensor([0.1, 1.0, 9.0], dtype=torch.float64)
    alone = torch.cat([network(x[i : i + 1], sigma[i]) for i in range(3)])
    assert_close(network(x, sigma), alone)
