import pytest
import torch
from tolerances import assert_close

from pirf.errors import InputError, NumericalError
from pirf.noise import Noise
from pirf.operators import conjugate_gradients as module
from pirf.operators.conjugate_gradients import conjugate_gradients

RIGHT = Noise(0)[range(3)].normal((1, 4, 5), torch.float64)


def solve(diagonal, f=RIGHT, precondition=lambda r: r):
    return conjugate_gradients(lambda u: diagonal * u, f, precondition=precondition, coefficient=diagonal)


def test_it_takes_as_many_steps_as_there_are_eigenvalues(monkeypatch):
    """Three distinct ones: three steps, and a test that they were enough."""
    diagonal = torch.tensor([1.0, 5.0, 40.0, 5.0, 1.0], dtype=torch.float64)
    monkeypatch.setattr(module, "_ITERATIONS", 4)
    assert_close(solve(diagonal), RIGHT / diagonal)
    monkeypatch.setattr(module, "_ITERATIONS", 3)
    with pytest.raises(NumericalError, match="did not converge in 3 iterations: coefficients from 1 to 40; raise"):
        solve(diagonal)


def test_an_exact_preconditioner_takes_one_step(monkeypatch):
    diagonal = 10.0 ** torch.arange(5, dtype=torch.float64)
    monkeypatch.setattr(module, "_ITERATIONS", 2)
    assert_close(solve(diagonal, precondition=lambda r: r / diagonal), RIGHT / diagonal)


def test_samples_stop_by_themselves():
    """Beside a hard one, an easy one and zero are solved as if alone, to the last bit."""
    diagonal = torch.stack([torch.ones(20), torch.linspace(1, 1e4, 20), torch.ones(20)]).double().reshape(3, 1, 4, 5)
    f = RIGHT * torch.tensor([1.0, 1.0, 0.0]).reshape(3, 1, 1, 1)
    together = solve(diagonal, f)
    for i in range(3):
        assert torch.equal(together[i : i + 1], solve(diagonal[i : i + 1], f[i : i + 1]))
    assert not bool(together[2].any())


def test_nan_stays_in_its_sample():
    f = RIGHT.clone()
    f[0, 0, 0, 0] = float("nan")
    out = solve(torch.full((5,), 2.0, dtype=torch.float64), f)
    assert bool(out[0].isnan().any())
    assert_close(out[1:], RIGHT[1:] / 2)


def test_fewer_digits_are_refused():
    with pytest.raises(InputError, match=r"float32 or float64: got torch\.bfloat16"):
        solve(torch.ones(5, dtype=torch.bfloat16), RIGHT.bfloat16())
