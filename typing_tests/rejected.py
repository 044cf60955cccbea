"""What the type checker must reject: each line carries the error it has to produce, and an unused one is an error itself."""

import pirf

grid = pirf.Grid.square(32)
reward = pirf.Poisson(grid)
strategy = pirf.LastSteps(1)

pirf.LayerTruncated(reward)  # type: ignore[arg-type]
pirf.Given(strategy, channels=(0,))  # type: ignore[arg-type]
pirf.Heun(steps="20")  # type: ignore[arg-type]
pirf.Poisson(grid, norm="l1")  # type: ignore[arg-type]
pirf.compare(reward, {}, sampler=pirf.Heun())  # type: ignore[arg-type]
reward.grid = grid  # type: ignore[misc]


class Faster(pirf.Heun):  # type: ignore[misc]
    """Concrete classes are final: wrap, don't subclass."""
