"""The conditional law of a Gaussian one, dense and in closed form: what guidance by a linear observation is compared with."""

import torch
from toys import normal

from pirf.denoisers import GaussianDenoiser
from pirf.rewards import Observation, Points, Stacked, Weights
from pirf.samplers import State
from pirf.scaling import Scaling

SHAPE = (2, 3, 3)
SIZE = 18
SCALING = Scaling((0.1, -2.0), (2.0, 0.5))


def diagonal(variances=None):
    """Independent coordinates."""
    variances = torch.linspace(0.05, 1.5, SIZE) if variances is None else variances
    return GaussianDenoiser(SHAPE, 0.2, variances, scaling=SCALING)


def correlated():
    """A full covariance, and a mean of every size."""
    return GaussianDenoiser.from_factor(SHAPE, normal(*SHAPE), 0.3 * normal(SIZE, SIZE, seed=1), scaling=SCALING)


def observations():
    """Noisy points; points of which some are exact; sums with noise of their own; exact rows that repeat each other."""
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[0, 0], mask[1, 2, 1:] = True, True
    points, sums = Points(mask), Weights(normal(3, *SHAPE, seed=2))
    exact = points.measure(SCALING.physical(normal(1, *SHAPE, seed=3)))[0]
    return {
        "noisy": Observation(points, exact, 0.3),
        "some exact": Observation(points, exact, (0.0, 0.1)),
        "sums": Observation(sums, normal(3), (0.1, 0.2, 0.3)),
        "repeated": Observation(Stacked((points, points)), torch.cat([exact, exact])),
    }


def factors(observation, scaling=SCALING):
    """H of flat normalised fields, and y less what the mean of the scaling gives."""
    origin, unit = torch.zeros(1, *SHAPE, dtype=torch.float64), torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SHAPE)
    there, y = observation.misfit(scaling.physical(unit)), -observation.misfit(scaling.physical(origin))
    return (there + y).T, y[0]


def law(oracle):
    """Mean and covariance of the flat normalised field."""
    basis = torch.eye(SIZE, dtype=torch.float64) if oracle.basis is None else oracle.basis
    return oracle.mean, basis @ torch.diag(oracle.variances) @ basis.T


def conditioned(mean, covariance, observation, scaling=SCALING):
    """Mean and covariance given y."""
    h, y = factors(observation, scaling)
    noise = torch.diag(observation.deviations.square())
    gain = covariance @ h.T @ torch.linalg.pinv(h @ covariance @ h.T + noise, rtol=1e-12, hermitian=True)
    return mean + gain @ (y - h @ mean), covariance - gain @ h @ covariance


def estimate(oracle, observation, x, sigma):
    """E[x0 | x, y], dense: first on x, then on y."""
    mean, covariance = law(oracle)
    variances, basis = torch.linalg.eigh(covariance)
    shrunk = variances / (variances + sigma**2)
    seen = mean + (x.flatten(1) - mean) @ (basis * shrunk) @ basis.T
    left = (basis * (sigma**2 * shrunk)) @ basis.T
    return torch.stack([conditioned(row, left, observation, oracle.scaling)[0] for row in seen]).reshape(x.shape)


def posterior(oracle, observation):
    """The exact denoiser of the conditional law."""
    mean, covariance = conditioned(*law(oracle), observation)
    variances, basis = torch.linalg.eigh(covariance)
    return GaussianDenoiser(SHAPE, mean.reshape(SHAPE), variances.clamp_min(0), basis, scaling=SCALING)


def pushed(chain):
    """Mean and linear map of a sampler that is affine in z: the origin and a basis, no random numbers."""
    unit = torch.cat([torch.zeros(1, SIZE, dtype=torch.float64), torch.eye(SIZE, dtype=torch.float64)])
    state = State(chain.levels[0] * unit.reshape(-1, *SHAPE))
    ends = chain.run(state).x.flatten(1)
    return ends[0], (ends[1:] - ends[0]).T
