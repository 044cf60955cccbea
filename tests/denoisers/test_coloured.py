"""Coloured noise is white noise in other coordinates: the exact denoiser under it says what everything must come to."""

import json
import math
from functools import partial

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, orders
from torch import nn
from toys import Quadratic, Tiny, normal, perturb, tiny_unet

import pirf
from pirf.backprop import LastSteps, LayerTruncated
from pirf.denoisers import ClassifierFree, Coloured, Denoiser, GaussianDenoiser, Handover, Matern, NoiseMap, SquaredExponential
from pirf.errors import InputError
from pirf.guidance import DPS, PseudoinverseGuidance, Term
from pirf.noise import Noise
from pirf.operators import dct
from pirf.rewards import Observation
from pirf.samplers import Ancestral, Chain, Heun, Multistep, State
from pirf.scaling import Colour, Scaling
from pirf.schedules import Logarithmic
from pirf.testing import check_denoiser

SHAPE = (2, 3, 4)
SIZE = 24
SCALING = Scaling((0.1, -2.0), (2.0, 0.5))
COLOUR = Matern(0.3, 1.5)
COLOURS = [
    COLOUR,
    Matern(0.2, 0.5, periodic=True),
    Matern((0.4, 0.1), 2.5, periodic=(False, True), floor=0.01),
    SquaredExponential(0.25),
    SquaredExponential((0.1, 0.5), periodic=(True, False)),
]
each = pytest.mark.parametrize("colour", COLOURS, ids=repr)


def dense(colour, shape=SHAPE):
    """C^{1/2} as a matrix."""
    size = math.prod(shape)
    return colour.colour(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1).T


class Exact(Denoiser):
    """E[x0 | x0 + σ C^{1/2} z = x] of N(m, K) by a linear solve, nothing diagonalised; and every move of its weight."""

    def __init__(self, colour=COLOUR, mean=0.3, shape=SHAPE, scaling=SCALING, factor=None):
        super().__init__(shape, scaling)
        size = math.prod(shape)
        half = dense(colour, shape)
        factor = 0.3 * normal(size, size, seed=1) if factor is None else factor
        self.mean = mean
        self.noise, self.law = (nn.Buffer(m @ m.T) for m in (half, factor))
        self.offset = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        total = self.law + sigma.reshape(-1, 1, 1) ** 2 * self.noise
        rows = torch.linalg.solve(total, (x.flatten(1) - self.mean)[..., None])
        return self.offset + self.mean + (self.law @ rows)[..., 0].reshape(x.shape)


def whitened_law(inner, colour):
    """Mean and factor of C^{-1/2} x0."""
    inverse = torch.linalg.inv(dense(colour, inner.shape))
    values, vectors = torch.linalg.eigh(inverse @ inner.law @ inverse.T)
    mean = inverse @ torch.full((len(inverse),), inner.mean, dtype=torch.float64)
    return mean, values.clamp_min(0), vectors


# The colour itself


@each
@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 8, 8), (1, 5, 7)])
def test_it_is_symmetric_positive_and_of_unit_variance_on_the_average(colour, shape):
    half = dense(colour, shape)
    size = shape[1] * shape[2]
    assert_close(half, half.T)
    covariance = half[:size, :size] @ half[:size, :size].T
    assert_close(half, torch.block_diag(*[half[:size, :size]] * shape[0]))  # the same for every channel, and none are mixed
    assert_close(covariance.diagonal().mean(), 1.0)
    values = torch.linalg.eigvalsh(covariance)
    assert float(values[0]) >= colour.floor * float(values[-1]) * (1 - 1e-9)


@each
@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 100))
def test_whiten_inverts_colour(colour, rows, columns, seed):
    z = normal(2, 1, rows, columns, seed=seed)
    assert_close(colour.whiten(colour.colour(z)), z, unit=10.0)
    assert_close(colour.colour(colour.whiten(z)), z, unit=10.0)


@each
def test_single_precision_survives_whitening(colour):
    z = normal(2, 1, 32, 32)
    back = colour.whiten(colour.colour(z.float()))
    assert back.dtype == torch.float32
    assert_close(back, z.float(), unit=32 * float(z.abs().max()))
    with torch.autocast("cpu", dtype=torch.bfloat16):  # what a network is cast to is not for its units
        assert torch.equal(colour.whiten(colour.colour(z.float())), back)


