"""Run-time shape checks for the whole package, one thread, derandomised properties, small shared fixtures."""

import signal

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("pirf", "checking.checked")  # before anything imports the package: nothing above does
torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a background job's is: tests send it to themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("pirf", deadline=None, derandomize=True, max_examples=50, database=None)
settings.load_profile("pirf")


@pytest.fixture(autouse=True)
def _global_generator_is_left_alone():
    """No test, and nothing the library does in it, may move torch's global generator."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())
