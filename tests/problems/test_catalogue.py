"""The evidence that every problem owes, whoever adds it: its rewards' adjoints, and that every channel is felt."""

import pytest
import torch
from cases import NAMES, rewards, smallest, truth
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE

from pirf.noise import Noise
from pirf.rewards import Helmholtz, Poisson
from pirf.rewards.jacobian import directional, sensitivity, spread

BATCH, EXAMPLES = 125, 8  # a thousand cases for each reward
powers = st.integers(-6, 6)
cases = st.lists(st.tuples(st.integers(-6, -1), powers, powers), min_size=BATCH, max_size=BATCH)


@pytest.mark.parametrize(("name", "what"), [(name, what) for name in NAMES for what in rewards(name)])
@settings(max_examples=EXAMPLES)
@given(cases, st.integers(0, 2**32))
def test_adjoint(name, what, magnitudes, seed):
    """|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| ≤ tol(‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖) at x = truth + noise, 1e-10 in float64: each sample is a case."""
    for dtype in TOLERANCE:
        check_adjoint(rewards(name)[what], truth(name, BATCH).to(dtype), magnitudes, seed)


def check_adjoint(reward, exact, magnitudes, seed):
    noise = Noise(seed)[range(BATCH)]  # samples do not couple, so that one batch is that many cases
    near, left, right = (10.0 ** torch.tensor(magnitudes, dtype=exact.dtype)).T
    x, v = (exact * keep + sized(s, noise.fold(k), exact) for keep, s, k in ((1, near, "x"), (0, left, "v")))
    jv, leaf = directional(reward, x, v), x.clone().requires_grad_()
    w = sized(right, noise.fold("w"), jv)
    (jtw,) = torch.autograd.grad(reward.residuals(leaf), leaf, w)
    jv, jtw, v, w = (y.double().flatten(1) for y in (jv, jtw, v, w))
    size = jv.norm(dim=1) * w.norm(dim=1) + v.norm(dim=1) * jtw.norm(dim=1)
    assert float((((jv * w).sum(1) - (v * jtw).sum(1)).abs() / size).max()) <= TOLERANCE[exact.dtype]


def sized(sizes, noise, like):
    """Normal numbers in units of each channel of ``like``, times a size per sample."""
    return sizes.reshape(-1, *[1] * (like.ndim - 1)) * spread(like) * noise.normal(like.shape[1:], like.dtype)


@pytest.mark.parametrize("name", NAMES)
def test_scores_and_gradients_stand_where_the_fields_do(name):
    """On a device without data: a constant left on the CPU could not meet them."""
    for what, reward in rewards(name).items():
        if what != "solution norm" or isinstance(reward, (Poisson, Helmholtz)):  # an iteration looks at its data
            x = torch.empty(2, *smallest(name).shape, device="meta", requires_grad=True)
            scores = reward(x)
            assert torch.autograd.grad(scores.sum(), x)[0].device == scores.device == x.device


def unfelt(reward, x):
    """Channels whose jumps change the residual while its derivative along them is 0."""
    jumps = [sensitivity(reward, x, channel) for channel in range(x.shape[1])]
    assert all(change > 0 for change, _ in jumps)
    return [channel for channel, (change, slope) in enumerate(jumps) if slope <= 1e-9 * change]


@pytest.mark.parametrize("name", NAMES)
def test_every_channel_is_felt(name):
    """Autograd agrees with itself even through a hard threshold, so that the adjoint proves nothing about that."""
    for reward in rewards(name).values():
        assert unfelt(reward, truth(name, 4)) == []


@pytest.mark.parametrize(("name", "whose"), [(name, whose) for name in NAMES for whose in smallest(name).published])
def test_of_pirfs_published_residuals_the_two_phase_darcy_alone_does_not_feel_a_channel(name, whose):
    blind = unfelt(smallest(name).published[whose], truth(name, 4))
    assert blind == ([0] if (name, whose) == ("darcy", "pirf") else [])