def test_its_modes_are_the_cosines_and_their_variances_the_formula():
    n, length, smoothness = 8, 0.2, 1.5
    z = normal(3, 1, n, n)
    k = math.pi * torch.arange(n, dtype=torch.float64)
    variances = (1 + length**2 * (k[:, None] ** 2 + k**2) / (2 * smoothness)) ** -(smoothness + 1)
    variances = variances.clamp_min(1e-3)
    expected = (variances / variances.mean()).sqrt() * dct(z)
    assert_close(dct(Matern(length, smoothness).colour(z)), expected)


@pytest.mark.parametrize("n", [8, 7])
def test_periodic_noise_knows_no_origin_and_has_the_fourier_spectrum(n):
    colour, z = SquaredExponential(0.15, periodic=True, floor=1e-6), normal(2, 1, n, n)
    found = colour.colour(z)
    assert_close(colour.colour(z.roll((3, 2), (2, 3))), found.roll((3, 2), (2, 3)))
    m = torch.fft.fftfreq(n, 1 / n, dtype=torch.float64)
    variances = torch.exp(-((2 * math.pi * 0.15) ** 2) * (m[:, None] ** 2 + m**2) / 2).clamp_min(1e-6)
    gains = (variances / variances.mean()).sqrt()
    assert_close(found, torch.fft.ifft2(gains * torch.fft.fft2(z)).real)
    assert_close((dense(colour, (1, n, n)) ** 2).sum(1), 1.0)  # and the variance is 1 at every point


def test_smoothness_without_end_is_the_squared_exponential():
    gaps = []
    for smoothness in (50.0, 100.0, 200.0, 400.0):
        gaps.append(float((dense(Matern(0.3, smoothness)) - dense(SquaredExponential(0.3))).norm()))
    assert all(0.9 < order < 1.1 for order in orders(gaps))


def test_a_floor_of_one_is_white_noise():
    z = normal(2, *SHAPE)
    assert_close(Matern(0.3, floor=1.0).colour(z), z)


@pytest.mark.parametrize("shape", [(1, 6), (1, 3, 4, 5)])
def test_lines_and_volumes_have_colours_as_well(shape):
    for colour in (Matern(0.2), SquaredExponential(0.2, periodic=True)):
        half = dense(colour, shape)
        assert_close((half @ half.T).diagonal().mean(), 1.0)
        assert_close(half, half.T)


def test_colours_are_values():
    assert len({*COLOURS, *map(attrs.evolve, COLOURS)}) == len(COLOURS)
    for colour in COLOURS:
        assert eval(repr(colour)) == colour


# Under it everything is as under white noise


def test_it_keeps_the_contract():
    check_denoiser(Coloured(Exact(), COLOUR))


def test_the_whitened_oracle_is_the_oracle_of_the_whitened_law():
    inner = Exact()
    mean, values, vectors = whitened_law(inner, COLOUR)
    expected = GaussianDenoiser(SHAPE, mean.reshape(SHAPE), values, vectors)
    y, sigma = normal(3, *SHAPE), torch.tensor([0.01, 1.0, 50.0], dtype=torch.float64)
    assert_close(Coloured(inner, COLOUR)(y, sigma), expected(y, sigma))


