r"""
Burgers from five sensors
=========================

Five sensors stand in a periodic channel and record the velocity for all times.  What happened between them?

One sample of this problem is a whole evolution, axes (t, x): the sensors are five columns of it.
"""

import pirf

problem = pirf.problems.burgers(32)
base = pirf.load("burgers-32")

# %%
# Five columns, all frames, with 1 % noise:
truth = problem.sample(1, seed=7)[0]
columns = pirf.lines(pirf.region(problem.shape), axis=1, count=5)
observation = pirf.observe(truth, columns, noise=0.01 * float(truth.std()), seed=1)

# %%
# The measurements alone, and with the equation as a second term:
plain = pirf.reconstruct(base, observation, samples=16, seed=0)
guided = pirf.reconstruct(base, observation, problem.reward, samples=16, seed=0)
picture = guided.picture(truth, channels=problem.channels)

# %%
# Both say how far they are from truth, and whether their spread tells it:
for name, found in (("measurements", plain), ("and the equation", guided)):
    residual = float(problem.reward.residuals(found.fields.double()).square().mean()) / problem.scale
    print(f"{name}: ρ = {residual:.3g}")
    print(found.score(truth), end="\n\n")
