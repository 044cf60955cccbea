import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from tolerances import assert_close, orders

from pirf.reference import kuramoto_sivashinsky as ks
from pirf.reference import random_fields

LENGTH = 22.0


def state(n, count=2, seed=0, length=LENGTH):
    return ks.attractor(random_fields.white((n,), range(count), seed), length, 20.0)


def by_definition(u, length):
    """G from the equation: differentiation matrices, and every product summed over pairs of waves that P keeps."""
    n = len(u)
    m = np.arange(n) - n // 2
    waves = np.exp(2j * np.pi * np.outer(np.arange(n), m) / n)
    modes = waves.conj().T @ u / n
    k, keep = 2 * np.pi * m / length, 3 * abs(m) < n
    kept = dict(zip(m[keep], modes[keep], strict=True))
    square = np.array([sum(kept[p] * kept[w - p] for p in kept if w - p in kept) * (3 * abs(w) < n) for w in m])
    return (waves @ (-0.5j * k * square + (k**2 - k**4) * modes)).real


@pytest.mark.parametrize("n", [12, 16, 24])
def test_the_right_side_is_the_equation(n):
    """A product of waves p and q is the wave p + q, without any that is folded back."""
    u = random_fields.white((n,), range(3), seed=2)
    expected = np.stack([by_definition(row, LENGTH) for row in u])
    assert_close(torch.from_numpy(ks.tendency(u, LENGTH)), torch.from_numpy(expected))


def test_it_agrees_with_an_independent_integrator():
    """An implicit method of fifth order at tight tolerance, on the same system of ordinary differential equations."""
    (u0,) = state(24, 1)
    found = solve_ivp(lambda _, u: ks.tendency(u, LENGTH), (0, 1), u0, "Radau", rtol=1e-12, atol=1e-13).y[:, -1]
    errors = [np.abs(ks.frames(u0, LENGTH, 1.0, 1, steps)[1] - found).max() for steps in (32, 64, 512)]
    assert errors[-1] < 1e-9 * np.abs(found).max()
    assert 3.4 < orders(errors[:2])[0] < 4.1  # a few of the stiff waves are still on their way to fourth order
    assert np.abs(ks.frames(u0, LENGTH, 1.0, 1, ks.SUBSTEPS)[1] - found).max() < 1e-3


def test_frames_are_frames_of_one_solution():
    u0 = state(24)
    path = ks.frames(u0, LENGTH, 0.5, 6, 4)
    assert np.array_equal(path[:, 0], u0)
    assert_close(torch.from_numpy(path[:, 2::2]), torch.from_numpy(ks.frames(u0, LENGTH, 1.0, 3, 8)[:, 1:]))


def test_a_small_wave_grows_at_its_rate():
    """Linear: e^{(k² − k⁴)t}, growing below k = 1 and decaying above."""
    x = np.arange(24) / 24
    for m in (1, 2, 4, 5):
        k = 2 * np.pi * m / LENGTH
        wave = 1e-9 * np.cos(2 * np.pi * m * x)
        found = ks.frames(wave, LENGTH, 2.0, 1, 8)[1]
        assert_close(torch.from_numpy(found), torch.from_numpy(np.exp(2 * (k**2 - k**4)) * wave), unit=1e2 * np.abs(wave).max())


def test_energy_changes_by_the_linear_part_alone():
    """⟨u, u u_x⟩ = 0 on fields that P leaves alone: advection moves energy between waves and makes none."""
    u = state(24)
    modes = np.fft.rfft(u)
    k = 2 * np.pi * np.arange(13) / LENGTH
    linear = np.fft.irfft((k**2 - k**4) * modes, 24)
    assert_close(torch.from_numpy((u * (ks.tendency(u, LENGTH) - linear)).sum(-1)), 0.0, unit=float(np.abs(u * linear).sum()))


