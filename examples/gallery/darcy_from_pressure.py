r"""
Permeability from 2 % of the pressure
=====================================

A porous medium is 3 or 12 everywhere, and pressure was measured at 20 of 1024 points.  Where is which?

The prior is a diffusion model of both fields, trained on samples without any measurement.  Guidance conditions it; the
ensemble says what the measurements leave open.
"""

import pirf

problem = pirf.problems.darcy(32)
base = pirf.load("darcy-32")

# %%
# Twenty sensors of the second channel, with noise of 1 % of the pressure's standard deviation:
truth = problem.sample(1, seed=42)[0]
sensors = pirf.sensors(pirf.region(problem.shape, 1), 20, seed=1)
observation = pirf.observe(truth, sensors, noise=0.01 * float(truth[1].std()), seed=1)

# %%
# Sixteen samples of p(a, p | measurements), guided by the measurements and the equation:
found = pirf.reconstruct(base, observation, problem.reward, samples=16, seed=0)
picture = found.picture(truth, channels=problem.channels)
print(found)

# %%
# How right is it?  Errors, and whether the spread of the ensemble tells their size:
print(found.score(truth))

# %%
# A share of points whose phase is right, by the sign of mean − 7.5, against the share of the commoner phase:
right = ((found.mean[0] > 7.5) == (truth[0] > 7.5)).double().mean()
common = max(share := (truth[0] > 7.5).double().mean(), 1 - share)
print(f"phase right at {100 * right:.0f} % of the points; the commoner phase fills {100 * common:.0f} %")
