import attrs
import pytest
import torch
from tolerances import assert_close
from toys import normal

from pirf.errors import InputError
from pirf.rewards import ConditionalPDEReward, PDEReward


@attrs.frozen
class Identity(PDEReward):
    def residual(self, x):
        return 2 * x


@attrs.frozen
class Stiffness(ConditionalPDEReward):
    def residual(self, x, condition):
        return condition["k"].reshape(-1, 1, 1) * x


def test_the_score_is_minus_the_mean_square_per_sample():
    x = torch.tensor([[[1.0, 2.0]], [[0.0, 3.0]]], dtype=torch.float64)
    assert torch.equal(Identity()(x), torch.tensor([-10.0, -18.0], dtype=torch.float64))
    assert torch.equal(Identity().residuals(x), 2 * x)


def test_a_parameter_of_the_equation_arrives_with_the_condition():
    x = normal(3, 1, 4)
    k = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    expected = -(k**2) * x.square().mean((1, 2))
    assert_close(Stiffness()(x, {"k": k}), expected)


def test_a_missing_condition_is_refused():
    with pytest.raises(InputError, match="Stiffness needs a condition: got none"):
        Stiffness()(normal(1, 1, 4))
