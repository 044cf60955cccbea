import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Function, Quadratic, Tiny

from pirf.backprop import Full, LastSteps
from pirf.backprop.base import score
from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.rewards import Reward
from pirf.samplers import Chain, Euler
from pirf.scaling import Scaling


@attrs.frozen
class Spoiled(Reward):
    """Not a number for one sample of the batch."""

    def __call__(self, x, condition=None):
        scores = Quadratic()(x)
        return torch.where(torch.arange(len(scores)) == 1, float("nan") * scores, scores)


@attrs.frozen
class Deaf(Reward):
    def __call__(self, x, condition=None):
        return Quadratic()(x.detach())


def test_the_loss_is_minus_the_mean_score_of_physical_fields():
    scaling = Scaling((1.0, -2.0), (3.0, 0.5))
    network = Tiny(scaling=scaling)
    chain = Chain(Euler(steps=3), network, Noise(0))
    loss = Full().loss(chain, Quadratic(0.3), Noise(5)[range(4)])
    keyed = chain.keyed(Noise(5)[range(4)])
    fields = scaling.physical(keyed.run(keyed.initial()).x)
    assert_close(loss.value, -Quadratic(0.3)(fields).mean())
    assert chain.tally.evaluations == 3 + 3  # the loss and the check share the chain's tally


def test_the_loss_of_a_batch_is_the_mean_of_its_parts():
    chain = Chain(Euler(steps=3), Tiny(), Noise(0))
    losses = [LastSteps(1).loss(chain, Quadratic(), Noise(5)[part]).value for part in ([0, 1, 2, 3], [0, 1], [2, 3])]
    assert_close(losses[0], (losses[1] + losses[2]) / 2)


def test_a_score_that_is_not_a_number_is_named():
    with pytest.raises(NumericalError, match=r"Spoiled\(\) gave nan: the fields are finite, their score is not"):
        Full().loss(Chain(Euler(steps=2), Tiny(), Noise(0)), Spoiled(), Noise(0)[range(2)])
    x = torch.zeros(2, 3, 4)
    x[0, 1, 2] = float("inf")
    with pytest.raises(NumericalError, match=r"channel\(s\) \[1\] of the sample are not finite; weights untouched"):
        score(Quadratic(), x, None)


@pytest.mark.parametrize("reward", [Deaf(), Quadratic()])
def test_a_score_without_gradient_is_refused(reward):
    network = Tiny() if isinstance(reward, Deaf) else Function(lambda x, sigma, condition: 0.5 * x)
    with pytest.raises(InputError, match="a differentiable reward and trainable steps: got a score without gradient"):
        Full().loss(Chain(Euler(steps=2), network, Noise(0)), reward, Noise(0))
