import importlib
from functools import partial

import attrs
import pytest
import torch
from tolerances import assert_close
from toys import Function, Quadratic, Tiny, normal, perturb, tiny_unet

from pirf.data import Fields
from pirf.denoisers import ClassifierFree, FieldInput, Handover, UNet, conditioned
from pirf.denoisers.residual_gradient import NAME, ResidualGradient, downhill
from pirf.errors import InputError
from pirf.guidance.residual_descent import ResidualDescent
from pirf.noise import Noise
from pirf.problems import poisson
from pirf.rewards import BlackBox, Poisson
from pirf.samplers import Chain, Euler, Heun, Multistep
from pirf.scaling import Scaling
from pirf.training import Constant, pretrain
from pirf.training.pg_diffusion import pg_diffusion

module = importlib.import_module("pirf.training.matching")
SCALING = Scaling((0.5, -1.0), (2.0, 3.0))
PROBLEM = poisson(8)


def first(x):
    return x.flatten(1)[:, 0]


def fields():
    return Fields(PROBLEM.sample(12), PROBLEM.scaling)


def network():
    return tiny_unet(PROBLEM.shape, norm=False, dropout=0.0)


def call(denoiser=None, **options):
    settings = {"steps": 4, "batch": 3, "lr": 0.01, "rate": Constant(), "progress": False, "source": fields()}
    if denoiser is None:
        denoiser = UNet(PROBLEM.shape, PROBLEM.scaling, channels=4, multipliers=(1, 2), attention=()).double()
    return pg_diffusion(denoiser, options.pop("reward", PROBLEM.reward), **(settings | options))


