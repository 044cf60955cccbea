"""A network and a reward that are told the same: screened Poisson, Δu − κ²u = a, with a κ of its own for every sample."""

import attrs

import pirf
from pirf import Condition, Field, Residual
from pirf.denoisers import ScalarInput


# reward
@attrs.frozen
class Screened(pirf.ConditionalPDEReward):
    """Δu − κ²u = a, u = 0 on the boundary; channels (a, u), κ from the condition."""

    grid: pirf.Grid

    def residual(self, x: Field, condition: Condition) -> Residual:
        self.grid.check(x, channels=2)
        a, u, kappa = x[:, :1], x[:, 1:], condition["kappa"].reshape(-1, 1, 1, 1)
        return pirf.operators.laplacian(u, self.grid, boundary=pirf.Dirichlet(0.0)) - kappa**2 * u - a


# told
def screening(noise: pirf.Noise) -> Condition:
    """κ between 0 and 10, one for every sample."""
    return {"kappa": 10 * noise.uniform()}


# run
if __name__ == "__main__":
    problem = pirf.problems.poisson(n=8)
    reward, sampler = Screened(problem.grid), pirf.Heun(steps=6)
    base = problem.oracle()  # the exact denoiser of Poisson's fields: it knows a, and a u that belongs to κ = 0

    # the last step belongs to a network that reads a, is told κ and writes u
    told = {"kappa": ScalarInput(5.0, 10 / 12**0.5)}
    solver = pirf.UNet(problem.shape, problem.scaling, channels=8, conditions=told).double()
    tail = pirf.Handover(base, solver, below=sampler.before_last(1), channels=(1,), reads=(0,), floor=2.0)
    tuned = pirf.finetune(
        tail,
        pirf.Given(reward, channels=(0,)),
        condition=screening,
        sampler=sampler,
        optimizer=pirf.Muon,
        lr=2e-2,
        steps=200,
        batch=16,
        pool=256,
        progress=False,
    )

    kappa = screening(pirf.Noise(9)[range(64)])
    other = {"kappa": kappa["kappa"].roll(1)}
    for name, model in (("base", base), ("tuned", tuned)):
        x = pirf.sample(model, sampler, 64, seed=5, condition=kappa)
        right, wrong = (-float(reward(x, c).mean()) for c in (kappa, other))
        print(f"{name}: residual {right:.2g} under each sample's own κ, {wrong:.2g} under another's")
