"""Every layout that is read gives the same (sample, channel, *grid)."""

import h5py
import numpy as np
import pytest
import torch
from scipy.io import savemat
from toys import normal

import pirf
from pirf.errors import InputError
from pirf.scaling import Scaling

FIELDS = normal(5, 2, 6, 4).numpy()
A, U = FIELDS[:, 0], FIELDS[:, 1]


def npz(path):
    np.savez(path / "f.npz", a=A, u=U, extra=np.zeros(3))
    return path / "f.npz"


def h5(path):
    with h5py.File(path / "f.h5", "w") as file:
        file["a"], file["u"], file["x-coordinate"] = A, U, np.arange(6.0)
    return path / "f.h5"


def mat(path):
    savemat(path / "f.mat", {"a": A, "u": U})
    return path / "f.mat"


def mat73(path):
    """Version 7.3 as MATLAB writes it: HDF5 behind a header of 512 bytes, the axes reversed."""
    with h5py.File(path / "g.mat", "w", userblock_size=512) as file:
        file["a"], file["u"] = A.T, U.T
    with (path / "g.mat").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")
    return path / "g.mat"


@pytest.mark.parametrize("write", [npz, h5, mat, mat73])
def test_named_arrays_become_channels_in_the_order_asked_for(tmp_path, write):
    file = write(tmp_path)
    assert np.array_equal(pirf.read(file, ("a", "u")).fields.numpy(), FIELDS)
    assert np.array_equal(pirf.read(file, ("u", "a")).fields.numpy(), FIELDS[:, ::-1])
    assert np.array_equal(pirf.read(file, ("u",)).fields.numpy(), FIELDS[:, 1:])
    assert np.array_equal(pirf.read(file, ("a", "u"), limit=3).fields.numpy(), FIELDS[:3])
    assert pirf.read(file, ("a", "u")).scaling == Scaling.fit(torch.from_numpy(FIELDS))


def test_an_npy_file_stays_on_disk(tmp_path):
    np.save(tmp_path / "f.npy", FIELDS)
    data = pirf.read(tmp_path / "f.npy")
    assert np.array_equal(data.fields.numpy(), FIELDS)
    data.fields[0] = 0.0  # a private copy: the file is left alone
    assert np.array_equal(np.load(tmp_path / "f.npy"), FIELDS)


def test_without_names_vectors_beside_the_fields_are_left_out(tmp_path):
    assert np.array_equal(pirf.read(h5(tmp_path)).fields.numpy(), FIELDS)


def test_pdebench_coefficient_and_solution(tmp_path):
    with h5py.File(tmp_path / "darcy.hdf5", "w") as file:
        file["nu"], file["tensor"] = A.astype("f4"), U[:, None].astype("f4")
    data = pirf.read(tmp_path / "darcy.hdf5", ("nu", "tensor"))
    assert np.array_equal(data.fields.numpy(), FIELDS.astype("f4"))


def test_pdebench_space_and_time(tmp_path):
    with h5py.File(tmp_path / "burgers.h5", "w") as file:
        file["tensor"], file["t-coordinate"], file["x-coordinate"] = A, np.arange(7.0), np.arange(4.0)
    assert np.array_equal(pirf.read(tmp_path / "burgers.h5").fields.numpy(), A[:, None])


def test_pdebench_one_group_per_sample(tmp_path):
    data = normal(3, 5, 4, 4, 2).numpy()  # sample, time, grid, channel
    with h5py.File(tmp_path / "reaction.h5", "w") as file:
        for i, sample in enumerate(data):
            file[f"{i:04d}/data"] = sample
    assert np.array_equal(pirf.read(tmp_path / "reaction.h5").fields.numpy(), np.moveaxis(data, -1, 1))


def refused(match, *arguments):
    with pytest.raises(InputError, match=match) as error:
        pirf.read(*arguments)
    assert "\n" not in str(error.value)


def test_what_cannot_be_read_is_refused_in_one_line(tmp_path):
    refused("a file that ends in .*: got .*which does not exist", tmp_path / "none.h5")
    (tmp_path / "f.txt").write_text("1 2 3")
    refused("a file that ends in", tmp_path / "f.txt")
    file = h5(tmp_path)
    refused("channels among a, u are needed from f.h5: got b", file, ("a", "b"))
    refused("channels among a, u are needed from f.h5: got none", file, ())
    with h5py.File(tmp_path / "flat.h5", "w") as flat:
        flat["tensor"] = np.zeros((5, 6))
    refused(
        r"real numbers of shape \(sample, \*grid\) or .* are needed from flat.h5: got float64 of shape \(5, 6\)",
        tmp_path / "flat.h5",
    )
    with h5py.File(tmp_path / "mixed.h5", "w") as mixed:
        mixed["a"], mixed["u"] = A, np.zeros((5, 3, 3))
    refused("channels of one shape .* are needed from mixed.h5: got a .*, u", tmp_path / "mixed.h5")
    np.save(tmp_path / "whole.npy", np.zeros((3, 2, 4, 4), int))
    refused("real numbers .* are needed from whole.npy: got int64", tmp_path / "whole.npy")
    np.save(tmp_path / "f.npy", FIELDS)
    refused("an .npy file has no channel names", tmp_path / "f.npy", ("a",))


RANKS = {
    "a number": ({"a": 3.0}, None, r"got float64 of shape \(\)"),
    "a vector": ({"a": np.zeros(4)}, None, r"got float64 of shape \(4,\)"),
    "a matrix": ({"a": np.zeros((4, 5))}, None, r"got float64 of shape \(4, 5\)"),
    "vectors": ({"a": np.zeros(4), "u": np.zeros(4)}, None, r"got a \(4,\), u \(4,\)"),
    "one of two": ({"a": A, "u": np.zeros((5, 6))}, ("a", "u"), r"got a \(5, 6, 4\), u \(5, 6\)"),
    "a number asked for": ({"a": A, "nu": 3.0}, ("nu",), r"got float64 of shape \(\)"),
    "integers": ({"a": np.zeros((4, 5, 5), int)}, None, r"got int64 of shape \(4, 5, 5\)"),
    "numbers by sample": ({"0/data": 1.0, "1/data": 2.0}, None, r"every sample is needed .* got \(\)"),
    "vectors by sample": ({"0/data": np.zeros(3)}, None, r"every sample is needed .* got \(3,\)"),
    "ragged samples": ({"0/data": A, "1/data": A[1:]}, None, r"got \(4, 6, 4\) and \(5, 6, 4\)"),
}


@pytest.mark.parametrize("case", RANKS)
def test_hdf5_of_the_wrong_rank_is_refused_with_the_rank_that_it_has(tmp_path, case):
    content, channels, match = RANKS[case]
    with h5py.File(tmp_path / "f.h5", "w") as file:
        for name, value in content.items():
            file[name] = value
    refused(match, tmp_path / "f.h5", channels)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".h5", ".mat"])
def test_a_file_that_is_not_what_its_ending_says_is_refused_in_one_line(tmp_path, ending):
    (tmp_path / f"f{ending}").write_bytes(b"no such format, but long enough to have a header of its own " * 20)
    refused(rf"a readable {ending} file is needed: got .*; reading it fails", tmp_path / f"f{ending}")
