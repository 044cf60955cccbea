"""What PIDM and PBFM share: residuals in physical units and full precision, and Euler steps to levels of one's own."""

import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Constant, Tiny, normal

from pirf.denoisers import Coloured
from pirf.denoisers.coloured import Matern
from pirf.noise import Noise
from pirf.rewards import PDEReward
from pirf.samplers import Chain, Euler, State
from pirf.scaling import Scaling
from pirf.schedules import Levels
from pirf.training.matching import Noised
from pirf.training.residuals import bare, coloured, lowered, rows_of


@attrs.frozen
class Square(PDEReward):
    def residual(self, x):
        return x**2


@pytest.mark.parametrize(("given", "kept"), [("bfloat16", "float32"), ("float32", "float32"), ("float64", "float64")])
def test_a_residual_is_never_computed_in_less_than_float32(given, kept):
    given, kept = getattr(torch, given), getattr(torch, kept)
    model, x = Constant((2, 4, 4), scaling=Scaling((0.3, 0.1), (1.5, 0.7))), normal(3, 2, 4, 4).to(given)
    rows = rows_of(model, Square(), x, None)
    assert rows.dtype == kept
    assert torch.equal(rows, (model.scaling.physical(x.to(kept)) ** 2).flatten(1))


def test_a_step_down_is_eulers():
    """For samples that share their levels it is the chain's."""
    model, x = Constant((1, 4), theta=0.3), normal(2, 1, 4)
    chain = Chain(Euler(2, Levels((3.0, 0.7, 0.0))), model, Noise(0)[range(2)])
    seen = Noised(x, x, torch.full((2,), 3.0, dtype=torch.float64), Noise(0)[range(2)])
    found = lowered(seen, chain.predict(x, 0), torch.full((2,), 0.7, dtype=torch.float64), "down")
    assert_close(found.noisy, chain.run(State(x), 0, 1).x)
    assert torch.equal(found.clean, x)
    assert found.noise.path != seen.noise.path


def test_a_step_to_the_same_level_goes_nowhere():
    x, sigma = normal(2, 1, 4), torch.tensor([0.1, 3.0], dtype=torch.float64)
    found = lowered(Noised(x, x, sigma, Noise(0)[range(2)]), normal(2, 1, 4, seed=1), sigma, 1)
    assert_close(found.noisy, x)


def test_a_colour_is_taken_off_and_put_back():
    network = Tiny()
    assert bare(network) == (network, None)
    assert coloured(network, None) is network
    whole = Coloured(network, Matern(0.2))
    inner, colour = bare(whole)
    assert inner is network
    inner.history = [{"step": 1.0}]
    again = coloured(inner, colour)
    assert again.colour == whole.colour
    assert again.scaling == whole.scaling
    assert again.history == inner.history
