import pytest
import torch
from tolerances import orders
from toys import tiny_unet

import pirf
from pirf.errors import InputError
from pirf.metrics import adherence, mean_squares
from pirf.problems import burgers
from pirf.rewards.jacobian import sensitivity


def test_sample_i_depends_on_seed_and_index_alone():
    problem = burgers(8)
    whole = problem.sample(10, seed=3)
    assert torch.equal(problem.sample(4, seed=3, start=5), whole[5:9])
    assert not torch.equal(problem.sample(10, seed=4), whole)
    assert problem.shape == tuple(whole.shape[1:])
    assert whole.dtype == torch.float64


def test_its_fields_are_solutions():
    problem = burgers(16)
    fields = problem.sample(3, seed=1)
    assert torch.equal(problem.solve(fields), fields)
    spoiled = torch.cat([fields[:, :, :1], torch.zeros_like(fields[:, :, 1:])], 2)
    assert torch.equal(problem.solve(spoiled), fields)
    assert float(mean_squares(problem.reward, fields).max()) < 1e-20
    assert problem.floor < 1e-10 * problem.scale


def test_the_first_frame_is_given():
    problem = burgers(8)
    assert problem.evolution
    assert problem.given == ()
    ours, theirs = problem.sample(2, seed=0), problem.sample(2, seed=1)
    mixed = problem.graft(ours, theirs)
    assert torch.equal(mixed[:, :, 0], ours[:, :, 0])
    assert torch.equal(mixed[:, :, 1:], theirs[:, :, 1:])


def test_units():
    """S is about the mean square of u_t, and normalised fields have deviation ½."""
    problem = burgers(32)
    fields = problem.sample(200, seed=11)
    speed = ((fields[:, :, 1:] - fields[:, :, :-1]) / problem.grid.spacing[0]).square().mean()
    assert 0.5 < float(speed) / problem.scale < 2
    assert abs(float(problem.scaling.normalise(fields).std()) / 0.5 - 1) < 0.1


def test_the_manufactured_solution_is_reached_with_order_two():
    errors = []
    for n in (32, 64, 128):
        problem = burgers(8).refine(n)
        exact = problem.manufactured(problem.grid)
        errors.append(float((problem.solve(exact) - exact).square().mean().sqrt()))
    assert abs(orders(errors)[-1] - 2) < 0.1, orders(errors)


def test_impostors_score_worse_and_other_laws_do_not():
    problem = burgers(16)
    fields = problem.sample(8)
    for impostor in problem.impostors.values():
        assert float(mean_squares(problem.reward, problem.graft(fields, impostor(fields))).min()) > 1e-4
    for other in problem.off_law.values():
        assert float(mean_squares(problem.reward, other(8)).max()) < 1e-20


@pytest.mark.parametrize("n", [16, 32])
def test_the_certificate_passes_and_names_its_alarms(n):
    certificate = pirf.verify(burgers(n))
    assert certificate.passed, str(certificate)
    notes = {row.name: row.note for row in certificate.rows}
    for spot in ("constants", "everything zero", "another initial law, evolved"):
        assert "law" in notes[f"blind spot: {spot}"]
    assert "variance" in notes["blind spot: first frame halved, evolved"]


def test_a_jump_of_the_only_channel_is_no_solution():
    """Exchanging whole samples of a problem without given channels would change nothing."""
    problem = burgers(8)
    change, slope = sensitivity(problem.reward, problem.sample(4), 0)
    assert 0.1 < slope / change < 10
    assert change > 1


def test_inner_and_outer_rows_are_told_apart():
    """There is a row less than there are frames."""
    problem = burgers(8)
    fields = problem.sample(4)
    fields[:, :, -1] += 0.1
    figures = adherence(fields, problem.reward, scale=1.0, floor=1.0, solve=problem.solve, solved=(0,))
    assert figures.interior < 1e-20
    assert figures.boundary > 1e-3


def test_a_state_without_a_solution_is_infinitely_far_from_it():
    problem = burgers(8)
    fields = problem.sample(3)
    fields[1:] = 1e3 * torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    figures = adherence(fields, problem.reward, scale=1.0, floor=1.0, solve=problem.solve, solved=(0,))
    assert figures.resolve == float("inf")


def test_a_network_is_compared_and_reported(tmp_path):
    problem = burgers(16)
    model = tiny_unet(problem.shape, torch.float32)
    model.scaling = problem.scaling
    table = pirf.compare(problem, {"random": model}, sampler=pirf.Heun(steps=3), samples=16, progress=False)
    assert table["truth"].adherence.rho < 1e-8
    assert table["random"].adherence.rho > 1e-2
    assert table["random"].alarms
    page = table.report(tmp_path / "report.html", certificate=pirf.verify(problem))
    assert page.read_text().count("data:image/png;base64,") == 2


def test_fine_tuning_with_the_balanced_reward_has_a_gradient():
    problem = burgers(8)
    fields = problem.sample(4) + 0.1
    fields[:, :, 1:] *= 1.1
    leaf = fields.requires_grad_()
    problem.balanced_reward(fields.detach())(leaf).sum().backward()
    assert bool(leaf.grad.flatten(1).any(1).all())
    assert not leaf.grad[:, :, 0].any()  # the first frame is given


def test_a_problem_is_its_call():
    assert burgers(8) is burgers(8)
    assert repr(burgers(8)) == "pirf.problems.burgers(n=8)"
    with pytest.raises(InputError, match="four frames and points or more: got 3"):
        burgers(3)
    with pytest.raises(InputError, match="Gaussian laws only"):
        burgers(8).oracle()