@each
def test_a_chain_begins_with_a_random_field(colour):
    """Its physical covariance is σ0² S C S, column by column of the initial noise."""
    chain = Chain(Heun(steps=4), Coloured(Exact(colour), colour), Noise(3)[range(5)])
    z = chain.white()
    half = dense(colour)
    scale = torch.tensor(SCALING.scale, dtype=torch.float64).repeat_interleave(SIZE // 2)
    shift = torch.tensor(SCALING.shift, dtype=torch.float64).repeat_interleave(SIZE // 2)
    expected = shift + chain.levels[0] * scale * (z.flatten(1) @ half.T)
    assert torch.equal(chain.initial().x, chain.levels[0] * z)
    assert_close(chain.physical(chain.initial().x).flatten(1), expected)


def sampled(sampler):
    """What Heun makes of the exact denoiser is affine in the noise: mean and covariance of the normalised fields, no draws."""
    denoiser = Coloured(Exact(), COLOUR)
    chain = Chain(sampler, denoiser, Noise(0)[range(SIZE + 1)])
    basis = torch.cat([torch.zeros(1, SIZE), torch.eye(SIZE)]).double().reshape(-1, *SHAPE)
    with torch.no_grad():
        ends = chain.run(State(chain.levels[0] * basis)).x
    x = COLOUR.colour(ends).flatten(1)
    mean, columns = x[0], (x[1:] - x[0]).T
    return mean, columns @ columns.T


def test_heun_samples_the_law_of_the_data_with_its_order():
    """Mean and covariance against the flow's own, in closed form, which at σ0 = 80 are nearly those of the data."""
    inner, half = Exact(), dense(COLOUR)
    centre, values, vectors = whitened_law(inner, COLOUR)
    first, last = 80.0, 0.002
    # What the flow leaves of a unit at σ0 in each mode at the last level, and of that one evaluation there.
    gains = ((values + last**2) / (values + first**2)).sqrt() * values / (values + last**2)
    flow = half @ vectors @ torch.diag(gains) @ vectors.T
    mean, covariance = half @ centre - flow @ centre, first**2 * flow @ flow.T
    of_mean, of_covariance = [], []
    for steps in (20, 40, 80, 160):
        found = sampled(Heun(steps))
        of_mean.append(float((found[0] - mean).norm() / mean.norm()))
        of_covariance.append(float((found[1] - covariance).norm() / covariance.norm()))
    assert all(1.8 < order < 2.2 for order in orders(of_covariance)), of_covariance
    assert all(1.8 < order < 2.2 for order in orders(of_mean)), of_mean
    assert float((covariance - inner.law).norm() / inner.law.norm()) < float(values.max()) / first**2
    assert float((flow @ centre).norm() / mean.norm()) < float(values.max()) ** 0.5 / first


def test_a_transitions_log_probability_is_that_of_the_coloured_gaussian():
    """log N(y'; μ, v) = log N(x'; C^{1/2} μ, v C) + ½ log det C, a constant: ratios of policies are the same."""
    chain = Chain(Ancestral(steps=6), Coloured(Exact(), COLOUR), Noise(1)[range(4)])
    half = dense(COLOUR)
    state = chain.initial()
    for k in range(4):
        law = chain.transition(k, state)
        reached = law.draw(chain.noise.fold("transition", k))
        field = torch.distributions.MultivariateNormal(
            COLOUR.colour(law.mean).flatten(1), law.variance * half @ half.T, validate_args=False
        )
        expected = field.log_prob(COLOUR.colour(reached).flatten(1)) + torch.logdet(half)
        assert_close(law.log_probability(reached), expected)
        state = State(reached)


def test_it_asks_its_inner_denoiser_for_all_else():
    """Handover, noise map and classifier-free guidance inside give what they give outside, where channels are not mixed."""
    base = Tiny(scaling=SCALING)
    tuned = perturb(Tiny(scaling=SCALING))
    sampler = Multistep(steps=6)
    inside = Coloured(Handover(base, tuned, sampler.before_last(2)), COLOUR)
    outside = Handover(Coloured(base, COLOUR), Coloured(tuned, COLOUR), sampler.before_last(2))
    told = ClassifierFree(Coloured(base, COLOUR), 0.0)
    moved = NoiseMap(base)
    perturb(moved.offset, 0.1)
    chains = [Chain(sampler, d, Noise(2)[range(2)]) for d in (inside, outside, told, Coloured(moved, COLOUR))]
    with torch.no_grad():
        ends = [chain.run(chain.initial()).x for chain in chains]
        begun = chains[3].initial().x
        expected = COLOUR.whiten(moved.start(COLOUR.colour(chains[3].white())))
        plain = Chain(sampler, Coloured(base, COLOUR), Noise(2)[range(2)])
        assert_close(ends[2], plain.run(plain.initial()).x)
    assert_close(ends[0], ends[1])
    assert_close(begun, 80 * expected)
    assert inside.for_step(1.0) is inside.for_step(1.0)
    assert inside.tunable() == tuned.tunable() == list(tuned.parameters())
    assert chains[0].tally.evaluations == chains[1].tally.evaluations == 6
    with pytest.raises(InputError, match="at least one step must depart below"):
        Chain(Heun(steps=4, schedule=Logarithmic(10.0, 80.0)), inside)


def test_its_stages_are_the_networks():
    network, x = Tiny(), normal(2, 2, 8, 8)
    coloured, sigma = Coloured(network, COLOUR), torch.tensor(0.5, dtype=torch.float64)
    assert coloured.last_stages(1) == network.last_stages(1)
    out = coloured(x, sigma)
    assert_close(coloured.frozen_trunk(1)(x, sigma), out)
    truncated = coloured.frozen_trunk(1)
    assert_close(truncated.recall(x, sigma, None, truncated.remember(x, sigma)), out)
    loss = out.square().sum()
    expected = torch.autograd.grad(loss, network.last_stages(1), retain_graph=True)
    found = torch.autograd.grad(truncated(x, sigma).square().sum(), network.last_stages(1))
    for a, b in zip(found, expected, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("gradient", [LastSteps(2), LayerTruncated(LastSteps(1))], ids=repr)
def test_rewards_of_physical_fields_tune_it(gradient):
    base = Coloured(Tiny(scaling=SCALING), COLOUR)
    tuned = pirf.finetune(base, Quadratic(1.0), sampler=Heun(4), gradient=gradient, steps=2, batch=2, progress=False)
    assert isinstance(tuned, Coloured)
    assert tuned.scaling == base.scaling
    moved = [float((a - b).detach().norm()) for a, b in zip(base.parameters(), tuned.parameters(), strict=True)]
    assert max(moved) > 0


def test_dps_moves_the_state_along_the_gradient_of_the_physical_score():
    """∂L/∂y = C^{1/2} S ∂L/∂f: the pull on the fields has the smoothness of the noise."""
    observation = Observation(torch.ones(SHAPE, dtype=torch.bool), torch.zeros(SIZE), 1.0)
    guided, y = DPS(Coloured(Exact(), COLOUR), observation), normal(2, *SHAPE)
    found = Term(observation).gradient(y, guided.scaling, None, 1.0)
    leaf = guided.scaling.physical(y).requires_grad_()
    loss = observation.residuals(leaf).flatten(1).norm(dim=1) / SIZE
    (slope,) = torch.autograd.grad(loss.sum(), leaf)
    scale = torch.tensor(SCALING.scale, dtype=torch.float64).reshape(1, -1, 1, 1)
    along = found.flatten(1) / found.flatten(1).norm(dim=1, keepdim=True)
    expected = COLOUR.colour(scale * slope).flatten(1)
    assert_close(along, expected / expected.norm(dim=1, keepdim=True))


def test_an_observation_is_exact_under_the_colour_that_the_data_has():
    """Data N(0, s² C) is isotropic in whitened units, where the pseudo-inverse gives E[x0 | x, y] in closed form."""
    s, tau, level = 0.5, 0.2, 0.7
    half = dense(COLOUR)
    inner = Exact(COLOUR, 0.0, factor=s * half)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[0, 0, 1], mask[1, 2, 2:] = True, True
    values = normal(3, seed=5)
    guided = PseudoinverseGuidance(Coloured(inner, COLOUR), Observation(mask, values, tau), spread=s)
    x, sigma = normal(2, *SHAPE, seed=6), torch.tensor(level, dtype=torch.float64)
    y = COLOUR.whiten(x)
    found = COLOUR.colour(guided(y, sigma))
    scale = torch.tensor(SCALING.scale, dtype=torch.float64).repeat_interleave(SIZE // 2)
    shift = torch.tensor(SCALING.shift, dtype=torch.float64).repeat_interleave(SIZE // 2)
    rows = torch.eye(SIZE, dtype=torch.float64)[mask.flatten()]
    measured, noise = rows * scale, half @ half.T
    # One linear regression of x0 on the noisy state and the measurements.
    seen = torch.cat([torch.eye(SIZE, dtype=torch.float64), measured])
    errors = torch.block_diag(level**2 * noise, tau**2 * torch.eye(len(rows), dtype=torch.float64))
    told = torch.cat([x.flatten(1), (values - rows @ shift).expand(2, -1)], 1)
    gain = inner.law @ seen.T @ torch.linalg.inv(seen @ inner.law @ seen.T + errors)
    assert_close(found.detach().flatten(1), told @ gain.T)


# Training, storage, refusals


class Modes(Denoiser):
    """D = Σ_k w_k ⟨φ_k, x⟩ φ_k with a weight for every cosine."""

    def __init__(self, n=8):
        super().__init__((1, n))
        self.weights = nn.Parameter(torch.full((n,), 0.6, dtype=torch.float64))

    def forward(self, x, sigma, condition=None):
        return pirf.operators.idct(self.weights * dct(x))


@attrs.frozen
class White:
    """Independent N(0, ¼) at every point."""

    shape: tuple = (1, 8)
    scaling: Scaling = Scaling.identity(1)

    def sample(self, count, seed=0, start=0):
        return 0.5 * Noise(seed).fold("data")[range(start, start + count)].normal((1, 8), torch.float64)


def test_training_reaches_the_optimum_under_coloured_noise():
    """Of white data in noise of variance σ²λ_k the best weight is ¼/(¼ + σ²λ_k), mode by mode."""
    colour, steps, batch = Matern(0.3, 1.5), 150, 128
    model = pirf.pretrain(
        White(),
        Modes(),
        steps=steps,
        batch=batch,
        lr=0.02,
        optimizer=torch.optim.Adam,
        p_mean=-0.5,
        p_std=0.0,
        colour=colour,
        progress=False,
    )
    assert isinstance(model, Coloured)
    assert (model.colour, model.scaling.colour) == (colour, colour)
    assert len(model.history) == steps
    variances = math.exp(-1.0) * colour.deviations(torch.zeros(1, 1, 8, dtype=torch.float64)) ** 2
    best = 0.25 / (0.25 + variances)
    # One batch's own optimum of a mode has the standard deviation √(w(1−w)/n); the average over the last updates counts 10.
    errors = (best * (1 - best) / (batch * 10)).sqrt()
    assert float(((model.inner.weights.detach() - best) / errors).abs().max()) < 4.5
    assert float(best.max() - best.min()) > 0.5  # white noise would give them all the same


def test_a_coloured_model_goes_on_in_its_own_noise():
    """Stopped and continued or not, what is trained is the network in plain units."""
    call = partial(pirf.pretrain, steps=2, batch=3, optimizer=torch.optim.Adam, progress=False)
    whole = Coloured(Modes(), COLOUR)
    again, direct, white = call(White(), whole), call(White(), Modes(), colour=COLOUR), call(White(), Modes())
    assert isinstance(again, Coloured)
    assert torch.equal(again.inner.weights, direct.inner.weights)
    assert not torch.equal(again.inner.weights, white.weights)
    with pytest.raises(InputError, match="a model without a colour is needed: got Coloured"):
        call(White(), whole, colour=COLOUR)


@each
def test_it_is_saved_and_loaded(colour, tmp_path):
    network = tiny_unet(dtype=torch.float32)
    network.scaling = SCALING
    model = Coloured(network, colour).eval()
    model.card, model.history = {"problem": "toy"}, [{"loss": 0.5}]
    back = pirf.load(pirf.save(model, tmp_path / "model"))
    assert isinstance(back, Coloured)
    assert (back.colour, back.scaling, back.card, back.history) == (colour, model.scaling, model.card, model.history)
    x = normal(2, 2, 8, 8, dtype=torch.float32)
    with torch.no_grad():
        assert torch.equal(back(x, torch.tensor(0.3)), model(x, torch.tensor(0.3)))


def test_a_network_of_whitened_units_keeps_its_units(tmp_path):
    """One that was trained on whitened fields: its scaling has a colour, and no wrapper."""
    network = tiny_unet(dtype=torch.float32)
    network.scaling = attrs.evolve(SCALING, colour=COLOUR)
    assert pirf.load(pirf.save(network, tmp_path / "model")).scaling == network.scaling
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert card["architecture"]["colour"]["kind"] == "Matern"


def test_low_rank_changes_are_merged_inside(tmp_path):
    model = Coloured(pirf.low_rank(tiny_unet(dtype=torch.float32), 2), COLOUR)
    perturb(nn.ParameterList(model.tunable()), 0.1)
    back = pirf.load(pirf.save(model, tmp_path / "model"))
    x = normal(2, 2, 8, 8, dtype=torch.float32)
    with torch.no_grad():
        assert_close(back(x, torch.tensor(0.3)), model.eval()(x, torch.tensor(0.3)))


@attrs.frozen
class Own(Colour):
    def colour(self, z):
        return 2 * z

    def whiten(self, x):
        return x / 2


def test_what_cannot_work_is_refused_in_one_line(tmp_path):
    unet = tiny_unet(dtype=torch.float32)
    cases = {
        "a model without a colour is needed: got Coloured": lambda: Coloured(Coloured(Modes(), COLOUR), COLOUR),
        "a positive length is needed: got length=0": lambda: Matern(0.0),
        "a positive length is needed: got length=.0.1, -1": lambda: SquaredExponential((0.1, -1.0)),
        "a positive smoothness is needed: got smoothness=inf": lambda: Matern(0.1, math.inf),
        "a floor above 0, up to 1, is needed: got floor=0": lambda: Matern(0.1, floor=0.0),
        "one length for all of its 1 axes or for each": lambda: Coloured(Modes(), Matern((0.1, 0.2))),
        "one periodic for all of its 1 axes or for each": lambda: Coloured(Modes(), Matern(0.1, periodic=(True, False))),
        "fields on a grid": lambda: Coloured(GaussianDenoiser((3,)), Matern(0.1)),
        "a colour of the package is needed for saving: got Own": lambda: pirf.save(Coloured(unet, Own()), tmp_path),
    }
    for message, act in cases.items():
        with pytest.raises(InputError, match=message) as refusal:
            act()
        assert "\n" not in str(refusal.value)
