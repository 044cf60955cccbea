"""A reward that nobody can differentiate: solve the equation again with SciPy, score the distance, sample by the scores."""

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import SuperLU, splu

import pirf
from pirf import Field
from pirf.inference import draw


# solver: Δu = a on N² cells with u = 0 on the faces, factorised once and for all samples
def factorise(n: int) -> SuperLU:
    ends = np.zeros(n)
    ends[[0, -1]] = 1.0  # a zero on the face makes the ghost −u, so the end rows carry −3 instead of −2
    line = n**2 * (sp.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n)) - sp.diags(ends))
    return splu(sp.csc_matrix(sp.kron(line, sp.eye(n)) + sp.kron(sp.eye(n), line)))


N = 32
FACTORS = factorise(N)


# reward: a batch of fields in, one number per sample out
def resolve_error(x: Field) -> NDArray[np.float64]:
    """‖u − S(a)‖/‖S(a)‖ of channels (a, u)."""
    a, u = x.double().numpy().reshape(len(x), 2, -1).transpose(1, 0, 2)
    exact = FACTORS.solve(a.T).T
    error: NDArray[np.float64] = np.linalg.norm(u - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return error


def closeness(x: Field) -> NDArray[np.float64]:
    return -resolve_error(x)


# run
if __name__ == "__main__":
    base, reward, count, samples = pirf.load("poisson-32"), pirf.BlackBox(closeness), 4, 16
    try:
        pirf.finetune(base, reward, sampler=pirf.Heun(steps=20), steps=1)
    except pirf.InputError as refusal:
        print(refusal, end="\n\n")

    sampler = pirf.Ancestral(steps=20)
    plain = draw(base, sampler, samples * count)
    errors = torch.from_numpy(resolve_error(plain.fields)).reshape(samples, count)
    best = plain.fields.reshape(samples, count, *plain.fields.shape[1:])[range(samples), errors.argmin(1)]
    guided = draw(pirf.SVDD(base, reward, count), sampler, samples)
    for name, evaluations, fields in (
        ("one sample", plain.evaluations, plain.fields),
        (f"best of {count} samples", count * plain.evaluations, best),
        (f"SVDD, {count} candidates a step", guided.evaluations, guided.fields),
        ("truth", 0, pirf.problems.poisson(N).sample(64)),
    ):
        # A relative error is also small where its denominator is large: look at what the choice does to a.
        error, size = np.median(resolve_error(fields)), fields[:, 0].square().mean((1, 2)).sqrt().mean()
        print(f"{name:28} {evaluations:3.0f} evaluations, median re-solve error {100 * error:.1f} %, rms of a {size:.2f}")
