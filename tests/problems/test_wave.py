import numpy as np
import pytest
import torch
from tolerances import assert_close, assert_moment, orders
from toys import normal, tiny_unet

import pirf
from pirf import reference
from pirf.errors import InputError
from pirf.metrics import mean_squares
from pirf.problems import wave
from pirf.problems.wave import ENERGY


def test_sample_i_depends_on_seed_and_index_alone():
    problem = wave(8)
    whole = problem.sample(10, seed=3)
    assert torch.equal(problem.sample(4, seed=3, start=5), whole[5:9])
    assert not torch.equal(problem.sample(10, seed=4), whole)
    assert problem.shape == tuple(whole.shape[1:]) == (2, 8, 8)
    assert whole.dtype == torch.float64


def test_its_fields_are_solutions():
    problem = wave(16)
    fields = problem.sample(3, seed=1)
    assert torch.equal(problem.solve(fields), fields)
    spoiled = torch.cat([fields[:, :, :1], torch.zeros_like(fields[:, :, 1:])], 2)
    assert torch.equal(problem.solve(spoiled), fields)
    assert float(mean_squares(problem.reward, fields).max()) < 1e-20
    assert float(mean_squares(problem.solution_norm, fields).max()) < 1e-20
    assert problem.floor < 1e-10 * problem.scale


def test_the_first_frame_of_both_channels_is_given():
    problem = wave(8)
    assert problem.evolution
    assert problem.solved == (0, 1)
    ours, theirs = problem.sample(2, seed=0), problem.sample(2, seed=1)
    mixed = problem.graft(ours, theirs)
    assert torch.equal(mixed[:, :, 0], ours[:, :, 0])
    assert torch.equal(mixed[:, :, 1:], theirs[:, :, 1:])


def test_units():
    """S is the mean square of u_tt, in closed form; the solution norm is in units of std(u), std(v)."""
    problem = wave(64)
    fields = problem.sample(200, seed=11)
    acceleration = (64**2) * (fields[:, 0, :, 2:] - 2 * fields[:, 0, :, 1:-1] + fields[:, 0, :, :-2])
    assert 0.5 < float(acceleration.square().mean()) / problem.scale < 1.5
    x = problem.scaling.normalise(fields).transpose(0, 1).flatten(1)
    assert bool(((x.std(1) / 0.5 - 1).abs() < 0.1).all())
    rest = torch.cat([fields[:, :, :1], torch.zeros_like(fields[:, :, 1:])], 2)
    assert 0.8 < float(mean_squares(problem.solution_norm, rest).mean()) < 1.2
    frozen = problem.impostors["first frame for ever"](fields)
    assert 0.5 < float(mean_squares(problem.reward, frozen).mean()) / problem.scale < 1.5


def test_the_manufactured_solution_is_reached_with_order_two():
    errors = []
    for n in (32, 64, 128):
        problem = wave(8).refine(n)
        exact = problem.manufactured(problem.grid)
        errors.append(float((problem.solve(exact) - exact).square().mean().sqrt()))
    assert abs(orders(errors)[-1] - 2) < 0.1, orders(errors)


def test_impostors_score_worse_and_other_laws_do_not():
    problem = wave(16)
    fields = problem.sample(8)
    for impostor in problem.impostors.values():
        fake = problem.graft(fields, impostor(fields))
        assert float(mean_squares(problem.reward, fake).min()) > 1e-5 * problem.scale
        assert float(mean_squares(problem.solution_norm, fake).min()) > 1e-4
    for other in problem.off_law.values():
        assert float(mean_squares(problem.reward, other(8)).max()) < 1e-20


