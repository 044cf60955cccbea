"""What the type checker must accept: the seams compose, and a new reward is a subclass with one method."""

import attrs

import pirf
from pirf import Field, Residual


@attrs.frozen
class Screened(pirf.PDEReward):
    """Δu − κ²u = a."""

    grid: pirf.Grid
    kappa: float = 1.0

    def residual(self, x: Field) -> Residual:
        a, u = x[:, :1], x[:, 1:]
        return pirf.operators.laplacian(u, self.grid, boundary=pirf.Dirichlet(0.0)) - self.kappa**2 * u - a


def compose(base: pirf.Denoiser) -> pirf.Denoiser:
    sampler = pirf.Heun(steps=20)
    reward = pirf.Given(Screened(pirf.Grid.square(32)), channels=(0,))
    strategy: pirf.GradientStrategy = pirf.LayerTruncated(pirf.LastSteps(2), stages=1)
    split = pirf.Handover.split(base, below=sampler.before_last(2), channels=(1,))
    tuned = pirf.finetune(split, reward, sampler=sampler, gradient=strategy, regularizer=pirf.WeightAnchor(1e-3), steps=10)
    return pirf.DPS(tuned, reward, weight=1e-3)
