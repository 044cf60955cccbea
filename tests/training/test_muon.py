import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from torch import nn
from toys import Constant, normal

from pirf.errors import InputError
from pirf.regularizers import WeightAnchor
from pirf.training.muon import Muon, polar


def singular_values(matrix):
    return torch.linalg.svdvals(matrix)


def one_step(weight, gradient, **options):
    """The change that one update makes."""
    parameter = nn.Parameter(weight.clone())
    parameter.grad = gradient
    Muon([parameter], **options).step()
    return parameter.detach() - weight


@given(seed=st.integers(0, 999), rows=st.integers(4, 20), columns=st.integers(4, 20))
def test_the_polar_factor_keeps_the_singular_vectors_and_levels_the_values(seed, rows, columns):
    left, _, right = torch.linalg.svd(normal(rows, columns, seed=seed), full_matrices=False)
    values = torch.logspace(0, -1.5, min(rows, columns), dtype=torch.float64)
    ours = polar(left * values @ right)
    middle = left.mT @ ours @ right.mT
    assert_close(middle, torch.diag(middle.diagonal()))
    assert float(middle.diagonal().min()) > 0.6
    assert float(middle.diagonal().max()) < 1.25


def test_the_polar_factor_turns_with_the_matrix_and_ignores_its_scale():
    matrix, rotation = normal(6, 9), torch.linalg.qr(normal(6, 6, seed=1))[0]
    assert_close(polar(rotation @ matrix), rotation @ polar(matrix))
    assert_close(polar(1e-6 * matrix), polar(matrix))
    assert_close(polar(matrix.mT), polar(matrix).mT)
    assert_close(polar(torch.stack([matrix, 2 * matrix]))[1], polar(matrix))


@pytest.mark.parametrize("shape", [(8, 5), (5, 8), (6, 4, 3, 3)])
def test_every_direction_of_a_matrix_moves_equally_far(shape):
    """lr·√max(1, rows/columns) along every singular vector, whatever the gradient's size."""
    weight, gradient = torch.zeros(shape, dtype=torch.float64), 1e-5 * normal(*shape)
    change = one_step(weight, gradient, lr=0.1, decay=0.0).flatten(1)
    gain = 0.1 * max(1.0, change.shape[0] / change.shape[1]) ** 0.5
    values = singular_values(change) / gain
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.25
    assert_close(change / gain, -polar(gradient.flatten(1)))


def test_all_other_parameters_take_adam():
    for shape in ((7,), (3, 20), (20, 3), (2, 4, 3, 3), ()):
        start = normal(*shape) if shape else normal(1)[0]
        ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
        muon, adam = Muon([ours], lr=0.1, others=0.5), torch.optim.Adam([theirs], lr=0.05)
        for seed in range(3):
            for parameter, optimizer in ((ours, muon), (theirs, adam)):
                parameter.grad = normal(*shape, seed=seed + 5) if shape else normal(1, seed=seed + 5)[0]
                optimizer.step()
        assert_close(ours.detach(), theirs.detach())


def test_it_finds_a_faint_direction_long_before_adam():
    """y = Wx, one direction of the input a twentieth of the others: what a smooth misfit is beside grid-scale noise."""
    spread = torch.ones(8, dtype=torch.float64)
    spread[-1] = 0.05
    axes = torch.linalg.qr(normal(8, 8, seed=4))[0]
    x, truth = normal(512, 8) * spread @ axes, normal(8, 8, seed=3)
    errors = {}
    for make in (lambda p: Muon(p, lr=0.1, decay=0.0, momentum=0.5), lambda p: torch.optim.Adam(p, lr=0.1)):
        weight = nn.Parameter(torch.zeros(8, 8, dtype=torch.float64))
        optimizer = make([weight])
        for step in range(200):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 * (1 - step / 200)
            optimizer.zero_grad()
            (x @ (weight - truth).T).square().mean().backward()
            optimizer.step()
        errors[type(optimizer).__name__] = float(((weight.detach() - truth) @ axes[-1]).norm() / (truth @ axes[-1]).norm())
    assert errors["Muon"] < 0.02
    assert errors["Adam"] > 0.5


def test_decay_bounds_the_gain_of_a_layer():
    """Under a constant gradient W tends to −polar/λ."""
    weight, gradient = nn.Parameter(torch.zeros(4, 6, dtype=torch.float64)), normal(4, 6)
    optimizer = Muon([weight], lr=0.5, decay=0.5)
    for _ in range(100):  # (1 − lr·λ)^100 ≈ 3e-13
        weight.grad = gradient
        optimizer.step()
    assert_close(weight.detach(), -polar(gradient) / 0.5)


def test_equal_shapes_in_one_product_are_the_same_as_one_by_one():
    starts, gradients = [normal(5, 6, seed=i) for i in range(3)], [normal(5, 6, seed=9 + i) for i in range(3)]
    together = [nn.Parameter(s.clone()) for s in starts]
    for parameter, gradient in zip(together, gradients, strict=True):
        parameter.grad = gradient
    Muon(together, lr=0.1).step()
    for parameter, start, gradient in zip(together, starts, gradients, strict=True):
        assert_close(parameter.detach() - start, one_step(start, gradient, lr=0.1))


def test_it_goes_on_from_its_state():
    def run(parameter, optimizer, seeds):
        for seed in seeds:
            parameter.grad = normal(*parameter.shape, seed=seed)
            optimizer.step()

    whole, first = (nn.Parameter(normal(5, 6)) for _ in range(2))
    run(whole, Muon([whole]), range(4))
    begun = Muon([first])
    run(first, begun, range(2))
    second = nn.Parameter(first.detach().clone())
    resumed = Muon([second])
    resumed.load_state_dict(copy.deepcopy(begun.state_dict()))
    run(second, resumed, range(2, 4))
    assert torch.equal(second, whole)


@pytest.mark.parametrize("shape", [(5, 6), (6,)])
def test_a_weak_gradient_does_not_leave_the_anchor_and_a_strong_one_does(shape):
    """The proximal threshold is λ times the step per unit of gradient: the anchor holds while ‖g‖ is well below λ."""
    base = _Net(shape)
    for size, held in ((0.2, True), (20.0, False)):
        tuned = copy.deepcopy(base)
        gradient = normal(*shape)
        tuned.weight.grad = size * gradient / gradient.norm()
        optimizer = Muon(tuned.parameters(), lr=0.1, decay=0.0)
        optimizer.step()
        WeightAnchor(1.0).after_step(tuned, base, optimizer)
        assert torch.equal(tuned.weight, base.weight) == held


class _Net(Constant):
    def __init__(self, shape):
        super().__init__()
        del self.theta
        self.weight = nn.Parameter(torch.zeros(shape, dtype=torch.float64))


def test_a_momentum_of_one_is_refused():
    with pytest.raises(InputError, match=r"a momentum in \[0, 1\) is needed: got 1.0"):
        Muon([nn.Parameter(normal(4, 4))], momentum=1.0)