def equal(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


# δ.


def test_the_gradient_is_that_of_the_physical_residual_in_normalised_units():
    """−½λΣ(f − y)² at f = x·scale + shift: the gradient λ·scale·(f − y), divided by its root mean square."""
    x = normal(3, 2, 4, 4)
    f = SCALING.physical(x)
    gradient = torch.tensor([2.0, 3.0], dtype=torch.float64)[:, None, None] * (f - 0.7)
    expected = gradient / gradient.flatten(1).square().mean(1).sqrt()[:, None, None, None]
    for curvature in (1.0, 1e6):
        assert_close(downhill(Quadratic(0.7, curvature), x, SCALING, None), expected)


def test_it_is_one_for_every_sample_at_every_noise_and_zero_at_solutions():
    reward, scaling = PROBLEM.reward, PROBLEM.scaling
    clean = scaling.normalise(PROBLEM.sample(4))
    for level in (0.01, 1.0, 80.0):
        delta = downhill(reward, clean + level * normal(*clean.shape), scaling, None)
        assert_close(delta.flatten(1).square().mean(1), torch.ones(4, dtype=torch.float64))
    assert torch.equal(
        downhill(Quadratic(0.0), torch.zeros(2, 1, 4, dtype=torch.float64), Scaling.identity(1), None),
        torch.zeros(2, 1, 4, dtype=torch.float64),
    )


def test_a_step_along_it_lowers_the_residual():
    """To first order by step · rms · size: r(x − hδ) = r(x) + h |∇| √n."""
    x, scaling, reward = normal(3, 2, 8, 8), PROBLEM.scaling, PROBLEM.reward
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(reward(scaling.physical(leaf)).sum(), leaf)
    h = 1e-6
    delta = downhill(reward, x, scaling, None)
    gained = (reward(scaling.physical(x - h * delta)) - reward(scaling.physical(x + h * delta))) / (2 * h)
    assert_close(gained, gradient.flatten(1).norm(dim=1) * x[0].numel() ** 0.5, unit=1e5 * float(gained.abs().max()))


def test_the_network_is_told_it_and_what_the_caller_tells():
    seen = []

    def spy(x, sigma, condition):
        seen.append(condition)
        return x

    x, sigma, c = normal(2, 1, 4), torch.tensor(0.3, dtype=torch.float64), torch.ones(2)
    model = ResidualGradient(Function(spy), Quadratic(0.2))
    model(x, sigma)
    model(x, sigma, {"c": c})
    assert set(seen[0]) == {NAME}
    assert set(seen[1]) == {NAME, "c"}
    assert torch.equal(seen[1][NAME], downhill(Quadratic(0.2), x, Scaling.identity(1), None))
    assert not seen[0][NAME].requires_grad


def test_without_a_weight_on_it_guidance_is_extrapolation():
    """(1 + w) D(x, σ, δ) − w D(x, σ), two evaluations."""
    inner = conditioned(network(), {NAME: FieldInput(2)})
    perturb(inner.told, 0.5)
    x, sigma = normal(2, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    model = ResidualGradient(ClassifierFree(inner, 0.7), PROBLEM.reward)
    told = inner(x, sigma, {NAME: downhill(PROBLEM.reward, x, inner.scaling, None)})
    assert_close(model(x, sigma), (1.7 * told - 0.7 * inner(x, sigma)).detach())
    assert model.cost == 2


def test_a_handover_is_told_on_both_sides():
    inner = conditioned(network(), {NAME: FieldInput(2)})
    perturb(inner.told, 0.5)
    split = Handover.split(inner, Multistep(steps=5).before_last(2))
    perturb(split.tuned)
    chain = Chain(Multistep(steps=5), ResidualGradient(split, PROBLEM.reward), Noise(0)[range(2)])
    x = chain.run(chain.initial()).x
    assert chain.denoiser.for_step(0.01) is chain.denoiser.for_step(0.02)
    assert chain.denoiser.for_step(0.01).inner is split.tail
    assert chain.denoiser.for_step(9.0).inner is split.base
    assert bool(torch.isfinite(x).all())


# Descent.


@pytest.mark.parametrize("kind", [Euler, Heun, Multistep])
def test_every_step_is_the_samplers_less_a_step_downhill(kind):
    model, reward = Tiny(), Poisson(PROBLEM.grid)
    guided, plain = (Chain(kind(steps=4), m, Noise(1)[range(2)]) for m in (ResidualDescent(model, reward, 0.05), model))
    state = plain.initial()
    for k in range(4):
        expected = plain.step(k, state)
        moved = guided.step(k, state)
        assert torch.equal(moved.x, expected.x - 0.05 * downhill(reward, state.x, model.scaling, None))
        state = attrs.evolve(expected, x=moved.x)
    assert torch.equal(guided.run(guided.initial()).x, state.x)
    assert guided.tally.evaluations == plain.tally.evaluations * 2


@pytest.mark.parametrize(("reward", "step"), [(Quadratic(), 0.0), (Quadratic(), -1.0), (BlackBox(first), 0.1)])
def test_descent_needs_a_gradient_and_a_step(reward, step):
    with pytest.raises(InputError, match="a differentiable reward and a positive step are needed"):
        ResidualDescent(Tiny(), reward, step)


# Training.


def test_the_loss_is_that_of_a_network_that_is_told():
    """First update: mean of (σ² + s²)/(σs)² ‖D(x, σ, δ(x)) − x₀‖²."""
    base = conditioned(
        UNet(PROBLEM.shape, PROBLEM.scaling, channels=4, multipliers=(1, 2), attention=()).double(),
        {NAME: FieldInput(2)},
        drop=0.0,
    )
    perturb(base, 0.3)
    history = call(base, steps=1, seed=4).history
    assert (history[0]["evaluations"], history[0]["vjps"]) == (1, 1)
    noise = Noise(4).fold("pretrain", 0)[range(3)]
    x0 = PROBLEM.scaling.normalise(fields().sample(3, seed=4))
    sigma = torch.exp(-1.2 + 1.2 * noise.fold("level").normal((), torch.float64))
    column = sigma.reshape(-1, 1, 1, 1)
    x = x0 + column * noise.fold("state").normal(PROBLEM.shape, torch.float64)
    with torch.no_grad():
        error = base(x, sigma, {NAME: downhill(PROBLEM.reward, x, PROBLEM.scaling, None)}) - x0
    assert_close(history[0]["loss"], ((column**2 + 0.25) / (0.5 * column) ** 2 * error**2).mean())


def test_after_training_the_estimate_depends_on_the_residual():
    """The defect of the released code, an embedding that is dead, is not here: what is told changes the estimate."""
    model = call(steps=10)
    x, sigma = normal(2, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    inner = model.inner.inner
    delta = downhill(PROBLEM.reward, x, PROBLEM.scaling, None)
    told, other = (inner(x, sigma, {NAME: d}).detach() for d in (delta, -delta))
    assert float((told - other).norm() / told.norm()) > 1e-4
    assert float((told - inner(x, sigma).detach()).norm() / told.norm()) > 1e-4
    assert all(float(p.detach().abs().max()) > 0 for p in inner.told.parameters())
    assert not inner.training
    assert len(model.history) == 10


def test_a_trained_base_is_where_it_starts():
    """With a learning rate of nothing it is the base, whatever it is told and however that is driven."""
    base = pretrain(
        fields(),
        UNet(PROBLEM.shape, PROBLEM.scaling, channels=4, multipliers=(1, 2), attention=()).double(),
        steps=2,
        batch=3,
        progress=False,
    )
    model = call(base, steps=1, lr=1e-30, weight=3.0)
    x, sigma = normal(2, 2, 8, 8), torch.tensor(0.3, dtype=torch.float64)
    assert_close(model(x, sigma), base(x, sigma).detach())
    again = call(model.inner.inner, steps=1, lr=1e-30)  # a network that takes the gradient already is not given another input
    for p, q in zip(again.parameters(), model.parameters(), strict=True):
        assert float((p - q).detach().abs().max()) < 1e-20


def test_weight_and_step_belong_to_sampling():
    a, b = call(weight=0.0), call(weight=2.0, step=0.01)
    assert isinstance(b, ResidualDescent)
    assert equal(a, b)
    assert len(b.history) == len(a.history) == 4
    assert a.cost == 1
    assert b.for_step(1.0).cost == 2


def test_what_a_source_tells_is_told_as_well():
    source = Fields(PROBLEM.sample(12), PROBLEM.scaling, {"i": torch.arange(12.0)})
    model = pg_diffusion(None, PROBLEM.reward, source=source, steps=1, batch=2, progress=False)
    assert set(model.inner.inner.told.inputs) == {"i", NAME}
    assert model.inner.inner.told.drop == 0.1


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "descend", partial(module.descend, save_every=0.0))
    whole = call()

    @attrs.frozen(eq=False, repr=False)
    class Fragile:
        inner: Fields = fields()
        shape: tuple = PROBLEM.shape
        scaling: Scaling = PROBLEM.scaling

        def sample(self, count, seed=0, start=0):
            if start == 6:
                raise KeyboardInterrupt
            return self.inner.sample(count, seed, start)

        def __repr__(self):
            return repr(self.inner)

    with pytest.raises(KeyboardInterrupt):
        call(source=Fragile(), out=tmp_path)
    assert equal(call(out=tmp_path), whole)
    with pytest.raises(InputError, match="holds a checkpoint of another run"):
        call(out=tmp_path, reward=Poisson(PROBLEM.grid, norm="solution"))


@pytest.mark.parametrize("options", [{"reward": BlackBox(first)}, {"step": -0.1}])
def test_rewards_without_a_gradient_and_negative_steps_are_refused(options):
    with pytest.raises(InputError, match="a differentiable reward and a step of 0 or more are needed"):
        call(**options)
