import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from tolerances import assert_close, orders

from pirf.reference import kolmogorov as flow
from pirf.reference import random_fields

RE = 60.0


def vorticity(shape, count=2, seed=0):
    return 4 * flow.random_vorticity(random_fields.white(shape, range(count), seed), power=6.0, wavenumber=2.0)


def by_definition(w, reynolds):
    """G from the equation with full complex transforms; P removes 3|k| ≥ n."""
    nx, ny = w.shape
    kx, ky = np.meshgrid(np.fft.fftfreq(nx, 1 / nx), np.fft.fftfreq(ny, 1 / ny), indexing="ij")
    keep, squares = (3 * abs(kx) < nx) & (3 * abs(ky) < ny), kx**2 + ky**2
    modes = np.fft.fft2(w)
    stream = np.where(squares > 0, keep * modes / np.maximum(squares, 1), 0)
    u, v, kept = (np.fft.ifft2(f).real for f in (1j * ky * stream, -1j * kx * stream, keep * modes))
    flux = 1j * kx * np.fft.fft2(u * kept) + 1j * ky * np.fft.fft2(v * kept)
    y = 2 * np.pi * np.arange(ny) / ny
    return np.fft.ifft2(-1.0 * keep * flux - (squares / reynolds + 0.1) * modes).real - 4 * np.cos(4 * y)


@pytest.mark.parametrize("shape", [(16, 16), (14, 20), (24, 14)])
def test_the_right_side_is_the_equation(shape):
    w = random_fields.white(shape, range(3), seed=2)
    expected = np.stack([by_definition(f, RE) for f in w])
    assert_close(torch.from_numpy(flow.tendency(w, RE)), torch.from_numpy(expected))


@pytest.mark.parametrize("shape", [(16, 16), (14, 18)])
def test_it_agrees_with_an_independent_integrator(shape):
    """DOP853 at tight tolerance on the same system of ordinary differential equations."""
    start = vorticity(shape, 1)[0]
    found = solve_ivp(
        lambda _, w: by_definition(w.reshape(shape), RE).ravel(), (0, 0.5), start.ravel(), "DOP853", rtol=1e-13, atol=1e-13
    )
    errors = []
    for steps in (16, 32, 64, 1024):
        errors.append(float(np.abs(flow.advance(start, RE, 0.5, steps).ravel() - found.y[:, -1]).max()))
    assert abs(orders(errors[:3])[-1] - 4) < 0.1
    assert_close(torch.from_numpy(flow.advance(start, RE, 0.5, 1024).ravel()), torch.from_numpy(found.y[:, -1]))


def test_advection_conserves_enstrophy_and_energy():
    """⟨Pω, N⟩ = ⟨ψ, N⟩ = 0 for N = −∇·P(uPω): the right side without friction, diffusion and force."""
    for shape in ((16, 16), (18, 24)):
        w = vorticity(shape, 3)
        kx, ky = np.fft.fftfreq(shape[0], 1 / shape[0])[:, None], np.fft.rfftfreq(shape[1], 1 / shape[1])
        squares = kx**2 + ky**2
        modes = np.fft.rfft2(w)
        rest = np.fft.irfft2(-(squares / RE + 0.1) * modes, s=shape)
        stream = np.fft.irfft2(modes / np.where(squares > 0, squares, np.inf), s=shape)
        advection = flow.tendency(w, RE) - rest + 4 * np.cos(4 * 2 * np.pi * np.arange(shape[1]) / shape[1])
        for partner in (w, stream):
            size = np.abs(partner * advection).sum()
            assert abs((partner * advection).sum()) < 1e-13 * size


def test_the_mean_decays_by_friction_alone_and_moves_nothing():
    w = vorticity((16, 16))
    plain, shifted = flow.frames(w, RE, 0.25, 2, 8), flow.frames(w + 3.0, RE, 0.25, 2, 8)
    decay = 3.0 * np.exp(-0.1 * 0.25 * np.arange(3))[None, :, None, None]
    assert_close(torch.from_numpy(shifted), torch.from_numpy(plain + decay))


def test_the_laminar_flow_is_at_rest():
    w = flow.laminar((14, 16), RE)
    assert np.abs(w).max() == pytest.approx(4 / (16 / RE + 0.1))
    assert_close(torch.from_numpy(flow.tendency(w, RE)), 0.0, unit=4.0)


def test_it_is_equivariant():
    """Shifts along x, quarter waves along y, and (x, ω) → (−x, −ω) with half a wave along y."""
    w = vorticity((16, 16))
    for move in (
        lambda f: np.roll(f, 5, -2),
        lambda f: np.roll(f, 4, -1),
        lambda f: -np.roll(np.roll(f[..., ::-1, :], 1, -2), 2, -1),
    ):
        assert_close(torch.from_numpy(flow.advance(move(w), RE, 0.2, 10)), torch.from_numpy(move(flow.advance(w, RE, 0.2, 10))))


def test_random_vorticity_has_its_moments():
    w = flow.random_vorticity(random_fields.white((16, 20), range(300), 4))
    assert abs(w.mean()) < 1e-14
    assert (w**2).mean() == pytest.approx(1, rel=0.05)


def test_triplets_are_frames_of_one_trajectory():
    noise = random_fields.white((14, 16), range(3), 9)
    some = flow.trajectories(noise, RE, 2, spin_up=1, triplets=2)
    assert some.shape == (6, 3, 14, 16)
    start = flow.advance(flow.random_vorticity(noise), RE, 1.0, 64)
    assert_close(torch.from_numpy(some[::2]), torch.from_numpy(flow.frames(start, RE, 1 / 32, 2, 2)))
    assert_close(torch.from_numpy(some[1::2, 0]), torch.from_numpy(flow.advance(start, RE, 1.0, 64)))


def test_a_trajectory_does_not_depend_on_its_company(monkeypatch):
    """Bit for bit, whatever is advanced together: a chaotic flow would magnify any rounding."""
    noise = random_fields.white((16, 16), range(5), 9)
    whole = flow.trajectories(noise, RE, 2, spin_up=1, triplets=2)
    assert np.array_equal(flow.trajectories(noise[2:4], RE, 2, spin_up=1, triplets=2), whole[4:8])
    monkeypatch.setattr(flow, "_TOGETHER", 2 * 256)
    assert np.array_equal(flow.trajectories(noise, RE, 2, spin_up=1, triplets=2), whole)


def test_a_wild_field_is_followed_in_finer_steps_and_by_itself():
    """Bit for bit the plain frames where those are stable; the exact flow where they would blow up; NaN beyond."""
    tame, wild = vorticity((16, 16)), 60 * vorticity((16, 16), seed=1)
    assert np.array_equal(flow.followed(tame, RE, 1 / 32, 2, 2), flow.frames(tame, RE, 1 / 32, 2, 2))
    both = flow.followed(np.concatenate([tame, wild]), RE, 1 / 32, 2, 2)
    assert np.array_equal(both[:2], flow.frames(tame, RE, 1 / 32, 2, 2))
    assert np.array_equal(both[2:], flow.followed(wild, RE, 1 / 32, 2, 2))
    fine = flow.frames(wild, RE, 1 / 32, 2, 512)
    assert np.abs(both[2:] - fine).max() < 0.05 * np.abs(fine).max()
    assert np.isnan(flow.followed(1e6 * tame, RE, 1 / 32, 2, 2)[:, 1:]).all()


def test_the_number_of_steps_is_the_recommended_one():
    assert [32 * flow.substeps(n) for n in (16, 32, 64, 128, 256)] == [64, 64, 96, 160, 320]
