import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from torch import nn
from toys import normal

from pirf.errors import InputError, NumericalError
from pirf.training import Budget, Constant, Cosine
from pirf.training.loop import descend


def run(parameters, loss, **options):
    settings = {"budget": Budget(steps=20), "lr": 0.1, "rate": Constant(), "half_life": 0.05, "progress": False}
    return descend(parameters, loss, **(settings | options))


def vector():
    return [nn.Parameter(normal(3)), nn.Parameter(normal(2, seed=1))]


def bowl(parameters):
    return lambda step, *_: (sum((p**2).sum() * (1 + 0.1 * step) for p in parameters), {"note": float(step)})


def test_it_is_adam():
    ours, theirs = vector(), vector()
    optimizer = torch.optim.Adam(theirs, lr=0.1)
    for step in range(20):
        optimizer.zero_grad()
        bowl(theirs)(step)[0].backward()
        optimizer.param_groups[0]["lr"] = 0.1 * Cosine()(step / 20)
        optimizer.step()
    run(ours, bowl(ours), rate=Cosine())
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(a, b)
    assert all(p.grad is None for p in ours)


def test_the_average_is_the_exponential_one_with_a_relative_half_life():
    parameters, weights = vector(), []
    average, _ = run(
        parameters,
        bowl(parameters),
        half_life=0.2,
        after_step=lambda _: weights.append([p.detach().clone() for p in parameters]),
    )
    expected = [p.clone() for p in [q.detach() for q in vector()]]
    for step, now in enumerate(weights, start=1):
        decay = 0.5 ** (1 / max(1.0, 0.2 * step))
        expected = [decay * e + (1 - decay) * n for e, n in zip(expected, now, strict=True)]
    for a, e in zip(average, expected, strict=True):
        assert_close(a, e)


def test_history_records_every_update():
    parameters = vector()
    _, history = run(parameters, bowl(parameters), rate=Cosine(), budget=Budget(steps=5))
    assert [h["step"] for h in history] == [1, 2, 3, 4, 5]
    assert [h["note"] for h in history] == [0, 1, 2, 3, 4]
    assert [h["lr"] for h in history] == [0.1 * Cosine()(i / 5) for i in range(5)]


def test_clipping_bounds_the_gradient_the_optimizer_sees():
    """torch shortens to clip·‖g‖/(‖g‖ + 1e-6); a gradient within the bound is left alone."""
    slope = normal(3, seed=2)
    for clip in (1e-3, 1e3):
        parameters, seen = vector()[:1], []
        run(
            parameters,
            lambda *_, p=parameters: ((p[0] * slope).sum(), {}),
            clip=clip,
            after_step=lambda _, p=parameters, s=seen: s.append(p[0].grad.clone()),
        )
        assert_close(torch.stack(seen), slope * min(1.0, clip / (float(slope.norm()) + 1e-6)))


@pytest.mark.parametrize("poison", ["loss", "gradient"])
def test_what_is_not_a_number_stops_before_the_update(poison):
    parameters, kept = vector(), {}

    def loss(step, *_):
        kept["before"] = [p.detach().clone() for p in parameters]
        value = bowl(parameters)(step)[0]
        if step == 3:
            value = value * float("nan") if poison == "loss" else value + (0 * parameters[1]).sum().sqrt()
        return value, {}

    match = (
        "test: loss is nan at update 3; weights untouched"
        if poison == "loss"
        else "the gradient of tensor 1 is not finite at update 3"
    )
    with pytest.raises(NumericalError, match=match):
        run(parameters, loss, label="test")
    for a, b in zip(parameters, kept["before"], strict=True):
        assert torch.equal(a.detach(), b)
    assert not torch.equal(parameters[0].detach(), vector()[0].detach())


def test_a_tensor_without_gradient_stays():
    parameters = vector()
    run(parameters, lambda step, *_: ((parameters[0] ** 2).sum(), {}))
    assert torch.equal(parameters[1], vector()[1])


@given(st.integers(1, 50), st.integers(0, 60))
def test_the_progress_of_a_budget(steps, step):
    assert Budget(steps=steps).progress(step, 1e9) == min(1.0, step / steps)
    assert Budget(seconds=2.0).progress(step, 1.0) == 0.5
    assert Budget(steps=steps, seconds=4.0).progress(step, 1.0) == min(1.0, max(step / steps, 0.25))


def test_a_budget_spent_before_the_first_update_is_refused():
    parameters = vector()
    with pytest.raises(InputError, match="smaller pool"):
        run(parameters, bowl(parameters), budget=Budget(seconds=100.0), already=100.0)


def test_whichever_ends_first():
    parameters = vector()
    assert len(run(parameters, bowl(parameters), budget=Budget(steps=3, seconds=1e6))[1]) == 3


@pytest.mark.parametrize("bad", [{}, {"steps": 0}, {"steps": -5}, {"seconds": 0.0}, {"steps": 5, "seconds": -1.0}])
def test_an_empty_budget_is_refused(bad):
    with pytest.raises(InputError, match="a positive number of steps or seconds: got"):
        Budget(**bad)


def test_a_folder_that_cannot_be_is_refused_before_the_first_update(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder that can be written to is needed for checkpoints"):
        run(vector(), lambda *_: pytest.fail("an update was made"), out=tmp_path / "file")


@pytest.mark.parametrize("lr", [0.0, -1.0, float("nan")])
def test_a_learning_rate_that_learns_nothing_is_refused(lr):
    with pytest.raises(InputError, match="a positive learning rate is needed: got"):
        run(vector(), lambda step, *_: (torch.zeros(()), {}), lr=lr)
