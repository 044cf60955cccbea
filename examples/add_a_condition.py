"""Add a condition to a trained model by reward fine-tuning: a label that no training pair ever showed.

The base draws Poisson fields (a, u) and can be told nothing.  The label y is what a sensor reports of a sample, here the
logarithm of the mean square of a, with noise.  What should be drawn when y is told is p(x | y) ∝ p(x) p(y | x), the maximum
over q of E_q log p(y | x) − KL(q ‖ p): a reward that reads the label, and a price on leaving the base, here the distance of
the estimates.
"""

import attrs
import torch

import pirf
from pirf import Condition, Field, Residual, Score
from pirf.denoisers import ClassifierFree, ScalarInput, conditioned

NOISE = 0.25


def measured(x: Field) -> Score:
    """The logarithm of the mean square of a."""
    return torch.log(x[:, 0].flatten(1).square().mean(1))


# reward
@attrs.frozen
class Likelihood(pirf.ConditionalPDEReward):
    """log p(y | x) up to a constant, y measured with Gaussian noise: minus the square of a residual that reads the label."""

    noise: float = NOISE

    def residual(self, x: Field, condition: Condition) -> Residual:
        return ((measured(x) - condition["y"]) / (2**0.5 * self.noise))[:, None]


# run
if __name__ == "__main__":
    problem = pirf.problems.poisson(n=8)
    sampler = pirf.Euler(steps=8, schedule=pirf.EDM(0.02, 20.0))
    network = pirf.UNet(problem.shape, problem.scaling, channels=8)
    base = pirf.pretrain(problem, network, steps=250, progress=False)

    drawn = measured(pirf.sample(base, sampler, 256, seed=1))
    mean, deviation = float(drawn.mean()), float(drawn.std())

    def label(noise: pirf.Noise) -> Condition:
        """A label for every sample, from the law of what the base's samples measure."""
        return {"y": mean + (deviation**2 + NOISE**2) ** 0.5 * noise.normal(())}

    # tune: maps of the label that at first contribute nothing, every step graded, the base's estimates as what to stay near
    start = conditioned(base, {"y": ScalarInput(mean, deviation)})
    tuned = pirf.finetune(
        start,
        Likelihood(),
        sampler=sampler,
        gradient=pirf.Full(),
        regularizer=pirf.Distillation(300.0),
        condition=label,
        steps=80,
        batch=16,
        lr=3e-3,
        progress=False,
    )

    # told: the same labels, the same noise, before and after
    told = label(pirf.Noise(3)[range(256)])
    for name, model in (("before", start), ("after", tuned), ("after, weight 1", ClassifierFree(tuned, 1.0))):
        x = pirf.sample(model, sampler, 256, seed=2, condition=told)
        found = measured(x)
        correlation = float(torch.corrcoef(torch.stack([told["y"], found]))[0, 1])
        print(
            f"{name}: correlation of label and measurement {correlation:+.2f}, "
            f"measurements {found.mean():.2f} ± {found.std():.2f} (base {mean:.2f} ± {deviation:.2f}), "
            f"mean square of u {x[:, 1].square().mean():.1e}, residual {-problem.reward(x).mean():.2g}"
        )
    still = pirf.sample(tuned, sampler, 256, seed=2)
    print(f"told nothing: measurements {measured(still).mean():.2f} ± {measured(still).std():.2f}")