def test_symmetries():
    """Translations, (x, u) → (−x, −u), and the moving frame u(x − ct, t) + c, here by whole points."""
    u0, n = state(24), 24
    path = ks.frames(u0, LENGTH, 1.0, 2, 32)
    for move in (lambda f: np.roll(f, 5, -1), lambda f: -np.roll(f[..., ::-1], 1, -1)):
        assert_close(torch.from_numpy(ks.frames(move(u0), LENGTH, 1.0, 2, 32)), torch.from_numpy(move(path)))
    speed = 2 * LENGTH / n
    seen = ks.frames(u0 + speed, LENGTH, 1.0, 1, 2048)[:, 1] - speed
    still = ks.frames(u0, LENGTH, 1.0, 1, 2048)[:, 1]
    assert_close(torch.from_numpy(seen), torch.from_numpy(np.roll(still, 2, -1)))


def test_the_mean_stays():
    u0 = state(24) + 0.7
    mean = torch.from_numpy(ks.frames(u0, LENGTH, 1.0, 5, 4)).mean(-1)
    assert_close(mean, torch.full_like(mean, 0.7))


def test_other_equations_on_request():
    """Without advection the modes are exponentials; the viscosity multiplies u_xxxx."""
    u0 = random_fields.white((24,), range(2), 5)
    k = 2 * np.pi * np.arange(13) / LENGTH
    expected = np.fft.irfft(np.exp(0.5 * (k**2 - 0.8 * k**4)) * np.fft.rfft(u0), 24)
    found = ks.frames(u0, LENGTH, 0.5, 1, 2, viscosity=0.8, advection=0.0)[:, 1]
    assert_close(torch.from_numpy(found), torch.from_numpy(expected))


def test_the_attractor_is_chaotic_bounded_and_resolved():
    """Neighbours part, the size stays, and the waves at the edge of P carry next to nothing."""
    u0 = ks.attractor(random_fields.white((32,), range(8), 1), LENGTH)
    late = ks.frames(u0, LENGTH, 100.0, 1, 400)[:, 1]
    assert np.abs(u0.mean(-1)).max() < 1e-12
    assert 0.8 < late.std() / u0.std() < 1.25
    power = (np.abs(np.fft.rfft(u0)) ** 2).mean(0)
    assert power[10] < 1e-3 * power.max()
    assert not power[11:].max() > 1e-20 * power.max()
    other = ks.frames(u0 + 1e-8 * np.cos(np.arange(32)), LENGTH, 100.0, 1, 400)[:, 1]
    assert np.median(np.abs(other - late).max(-1)) > 1e-7


@pytest.mark.parametrize(("n", "count"), [(32, 2), (64, 4)])
def test_cells_are_at_rest(n, count):
    """And there are as many as were asked for."""
    row = ks.cells(n, 11.0 * count, count)
    assert np.abs(ks.tendency(row, 11.0 * count)).max() < 1e-10
    assert np.abs(row).max() > 1
    assert np.argmax(np.abs(np.fft.rfft(row))) == count


def test_a_solution_does_not_depend_on_its_company(monkeypatch):
    """Bit for bit, whatever is advanced together: chaos would magnify any rounding."""
    noise = random_fields.white((24,), range(5), 9)
    whole = ks.attractor(noise, LENGTH, 20.0)
    assert np.array_equal(ks.attractor(noise[3:4], LENGTH, 20.0), whole[3:4])
    monkeypatch.setattr(ks, "_TOGETHER", 48)
    assert np.array_equal(ks.attractor(noise, LENGTH, 20.0), whole)


def test_what_outruns_the_steps_is_nan_from_there_on():
    u0 = state(24, 3)
    wild = u0.copy()
    wild[1] *= 1e3
    path = ks.frames(wild, LENGTH, 1.0, 4, 4)
    assert np.array_equal(path[[0, 2]], ks.frames(u0, LENGTH, 1.0, 4, 4)[[0, 2]])
    assert np.isnan(path[1, -1]).all()
    assert np.array_equal(path[1, 0], wild[1])
