import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close, assert_moment

from pirf.reference import random_fields


@given(st.integers(0, 2**63), st.lists(st.integers(0, 2**40), min_size=1, max_size=5))
def test_a_field_belongs_to_its_seed_and_index(seed, indices):
    together = random_fields.neumann_field(6, indices, seed)
    for row, index in enumerate(indices):
        assert np.array_equal(random_fields.neumann_field(6, [index], seed)[0], together[row])
    assert not np.array_equal(random_fields.neumann_field(6, indices, seed + 1), together)


def test_the_spatial_mean_variance_is_that_of_the_law():
    """E mean(g²) = Σ c_k² by Parseval, 0.0853 in the limit of a fine grid; and one hundred draws agree."""
    for n in (32, 128):
        total = float((random_fields.neumann_spectrum(n) ** 2).sum())
        assert abs(total - 0.0853) < 5e-5
        fields = random_fields.neumann_field(n, range(400 if n == 32 else 100), seed=2)
        assert_moment((fields**2).mean((1, 2)), total)


def test_the_spectrum_is_the_formula():
    """c_k = τ^{α−1} (π²|k|² + τ²)^{−α/2} at k = (1, 2), α = 2, τ = 3: 3/(5π² + 9)."""
    spectrum = random_fields.neumann_spectrum(8)
    assert_close(torch.tensor(spectrum[1, 2]), 3 / (5 * np.pi**2 + 9))
    assert spectrum[0, 0] == 0
    assert_close(torch.tensor(random_fields.neumann_spectrum(4, 3.0, 2.0)[0, 1]), 4 * (np.pi**2 + 4) ** -1.5)


def test_the_covariance_is_diagonal_in_the_cosine_modes():
    """The map from white noise is linear, and mode k of its field has standard deviation n c_k."""
    n = 6
    unit = np.eye(n * n).reshape(n * n, n, n)
    columns = random_fields.colour(unit).reshape(n * n, n * n)
    gram = columns @ columns.T
    expected = np.diag((n * random_fields.neumann_spectrum(n).ravel()) ** 2)
    assert_close(torch.from_numpy(gram), torch.from_numpy(expected))


def test_every_field_has_mean_zero():
    fields = torch.from_numpy(random_fields.neumann_field(16, range(8)))
    assert_close(fields.mean((1, 2)), 0.0, unit=1.0)


def test_no_indices_no_fields():
    assert random_fields.white((3, 3), [], 0).shape == (0, 3, 3)
