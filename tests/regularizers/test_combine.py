import torch
from tolerances import assert_close
from toys import Tiny, normal, perturb

from pirf.regularizers import Distillation, Together, WeightAnchor

STATES = ((0.5, normal(2, 2, 8, 8)),)


def test_together_is_the_sum():
    base, tuned = Tiny(), perturb(Tiny())
    parts = (WeightAnchor(0.1, "squared"), WeightAnchor(0.2, "subgradient"), Distillation(0.3))
    total = Together(parts).penalty(tuned, base, STATES)
    assert_close(total, sum(part.penalty(tuned, base, STATES).detach() for part in parts))
    gradients = torch.autograd.grad(total, list(tuned.parameters()))
    for index, gradient in enumerate(gradients):
        expected = sum(
            torch.autograd.grad(part.penalty(tuned, base, STATES), list(tuned.parameters()))[index] for part in parts
        )
        assert_close(gradient, expected)


def test_proximal_maps_come_one_after_the_other():
    base, once, both = Tiny(), perturb(Tiny()), perturb(Tiny())
    for anchor in (WeightAnchor(0.01), WeightAnchor(0.02)):
        anchor.after_step(once, base, torch.optim.SGD(once.parameters(), lr=1.0))
    Together((WeightAnchor(0.01), WeightAnchor(0.02))).after_step(both, base, torch.optim.SGD(both.parameters(), lr=1.0))
    for a, b in zip(once.parameters(), both.parameters(), strict=True):
        assert torch.equal(a, b)


def test_nothing_together_is_nothing():
    assert float(Together(()).penalty(Tiny(), Tiny(), STATES)) == 0
    together = Together((WeightAnchor(0.1), Distillation(0.2)))
    assert eval(repr(together)) == together
