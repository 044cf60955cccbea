"""A new equation in fifteen lines, checked, certified and trained on: screened Poisson, Δu − κ²u = a, u = 0 on the boundary."""

import attrs
import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.linalg import splu

import pirf
from pirf import Field, Residual
from pirf.reference.random_fields import neumann_field


# reward
@attrs.frozen
class Screened(pirf.PDEReward):
    """Screened Poisson: Δu − κ²u = a, u = 0 on the boundary; channels (a, u)."""

    grid: pirf.Grid
    kappa: float = 1.0

    def residual(self, x: Field) -> Residual:
        self.grid.check(x, channels=2)
        a, u = x[:, :1], x[:, 1:]
        return pirf.operators.laplacian(u, self.grid, boundary=pirf.Dirichlet(0.0)) - self.kappa**2 * u - a


# solver: SciPy alone, written again from the equation, so that its agreement with the reward means something
N, KAPPA = 16, 3.0
ENDS = np.zeros(N)
ENDS[[0, -1]] = 1.0  # a zero on the face makes the ghost −u, so the end rows carry −3 instead of −2
LINE = N**2 * (sp.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(N, N)) - sp.diags(ENDS))
FACTORS = splu(sp.csc_matrix(sp.kron(LINE, sp.eye(N)) + sp.kron(sp.eye(N), LINE) - KAPPA**2 * sp.eye(N**2)))


def solve(x: Field) -> Field:
    """The same fields with u replaced by the solution for their own a."""
    a = x[:, 0].double().numpy()
    u = FACTORS.solve(a.reshape(len(a), -1).T).T.reshape(a.shape)
    return torch.from_numpy(np.stack([a, u], 1))


# exact: a smooth solution on any grid, its right side by hand
def exact(n: int) -> tuple[Screened, Field]:
    grid = pirf.Grid.square(n)
    x, y = grid.meshgrid()
    u = torch.sin(torch.pi * x) * torch.sin(2 * torch.pi * y)
    return Screened(grid, KAPPA), torch.stack([-(5 * torch.pi**2 + KAPPA**2) * u, u])[None]


# run
if __name__ == "__main__":
    a = torch.from_numpy(neumann_field(N, range(512)))
    fields = solve(torch.stack([a, torch.zeros_like(a)], 1))
    reward = Screened(pirf.Grid.square(N), KAPPA)
    pirf.testing.check_reward(reward, fields[:4])
    print(pirf.verify(reward, truth=fields[:128], solver=solve, exact=exact))

    # train: a base model on the fields alone, then a tail for its last step on the reward alone
    data = pirf.Fields(fields[128:])
    sampler = pirf.Heun(steps=12)
    network = pirf.UNet(data.shape, data.scaling, channels=8)
    base = pirf.pretrain(data, network, steps=300, progress=False)
    drawn = pirf.sample(base, sampler, 64, seed=1)
    tail = pirf.Handover.split(base, below=sampler.before_last(1), channels=(1,), reads=(0,), floor=2.0)
    goal = pirf.Given(pirf.balance([reward], drawn), channels=(0,))
    tuned = pirf.finetune(tail, goal, sampler=sampler, optimizer=pirf.Muon, lr=1e-2, steps=200, pool=64, progress=False)
    for name, model in (("base", base), ("tuned", tuned)):
        x = pirf.sample(model, sampler, 64, seed=2)
        error = pirf.metrics.resolve_errors(x, solve, solved=(1,)).median()
        print(f"{name}: residual {-reward(x.double()).mean():.2g}, median re-solve error {100 * error:.1f} %")
