"""Bulk data are the problem's own samples, whoever drew them and however often the run was interrupted."""

import errno
import json
import os

import numpy as np
import pytest
import torch
from joblib import parallel_config

import pirf
from pirf import generation
from pirf.errors import InputError
from pirf.generation import generate
from pirf.problems import poisson

PROBLEM = poisson(8)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_file_holds_the_problems_samples_whatever_the_number_of_workers(tmp_path, workers):
    # Threads write as processes do; that a problem can go to another process is a test of its own.
    with parallel_config(backend="threading"):
        folder = generate(PROBLEM, 11, tmp_path / "set", seed=3, workers=workers, chunk=4, dtype="float64", progress=False)
    assert np.array_equal(np.load(folder / "fields.npy"), PROBLEM.sample(11, seed=3).numpy())
    assert np.load(folder / "done.npy").all()


def test_single_precision_is_the_default(tmp_path):
    generate(PROBLEM, 3, tmp_path, workers=1, progress=False)
    assert np.array_equal(np.load(tmp_path / "fields.npy"), PROBLEM.sample(3).float().numpy())


def test_a_killed_run_goes_on_and_writes_only_what_is_missing(tmp_path, monkeypatch):
    written = []
    whole = generation._write

    def dies_at_two(problem, indices, number, seed, path):
        if number == 2:
            raise KeyboardInterrupt
        written.append(number)
        return whole(problem, indices, number, seed, path)

    settings = {"workers": 1, "chunk": 4, "dtype": "float64", "progress": False}
    monkeypatch.setattr(generation, "_write", dies_at_two)
    with pytest.raises(KeyboardInterrupt):
        generate(PROBLEM, 16, tmp_path, **settings)
    assert np.load(tmp_path / "done.npy").tolist() == [True, True, False, False]

    def records(problem, indices, number, seed, path):
        written.append(number)
        return whole(problem, indices, number, seed, path)

    monkeypatch.setattr(generation, "_write", records)
    generate(PROBLEM, 16, tmp_path, **settings)
    assert written == [0, 1, 2, 3]
    assert np.array_equal(np.load(tmp_path / "fields.npy"), PROBLEM.sample(16).numpy())
    generate(PROBLEM, 16, tmp_path, **settings)
    assert written == [0, 1, 2, 3]


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match="room for 8320 bytes is needed: got No space left on device"):
        generate(PROBLEM, 8, tmp_path, workers=1, dtype="float64", progress=False)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    generate(PROBLEM, 8, tmp_path, workers=1, dtype="float64", progress=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["done.npy", "facts.json", "fields.npy"]


def test_another_call_does_not_write_into_the_same_folder(tmp_path):
    generate(PROBLEM, 4, tmp_path, workers=1, progress=False)
    with pytest.raises(InputError, match=r"holds the data of another call: got seed=0;"):
        generate(PROBLEM, 4, tmp_path, seed=1, workers=1, progress=False)
    assert json.loads((tmp_path / "facts.json").read_text())["seed"] == 0


@pytest.mark.parametrize("bad", [{"count": 0}, {"count": 4, "chunk": 0}])
def test_nothing_to_write_is_refused(tmp_path, bad):
    with pytest.raises(InputError, match="at least one sample in chunks of at least one is needed: got count="):
        generate(PROBLEM, out=tmp_path, **bad)


def test_what_was_generated_can_be_read(tmp_path):
    data = pirf.read(generate(PROBLEM, 8, tmp_path, workers=1, progress=False))
    assert torch.equal(data.fields, PROBLEM.sample(8).float())
    assert data.shape == PROBLEM.shape
