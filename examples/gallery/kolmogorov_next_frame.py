r"""
The next frame of Kolmogorov flow
=================================

Two frames of the vorticity are known at every fourth point of each axis, with noise.  What is the third?

The model knows triplets of frames; the missing one is simply not measured.
"""

import pirf

problem = pirf.problems.kolmogorov(32)
base = pirf.load("kolmogorov-32")

# %%
# A quarter of the points of each axis, in the first two frames:
truth = problem.sample(1, seed=3)[0]
known = pirf.lines(pirf.lines(pirf.region(problem.shape, (0, 1)), axis=0, count=8), axis=1, count=8)
observation = pirf.observe(truth, known, noise=0.01 * float(truth.std()), seed=1)

# %%
# The ensemble, without and with the equation:
plain = pirf.reconstruct(base, observation, samples=16, seed=0)
guided = pirf.reconstruct(base, observation, problem.reward, samples=16, seed=0)
picture = guided.picture(truth, channels=problem.channels)

# %%
# The error of the third frame, against what repeating the second would give if all of it were known:
for name, found in (("measurements", plain), ("and the equation", guided)):
    error = float((found.mean[2] - truth[2]).norm() / truth[2].norm())
    print(f"{name}: error of the third frame {100 * error:.1f} %")
print(f"the second frame in its place: {100 * float((truth[1] - truth[2]).norm() / truth[2].norm()):.1f} %")

# %%
# The whole score:
print(guided.score(truth))
