import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tolerances import TOLERANCE, assert_close
from toys import normal

from pirf.errors import InputError
from pirf.grids import Axis, Grid
from pirf.noise import Noise
from pirf.operators import solve_stress_divergence, stress_divergence
from pirf.reference import elasticity, random_fields
from pirf.rewards import Elasticity
from pirf.testing import check_reward

sizes = st.integers(2, 8)
powers = st.integers(-6, 6)
STRAIN = (1.0, -0.4, 0.7)
C = elasticity.plane_strain(0.3)


def torus(n, m, width=1.0, height=1.0):
    return Grid((Axis(n, width, "periodic"), Axis(m, height, "periodic")))


def cell(*shape, count=4, strain=STRAIN):
    """A medium without any smoothness, contrast about twenty."""
    e = np.exp(0.7 * random_fields.white(shape, range(count), seed=5))
    fields = np.concatenate([e[:, None], elasticity.solve(e, np.array(strain))], 1)
    return Elasticity(torus(*shape), strain), torch.from_numpy(fields)


@pytest.mark.parametrize("shape", [(8, 8), (6, 10), (5, 7)])
@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_reference_solutions_score_round_off_and_nothing_else_does(shape, norm):
    reward, x = cell(*shape)
    reward = attrs.evolve(reward, norm=norm)
    exact = reward(x)
    assert float(exact.min()) >= -1e-20
    unit = float(x[:, 1:].std())
    board = (sum(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")) % 2) * 2.0 - 1
    along = torch.zeros(3, 1, 1, dtype=torch.float64)
    along[2] = 1e-3 * unit
    for wrong in (
        torch.cat([x[:, :1], 0 * x[:, 1:]], 1),
        torch.cat([x[:, :1], 1.01 * x[:, 1:]], 1),
        torch.cat([x[:, :1], -x[:, 1:]], 1),
        x[:, [0, 2, 1]],
        torch.cat([x[:, :1].roll(1, 0), x[:, 1:]], 1),
        x + along,
        x + along * board,
        x + 1e-3 * unit * normal(*x.shape),
    ):
        assert bool((reward(wrong) < 1e6 * exact).all())


def test_a_translation_is_not_free():
    """Every row of a component changes by its mean, and nothing else does."""
    reward, x = cell(6, 8)
    shift = torch.tensor([0.0, 0.1, -0.2]).reshape(1, 3, 1, 1)
    change = reward.residual(x + shift) - reward.residual(x)
    assert_close(change, shift[:, 1:].expand_as(change).double(), unit=float(x[:, 0].max()) * 8**2)


def test_a_checkerboard_scores_what_its_energy_says():
    """On an even medium: ⁴⁄₃ (C₁₁/h_x² + C₃₃/h_y²) times its amplitude."""
    n = 8
    board = (sum(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")) % 2) * 2.0 - 1
    x = torch.zeros(1, 3, n, n, dtype=torch.float64)
    x[:, 0], x[:, 1] = 2.0, 0.01 * board.double()
    expected = 0.5 * (2.0 * 4 / 3 * (C[0, 0] + C[2, 2]) * n**2 * 0.01) ** 2
    assert_close(Elasticity(Grid.square(n, 1.0, "periodic"), STRAIN)(x), -float(expected))


@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_the_contract_of_rewards(norm):
    reward, x = cell(6, 8, count=2)
    check_reward(attrs.evolve(reward, norm=norm, scale=0.1), x, cases=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_adjoint(dtype):
    """|⟨Jv,w⟩ − ⟨v,Jᵀw⟩| ≤ tol(‖Jv‖‖w‖ + ‖v‖‖Jᵀw‖) on a thousand shapes and magnitudes, each channel by itself."""

    @settings(max_examples=32)
    @given(sizes, sizes, powers, powers, powers, st.integers(0, 2**32))
    def identity(n, m, size, left, right, seed):
        reward = Elasticity(torus(n, m), STRAIN)
        noise = Noise(seed)[range(32)]  # thirty-two cases of one shape: samples do not couple
        e = noise.fold("e").normal((1, n, m), dtype).exp()
        u = 10.0**size * noise.fold("u").normal((2, n, m), dtype)
        x = torch.cat([e, u], 1).requires_grad_()
        w = 10.0**right * noise.fold("w").normal((2, n, m), dtype)
        (jtw,) = torch.autograd.grad(reward.residual(x), x, w)
        for channel in range(3):
            v = torch.zeros_like(x)
            v[:, channel] = 10.0**left * noise.fold("v", channel).normal((n, m), dtype)
            jv = torch.func.jvp(reward.residual, (x.detach(),), (v,))[1]
            one, two = ((f.double() * g.double()).flatten(1).sum(1) for f, g in ((jv, w), (v, jtw)))
            jv, w_, v, jtw_ = (f.double().flatten(1).norm(dim=1) for f in (jv, w, v, jtw[:, channel]))
            assert bool(((one - two).abs() <= TOLERANCE[dtype] * (jv * w_ + v * jtw_)).all())

    identity()


def test_the_gradient_of_the_solution_norm_is_one_more_solve():
    """E = A⁻¹r: λ_u = λ and λ_E = ∂_E⟨A⁻¹λ, A(E)(u − e) + load⟩, where u − e is the exact solution for E."""
    reward, x = cell(6, 8)
    x = (x + 0.1 * x[:, 1:].std() * normal(*x.shape)).requires_grad_()
    reward = attrs.evolve(reward, norm="solution")
    w = normal(*x[:, 1:].shape, seed=1)
    (gradient,) = torch.autograd.grad(reward.residual(x), x, w)
    e = reward.modulus(x[:, :1]).detach().requires_grad_()
    solved = x[:, 1:].detach() - reward.residual(x).detach()
    mu = solve_stress_divergence(e.detach(), w, reward.grid, reward.ratio)
    (into_e,) = torch.autograd.grad(stress_divergence(e, solved, reward.grid, reward.ratio, STRAIN), e, mu)
    assert_close(gradient[:, 1:], w)
    assert_close(gradient[:, :1], into_e)


def test_the_solution_norm_is_the_error_of_the_solution():
    reward, x = cell(12, 16)
    spoiled = x.clone()
    spoiled[:, 1:] += 0.01 * normal(4, 2, 12, 16)
    reward = attrs.evolve(reward, norm="solution", scale=0.25)
    assert_close(reward.residual(spoiled), (spoiled - x)[:, 1:] / 0.25)


@pytest.mark.parametrize("norm", ["l2", "solution"])
def test_float32_is_close_to_float64(norm):
    reward, x = cell(24, 24)
    zero = x * torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1)
    reward = attrs.evolve(reward, norm=norm)
    assert float((reward(x.float()).double() / reward(zero)).max()) < 1e-7


def test_rows_are_forces_per_area():
    """A smooth state scores the same on every mesh, up to the square of its width."""

    def score(n):
        grid = torus(n, n)
        x, y = grid.meshgrid()
        e = 1 + 0.5 * torch.sin(2 * torch.pi * (x + y + 1 / n))
        return float(Elasticity(grid, STRAIN)(torch.stack([e, 0.1 * torch.sin(2 * torch.pi * x), 0 * x])[None]))

    coarse, fine, finest = (score(n) for n in (16, 32, 64))
    assert abs(np.log2((coarse - fine) / (fine - finest)) - 2) < 0.1
    assert abs(fine / finest - 1) < 0.02


def test_below_its_bound_a_modulus_counts_as_the_bound():
    reward, x = cell(8, 8)
    low = x.clone()
    low[:, 0, 2, 2] = -4.0
    bound = x.clone()
    bound[:, 0, 2, 2] = reward.least
    for norm in ("l2", "solution"):
        judge = attrs.evolve(reward, norm=norm)
        assert torch.equal(judge.residual(low), judge.residual(bound))


def test_the_stress_transmits_the_same_force_through_every_section():
    """And its mean is symmetric in load and answer: the effective stiffness of a medium is a symmetric matrix."""
    e = np.exp(0.7 * random_fields.white((6, 9), range(1), seed=5))
    effective = []
    for strain in np.eye(3):
        reward = Elasticity(torus(6, 9), tuple(strain))
        x = torch.from_numpy(np.concatenate([e[:, None], elasticity.solve(e, strain)], 1))
        xx, yy, xy = reward.stress(x)[0]
        for traction, dim in ((xx, 1), (xy, 1), (xy, 0), (yy, 0)):
            through = traction.mean(dim)
            assert_close(through, through.mean().expand_as(through), unit=float(traction.abs().max()))
        effective.append(reward.stress(x).mean((0, 2, 3)))
    stiffness = torch.stack(effective)
    assert_close(stiffness, stiffness.T)
    # Reuss ≤ effective ≤ Voigt as quadratic forms.
    for lower, upper in ((1 / (1 / e).mean() * C, stiffness), (stiffness, e.mean() * C)):
        assert float(torch.linalg.eigvalsh(torch.as_tensor(upper) - torch.as_tensor(lower)).min()) > 0


def test_other_extents_scale_the_displacement():
    """(E, su) on a cell s times as large has the same strains; only the forces per area are less."""
    reward, x = cell(6, 8)
    large = Elasticity(torus(6, 8, 3.0, 3.0), STRAIN)
    grown = x * torch.tensor([1.0, 3.0, 3.0]).reshape(1, 3, 1, 1)
    assert float(large(grown).min()) >= -1e-20
    assert_close(large.stress(grown), reward.stress(x))


def test_it_is_a_frozen_printable_value():
    reward = Elasticity(Grid.square(8, 1.0, "periodic"), STRAIN, ratio=0.2, norm="solution", scale=0.5, least=0.1)
    assert eval(repr(reward)) == reward
    assert len({reward, eval(repr(reward)), Elasticity(reward.grid)}) == 2
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        reward.scale = 2.0


@pytest.mark.parametrize("shape", [(1, 2, 8, 8), (1, 4, 8, 8), (1, 3, 8, 9)])
def test_foreign_fields_are_refused(shape):
    reward = Elasticity(Grid.square(8, 1.0, "periodic"))
    for judge in (reward, reward.stress):
        with pytest.raises(InputError, match="got shape"):
            judge(torch.zeros(shape))


@pytest.mark.parametrize("bad", [{"norm": "l1"}, {"scale": 0.0}, {"least": 0.0}, {"ratio": 0.5}, {"ratio": -1.0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Elasticity(Grid.square(4, 1.0, "periodic"), **bad)


@pytest.mark.parametrize("grid", [Grid.square(8), Grid((Axis(8, 1.0, "periodic"),))])
def test_grids_that_are_no_torus_are_refused(grid):
    with pytest.raises(InputError, match="two periodic axes: got Grid"):
        Elasticity(grid)


@pytest.mark.parametrize("strain", [(0.0, 0.0, 0.0), (1.0, 0.0), (1.0, float("nan"), 0.0)])
def test_a_strain_that_is_none_is_refused(strain):
    with pytest.raises(InputError, match=r"not all of them zero: got \(.*\); without a load") as refused:
        Elasticity(Grid.square(4, 1.0, "periodic"), strain=strain)
    assert len(str(refused.value).splitlines()) == 1
