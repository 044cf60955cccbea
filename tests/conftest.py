"""Run-time shape checks for the whole package, one thread, derandomised properties, small shared fixtures."""

from jaxtyping import install_import_hook

install_import_hook("pirf", "checking.checked")  # before anything imports the package

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("pirf", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("pirf")


@pytest.fixture(autouse=True)
def _global_generator_is_left_alone():
    """No test, and nothing the library does in it, may move torch's global generator."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())
