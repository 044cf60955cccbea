"""The equivalences again on CUDA: the same keyed noise, the same samples, the same gradients as on the CPU."""

import copy

import pytest
import torch
from tolerances import assert_close
from torch.utils.checkpoint import checkpoint
from toys import normal, tiny_unet

import pirf
from pirf.denoisers.dropout import again, keyed_dropout
from pirf.noise import Noise
from pirf.samplers import Chain
from pirf.testing import ConstantNetwork

pytestmark = pytest.mark.gpu
PROBLEM = pirf.problems.poisson(16)


@pytest.fixture(autouse=True)
def _cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.parametrize("sampler", [pirf.Euler(8), pirf.Heun(8), pirf.Multistep(8), pirf.Ancestral(8)])
def test_samples_are_those_of_the_cpu(sampler):
    oracle = PROBLEM.oracle()
    here = pirf.sample(oracle, sampler, 4, seed=1)
    assert_close(pirf.sample(copy.deepcopy(oracle).cuda(), sampler, 4, seed=1).cpu(), here)


def test_gradients_are_those_of_the_cpu():
    gradients = []
    for device in ("cpu", "cuda"):
        network = ConstantNetwork(PROBLEM.shape, PROBLEM.scaling, theta=0.1).to(device)
        loss = pirf.LastSteps(2).loss(Chain(pirf.Heun(8), network), PROBLEM.reward, Noise(2)[range(4)])
        gradients.append(torch.autograd.grad(loss.value, network.theta)[0].cpu())
    assert_close(gradients[1], gradients[0])


def test_a_handover_is_tuned_and_compared_on_the_device():
    sampler = pirf.Heun(6)
    base = pirf.UNet(PROBLEM.shape, PROBLEM.scaling, channels=8, multipliers=(1, 2)).cuda()
    split = pirf.Handover.split(base, below=sampler.before_last(1), channels=PROBLEM.solved)
    tuned = pirf.finetune(split, PROBLEM.reward, sampler=sampler, steps=3, batch=4, pool=8, lr=1e-3, progress=False)
    assert next(tuned.parameters()).is_cuda
    table = pirf.compare(PROBLEM, {"base": base, "tuned": tuned}, sampler=sampler, samples=8, progress=False)
    assert table["tuned"].adherence.rho < table["base"].adherence.rho


def test_masks_hold_on_a_gpu_where_the_backward_pass_has_a_thread_of_its_own():
    model, x = tiny_unet(dropout=0.3).train().cuda(), normal(6, 2, 8, 8).cuda()
    noise, sigma = Noise(3).fold("pretrain", 7)[range(6)], torch.tensor(0.4, dtype=x.dtype, device=x.device)

    def run(evaluate):
        with keyed_dropout(noise):
            value = evaluate()
        return [value.detach(), *torch.autograd.grad(value.square().sum(), list(model.parameters()))]

    plain = run(lambda: model(x, sigma))
    made_again = run(lambda: checkpoint(model, x, sigma, use_reentrant=False, context_fn=again))
    for found, expected in zip(made_again, plain, strict=True):
        assert_close(found, expected, unit=1.0)
    with torch.no_grad(), keyed_dropout(noise[range(2, 6)]):
        assert_close(model(x[2:], sigma), plain[0][2:])