def test_energy_is_a_balance_and_a_quantity():
    """Solutions keep it to round-off; what dies away as e^{−t/10} has lost 1 − e^{−1/5}; its mean is the law's."""
    problem = wave(32)
    balance, quantity = problem.balances["energy"], problem.quantities["energy"]
    fields = problem.sample(200, seed=4)
    assert float(balance(fields).max()) < 1e-12
    dying = problem.impostors["solution that dies away"](fields)
    energy = quantity(fields)
    assert_close(balance(dying), (1 - np.exp(-0.2)) * energy / ENERGY)
    units = np.eye(2 * reference.wave.MODES).reshape(-1, 2, reference.wave.MODES)
    expected = float(quantity(torch.from_numpy(problem.law(units))).sum())  # a quadratic form of white noise: its trace
    assert_moment(energy, expected)
    assert abs(expected / ENERGY - 1) < 0.02
    assert_close(quantity(0.5 * fields), energy / 4)


def test_the_oracle_is_exact_and_obeys_the_equation():
    """White noise has another shape here than fields do; E[x₀|x] = C(C + σ²)⁻¹x, and every estimate is a solution."""
    problem = wave(6)
    oracle = problem.oracle()
    units = np.eye(2 * reference.wave.MODES).reshape(-1, 2, reference.wave.MODES)
    zero = torch.zeros(1, 2, 6, 6, dtype=torch.float64)
    centre = problem.scaling.normalise(zero)
    factor = (problem.scaling.normalise(torch.from_numpy(problem.law(units))) - centre).flatten(1)
    covariance, x = factor.T @ factor, normal(3, 2, 6, 6)
    for sigma in (0.01, 1.0, 30.0):
        gain = torch.linalg.solve(covariance + sigma**2 * torch.eye(72, dtype=torch.float64), covariance)
        estimate = oracle(x, torch.tensor(sigma, dtype=torch.float64))
        assert_close(estimate.flatten(1), centre.flatten(1) + (x - centre).flatten(1) @ gain)
        assert float(mean_squares(problem.reward, problem.scaling.physical(estimate)).max()) < 1e-20


def test_the_law_is_linear():
    problem = wave(6)
    white = problem.white(range(2), 0)
    assert white.shape == (2, 2, 64)
    both = torch.from_numpy(problem.law(2.0 * white[:1] - 3.0 * white[1:]))
    assert_close(both, 2.0 * torch.from_numpy(problem.law(white[:1])) - 3.0 * torch.from_numpy(problem.law(white[1:])))


@pytest.mark.parametrize("n", [16, 32])
def test_the_certificate_passes_and_names_its_alarms(n):
    certificate = pirf.verify(wave(n))
    assert certificate.passed, str(certificate)
    notes = {row.name: row.note for row in certificate.rows}
    for spot in ("one standing wave", "everything zero", "a smoother first frame, evolved"):
        assert "law" in notes[f"blind spot: {spot}"]
    assert "variance" in notes["blind spot: everything halved"]


def test_another_speed_fails():
    problem = wave(16)
    certificate = pirf.verify(problem, reward=pirf.Wave(problem.grid, 1.02))
    assert "residual of truth" in {row.name for row in certificate.rows if row.status == "FAIL"}


def test_a_network_is_compared_and_reported(tmp_path):
    problem = wave(16)
    model = tiny_unet(problem.shape, torch.float32)
    model.scaling = problem.scaling
    table = pirf.compare(problem, {"random": model}, sampler=pirf.Heun(steps=3), samples=16, progress=False)
    assert table["truth"].adherence.rho < 1e-8
    assert table["random"].adherence.rho > 1e-2
    assert table["random"].alarms
    assert table.report(tmp_path / "report.html").stat().st_size > 0


def test_fine_tuning_with_the_balanced_reward_has_a_gradient():
    problem = wave(8)
    fields = problem.sample(4) + 0.1
    fields[:, :, 1:] *= 1.1
    leaf = fields.clone().requires_grad_()
    problem.balanced_reward(fields)(leaf).sum().backward()
    assert bool(leaf.grad.flatten(2).any(2).all())


def test_a_problem_is_its_call():
    assert wave(8) is wave(8)
    assert repr(wave(8)) == "pirf.problems.wave(n=8)"
    assert wave(16).refine(8) is wave(8)
    with pytest.raises(InputError, match="four frames and cells or more: got 3"):
        wave(3)
