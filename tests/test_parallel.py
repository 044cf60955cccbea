"""1, 2 and 4 processes are one: the same noise bit for bit, the same losses and weights, any of them resumed by any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pirf import parallel

WORKER = Path(__file__).parent / "ranks_worker.py"


def launch(count, out, *parts, **environment):
    """``torchrun --nproc_per_node=count``; rank by rank its results are in ``out``."""
    folders = os.pathsep.join([str(WORKER.parent), os.environ.get("PYTHONPATH", "")])
    alone = (sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}", "--standalone")
    return subprocess.run(
        [*alone, WORKER, out, *parts],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1", "PYTHONPATH": folders, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("ranks")
    found = {}
    for count in (1, 2, 4):
        done = launch(count, out)
        assert done.returncode == 0, done.stderr[:6000]
        record = json.loads((out / f"{count}.json").read_text())
        found[count] = (dict(np.load(out / f"{count}.npz")), record["losses"], record["ranks agree"], out / f"data-{count}")
    return found


@pytest.mark.parametrize("count", [2, 4])
def test_the_noise_is_the_same_bit_for_bit(results, count):
    assert (results[1][0]["noise"] == results[count][0]["noise"]).all()


@pytest.mark.parametrize("count", [2, 4])
def test_losses_and_weights_are_those_of_one_process(results, count):
    one, many = results[1], results[count]
    assert one[0].keys() == many[0].keys()
    for name in one[0]:
        np.testing.assert_allclose(many[0][name], one[0][name], rtol=1e-6, atol=1e-9, err_msg=name)
    for name in one[1].keys() - {"refused"}:
        np.testing.assert_allclose(many[1][name], one[1][name], rtol=1e-6, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("count", [2, 4])
def test_all_ranks_end_with_the_same_weights(results, count):
    assert results[count][2]


@pytest.mark.parametrize("count", [2, 4])
def test_data_of_many_processes_are_those_of_one(results, count):
    for name in ("fields.npy", "done.npy"):
        assert (np.load(results[1][3] / name) == np.load(results[count][3] / name)).all()


def test_a_process_without_work_is_refused(results):
    assert "at least one sample for every process is needed: got 1 samples for 2 processes" in results[2][1]["refused"][0]


def test_a_rank_without_memory_says_so_where_ranks_exchange_values(tmp_path):
    """The others wait for its part of a message: it ends, instead of sending another."""
    done = launch(2, tmp_path, "short")
    assert done.returncode != 0
    assert "PBFM: memory for 4 rows is needed: got out of memory at update 0 with 4 rows at a time" in done.stderr
    assert "SIGABRT" not in done.stderr


def test_a_rank_that_dies_ends_the_job_and_any_number_of_ranks_go_on(tmp_path):
    """Killed on four ranks, then on one, finished on two: what one process has learned without a break."""
    alone, broken = tmp_path / "alone", tmp_path / "broken"
    alone.mkdir()
    broken.mkdir()
    assert launch(1, alone, "resume").returncode == 0
    died = launch(4, broken, "resume", KILL="2:4")
    assert died.returncode != 0
    assert "rank" in died.stderr
    assert "SIGKILL" in died.stderr
    assert sorted(p.name for p in (broken / "run").iterdir())[-1] >= "step-000000003"
    assert launch(1, broken, "resume", KILL="0:5").returncode != 0
    done = launch(2, broken, "resume")
    assert done.returncode == 0, done.stderr[:6000]
    whole, pieced = np.load(alone / "1.npz")["resumed"], np.load(broken / "2.npz")["resumed"]
    np.testing.assert_allclose(pieced, whole, rtol=1e-9, atol=1e-12)
    assert len(json.loads((broken / "2.json").read_text())["losses"]["resumed"]) == 12


def test_alone_nothing_is_exchanged():
    x = torch.arange(3.0)
    assert parallel.gathered(x) is x
    assert parallel.summed(x) is x
    assert parallel.averaged([x, None], 0.5) == [x, None]
    assert (parallel.rank(), parallel.world(), parallel.share(5)) == (0, 1, range(5))
    with parallel.ranks() as rank:
        assert rank == 0
    parallel.meet()
