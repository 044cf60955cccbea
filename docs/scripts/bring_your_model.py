"""A network that predicts velocities, as a flow-matching library trains them, and what its samples are as a denoiser."""

from torch import Tensor, nn

import pirf

base = pirf.load("poisson-32")


class Flow(nn.Module):
    """Stands for your network: the velocity z − x0 at time t of x_t = (1 − t) x0 + t z."""

    def __init__(self) -> None:
        super().__init__()
        self.denoiser = pirf.load("poisson-32")

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        """What a perfectly trained one would say, where the denoiser is the truth."""
        column = t.reshape(-1, 1, 1, 1)
        clean = self.denoiser(x_t / (1 - column), t / (1 - t))
        return (x_t - clean) / column


# [wrap]
model = pirf.Prediction(Flow(), base.shape, pirf.LinearPath(), pirf.Velocity(), scaling=base.scaling)
fields = pirf.sample(model, pirf.Heun(steps=20), 4, seed=0)
# [/wrap]

same = pirf.sample(base, pirf.Heun(steps=20), 4, seed=0)
gap = float((fields - same).abs().max() / same.std())
print(f"largest difference from the denoiser's own samples: {gap:.1e} standard deviations")
