"""What makes a run fail at a chosen update, and remembers the weights as they were just before."""

import attrs
import torch
from toys import Quadratic, normal

from pirf.regularizers import Regularizer
from pirf.rewards import ResidualReward, Reward


class Poison:
    """The optimizer's factory as well: it counts the updates, and strikes from update ``at`` on."""

    def __init__(self, kind, at, value=float("nan"), optimizer=torch.optim.Adam):
        self.kind, self.at, self.value, self.optimizer = kind, at, value, optimizer
        self.parameters, self.updates, self.before, self.where = [], -1, None, None

    def __call__(self, parameters, lr):
        self.parameters, self.updates = list(parameters), 0
        if self.kind == "gradient":
            self.parameters[-1].register_hook(lambda g: self.into(g) if self.strikes("gradient") else g)
        method = self.optimizer(parameters, lr)
        method.register_step_post_hook(self.step)
        return method

    def __deepcopy__(self, memo):
        return self

    def step(self, *_):
        self.updates += 1

    def strikes(self, kind):
        """Whether it is time; the weights are as the last update left them."""
        if kind != self.kind or self.updates < self.at:
            return False
        if self.before is not None:
            return "slope" in kind  # not every score is differentiated: this one goes on
        self.before, self.where = [p.detach().clone() for p in self.parameters], self.updates
        return True

    def into(self, tensor):
        """One number of it."""
        bad = tensor.clone()
        bad.view(-1)[-1] = self.value
        return bad

    def untouched(self):
        return all(torch.equal(a, b.detach()) for a, b in zip(self.before, self.parameters, strict=True))

    def network(self, model, inner=None, last=float("inf")):
        """A model whose estimate's last channel, at levels up to ``last``, or whose inner layer goes bad."""

        def spoil(module, inputs, output):
            return self.into(output) if float(inputs[1].max()) <= last and self.strikes("channel") else output

        def spoil_inside(module, inputs, output):
            return output * float("nan") if self.strikes("layer") else output  # of infinity a saturated layer makes ±1

        model.register_forward_hook(spoil)
        if inner is not None:
            inner.register_forward_hook(spoil_inside)
        return model


class Slope(torch.autograd.Function):
    """The identity, whose gradient goes bad in one place."""

    @staticmethod
    def forward(ctx, x, poison):
        ctx.poison = poison
        return x.clone()

    @staticmethod
    def backward(ctx, g):
        return ctx.poison.into(g), None


@attrs.frozen
class BadReward(Reward):
    """A quadratic whose value or whose gradient goes bad."""

    poison: Poison = attrs.field(repr=False)

    def __call__(self, x, condition=None):
        if self.poison.strikes("slope"):
            return Quadratic(0.4)(Slope.apply(x, self.poison))
        scores = Quadratic(0.4)(x)
        return self.poison.into(scores) if self.poison.strikes("value") else scores


@attrs.frozen
class BadResidual(ResidualReward):
    """An equation whose residual or whose gradient goes bad."""

    poison: Poison = attrs.field(repr=False)

    def residuals(self, x, condition=None):
        if self.poison.strikes("slope"):
            return 1e-2 * Slope.apply(x, self.poison)
        return self.poison.into(x) if self.poison.strikes("value") else 1e-2 * x


@attrs.frozen
class BadPenalty(Regularizer):
    """The weights' square, whose value or whose gradient goes bad."""

    poison: Poison = attrs.field(repr=False)

    def penalty(self, tuned, base, states):
        total = sum((p**2).sum() for p in tuned.tunable() if p.requires_grad)
        if self.poison.strikes("penalty's slope"):
            return Slope.apply(total, self.poison)
        return self.poison.into(total) if self.poison.strikes("penalty") else total


@attrs.frozen
class BadSource:
    """Random fields, of which one goes bad in its last channel."""

    poison: Poison = attrs.field(repr=False)
    shape: tuple[int, ...] = (2, 8, 8)
    scaling: object = None

    def sample(self, count, seed=0, start=0):
        fields = torch.stack([normal(*self.shape, seed=start + i) for i in range(count)])
        return self.poison.into(fields) if self.poison.strikes("data") else fields
