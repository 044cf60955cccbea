from collections import Counter

import pytest
import torch
from tolerances import assert_moment
from toys import Affine, Quadratic, Tiny

from pirf.backprop import LastSteps, RandomSteps
from pirf.errors import InputError
from pirf.noise import Noise
from pirf.samplers import Chain, Euler, Heun


def draws(law, steps, count=3000):
    chain = Chain(Euler(steps=steps), Affine(), Noise(0))
    return [RandomSteps(law).draw(chain.keyed(Noise(3).fold("update", i)[range(2)])) for i in range(count)]


def test_uniform_counts():
    counts = Counter(draws("uniform", 6))
    assert set(counts) == {1, 2, 3, 4, 5}
    assert sum((n - 600) ** 2 / 600 for n in counts.values()) < 23.5  # χ² with 4 degrees, p < 1e-4


def test_normal_counts_leave_out_42_of_50():
    """Mean and mean square of min(max(50 − round(b), 1), 50), b ~ N(42, 5), summed over its values."""
    values = torch.arange(-10, 101, dtype=torch.float64)
    chances = torch.special.ndtr((values + 0.5 - 42) / 5) - torch.special.ndtr((values - 0.5 - 42) / 5)
    kept = (50 - values).clamp(1, 50)
    counts = torch.tensor(draws("normal", 50), dtype=torch.float64)
    assert_moment(counts, float((chances * kept).sum()))
    assert_moment(counts**2, float((chances * kept**2).sum()))
    assert min(draws("normal", 3)) == 1


def test_the_mean_leverage_over_all_counts():
    """.4955 at N = 20, the mean of the sensitivities of K = 1 … 19 with Heun."""
    total = 0.0
    for count in range(1, 20):
        network = Affine()
        x = LastSteps(count).rollout(Chain(Heun(steps=20), network, Noise(0))).x
        total += float(torch.autograd.grad(x.sum(), [network.theta])[0])
    assert abs(total / 19 - 0.4955) < 5e-5


@pytest.mark.parametrize("law", ["uniform", "normal"])
def test_an_update_is_that_of_its_count_and_of_no_sample(law):
    network, strategy = Tiny(), RandomSteps(law)
    chain = Chain(Heun(steps=5), network, Noise(0))
    for update in range(5):
        noise = Noise(3).fold("update", update)
        count = strategy.draw(chain.keyed(noise[[4]]))
        assert count == strategy.draw(chain.keyed(noise[range(7)]))
        ours, theirs = (s.loss(chain, Quadratic(), noise[range(2)]) for s in (strategy, LastSteps(count)))
        parameters = list(network.parameters())
        for a, b in zip(*(torch.autograd.grad(loss.value, parameters) for loss in (ours, theirs)), strict=True):
            assert torch.equal(a, b)


def test_a_single_step_leaves_nothing_to_draw():
    with pytest.raises(InputError, match="two steps or more is needed: got steps=1"):
        RandomSteps().loss(Chain(Euler(steps=1), Tiny(), Noise(0)), Quadratic(), Noise(0))
    with pytest.raises(ValueError, match="law"):
        RandomSteps("gamma")
