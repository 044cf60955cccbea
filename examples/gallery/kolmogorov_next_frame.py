r"""
The next frame of Kolmogorov flow
=================================

Two frames of the vorticity are measured, with noise.  What is the third?

The model knows triplets of frames; the missing one is simply not measured.
"""

from torch import Tensor

import pirf

problem = pirf.problems.kolmogorov(32)
base = pirf.load("kolmogorov-32")
truth = problem.sample(1, seed=3)[0]
noise = 0.01 * float(truth.std())

# %%
# First, all of the two frames:
past = pirf.region(problem.shape, (0, 1))
whole = pirf.reconstruct(base, pirf.observe(truth, past, noise, seed=1), problem.reward, samples=8, seed=0)

# %%
# Then every second point of each axis of them only:
half = pirf.lines(pirf.lines(past, axis=0, count=16), axis=1, count=16)
sparse = pirf.reconstruct(base, pirf.observe(truth, half, noise, seed=1), problem.reward, samples=8, seed=0)
picture = sparse.picture(truth, channels=problem.channels)


# %%
# The error of the third frame, against what the second in its place would give if it were known:
def error(frame: Tensor) -> float:
    return 100 * float((frame - truth[2]).norm() / truth[2].norm())


print(f"two frames measured: {error(whole.mean[2]):.1f} %")
print(f"a quarter of their points: {error(sparse.mean[2]):.1f} %")
print(f"the second frame in place of the third: {error(truth[1]):.1f} %")

# %%
# Whether the spread of the ensemble tells its error, from a quarter of the points:
print(sparse.score(truth))
