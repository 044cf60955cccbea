import torch
from tolerances import assert_close
from toys import Constant, Tiny, normal, perturb

from pirf.denoisers import Handover
from pirf.regularizers import Distillation

STATES = ((2.0, normal(3, 2, 8, 8)), (0.1, normal(3, 2, 8, 8, seed=1)))


def test_it_is_exactly_zero_at_the_base():
    assert float(Distillation(3.0).penalty(Tiny(), Tiny(), STATES).detach()) == 0


def test_it_is_the_mean_square_distance_of_the_estimates():
    base, tuned = Tiny(), perturb(Tiny())
    distances = []
    for level, x in STATES:
        sigma = torch.tensor(level, dtype=torch.float64)
        distances.append((tuned(x, sigma) - base(x, sigma)).square().mean())
    assert_close(Distillation(3.0).penalty(tuned, base, STATES), 3.0 * (distances[0] + distances[1]) / 2)


def test_its_gradient_is_known_for_a_constant():
    """λ mean (θ − θ0)² over one state: derivative 2λ(θ − θ0); none reaches the base."""
    tuned, base = Constant((1, 4), 0.7), Constant((1, 4), 0.2)
    penalty = Distillation(1.5).penalty(tuned, base, ((1.0, normal(2, 1, 4)),))
    penalty.backward()
    assert_close(tuned.theta.grad, 2 * 1.5 * 0.5)
    assert base.theta.grad is None


def test_without_states_there_is_nothing_to_keep():
    assert float(Distillation().penalty(Tiny(), Tiny(), ())) == 0


def test_each_state_goes_to_the_network_of_its_step():
    base = Handover.split(Tiny(), 1.0)
    tuned = Handover.split(Tiny(), 1.0)
    perturb(tuned.tuned)
    above, below = (Distillation().penalty(tuned, base, (state,)) for state in STATES)
    assert float(above.detach()) == 0
    assert_close(below, Distillation().penalty(tuned.tuned, base.tuned, STATES[1:]).detach())
