"""Files give the batches that an array of the same samples gives, bit for bit, and touch nothing else."""

import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_close
from toys import normal, tiny_unet

import pirf
from pirf.data import Conditional, Conditioned, Fields, Source, Stored
from pirf.data.rows import Rows, evenly
from pirf.data.shards import Plain
from pirf.data.stored import fit
from pirf.errors import InputError
from pirf.scaling import Scaling

FIELDS = normal(11, 2, 3, 4).numpy()
A, U = FIELDS[:, 0], FIELDS[:, 1]


def npy(folder, array=FIELDS, name="fields.npy"):
    np.save(folder / name, array)
    return folder / name


def shards(folder):
    return [npy(folder, part, f"part{i}.npy") for i, part in enumerate(np.split(FIELDS, [4, 5]))]


def hdf5(folder, channels=None, **options):
    with h5py.File(folder / "f.h5", "w", userblock_size=512) as file:
        for name, array in (channels or {"tensor": FIELDS}).items():
            file.create_dataset(name, data=array, **options)
        file["t-coordinate"] = np.arange(12.0)
    return folder / "f.h5"


# Layout → (what Stored is told, the array that it holds).
LAYOUTS = {
    "one file": lambda f: ((npy(f),), FIELDS),
    "its name": lambda f: ((str(npy(f)),), FIELDS),
    "a folder": lambda f: ((npy(f).parent,), FIELDS),
    "shards": lambda f: ((shards(f),), FIELDS),
    "single": lambda f: ((npy(f, FIELDS.astype("f4")),), FIELDS.astype("f4")),
    "half": lambda f: ((npy(f, FIELDS.astype("f2")),), FIELDS.astype("f2").astype("f4")),
    "big-endian": lambda f: ((npy(f, FIELDS.astype(">f8")),), FIELDS),
    "big-endian half": lambda f: ((npy(f, FIELDS.astype(">f2")),), FIELDS.astype("f2").astype("f4")),
    "HDF5": lambda f: ((hdf5(f),), FIELDS),
    "big-endian HDF5": lambda f: ((hdf5(f, {"tensor": FIELDS.astype(">f4")}),), FIELDS.astype("f4")),
    "chunked HDF5": lambda f: ((hdf5(f, chunks=(3, 2, 3, 2)),), FIELDS),
    "compressed HDF5": lambda f: ((hdf5(f, compression="gzip"),), FIELDS),
    "npy and HDF5": lambda f: (([npy(f, FIELDS[:6]), hdf5(f, {"tensor": FIELDS[6:]})],), FIELDS),
    "one channel": lambda f: ((hdf5(f, {"tensor": A}),), FIELDS[:, :1]),
    "channel axis of one": lambda f: ((hdf5(f, {"tensor": U[:, None]}),), FIELDS[:, 1:]),
}
NAMED = {
    "by name": ({"nu": A, "tensor": U}, {}, ("nu", "tensor"), [0, 1]),
    "the other way": ({"nu": A, "tensor": U}, {}, ("tensor", "nu"), [1, 0]),
    "all": ({"nu": A, "tensor": U}, {}, None, [0, 1]),
    "PDEBench": ({"nu": A, "tensor": U[:, None]}, {}, ("nu", "tensor"), [0, 1]),
    "chunked": ({"nu": A, "tensor": U[:, None]}, {"chunks": True}, ("nu", "tensor"), [0, 1]),
    "one of them": ({"nu": A, "tensor": U}, {}, ("tensor",), [1]),
}


def same(stored, fields):
    assert stored.shape == fields.shape
    assert len(stored) == len(fields.fields)
    assert stored.scaling == fields.scaling
    for seed, start, count in ((0, 0, 11), (3, 5, 4), (3, 9, 30), (7, 40, 1)):
        ours, theirs = stored.sample(count, seed, start), fields.sample(count, seed, start)
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_batches_of_the_array(tmp_path, layout):
    told, array = LAYOUTS[layout](tmp_path)
    same(Stored(*told), Fields(torch.from_numpy(array)))


@pytest.mark.parametrize("case", NAMED)
def test_datasets_become_channels_as_in_read(tmp_path, case):
    content, options, channels, order = NAMED[case]
    file = hdf5(tmp_path, content, **options)
    same(Stored(file, channels=channels), Fields(torch.from_numpy(FIELDS[:, order])))
    same(Stored(file, channels=channels), pirf.read(file, channels))


@given(st.integers(0, 100), st.integers(0, 60), st.integers(1, 40))
def test_any_part_of_the_stream_is_that_of_the_array(tmp_path_factory, seed, start, count):
    folder = tmp_path_factory.mktemp("set")
    told = {"first": torch.from_numpy(FIELDS[:, 0, 0, 0]), "a": torch.from_numpy(2 * FIELDS)}
    files = {"first": npy(folder, FIELDS[:, 0, 0, 0], "c.npy"), "a": [npy(folder, 2 * FIELDS, "a.npy")]}
    stored = Stored(shards(folder), conditions=files)
    fields = Fields(torch.from_numpy(FIELDS), conditions=told)
    assert torch.equal(stored.sample(count, seed, start), fields.sample(count, seed, start))
    ours, theirs = stored.condition(count, seed, start), fields.condition(count, seed, start)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_generated_folder_is_a_set(tmp_path):
    problem = pirf.problems.poisson(8)
    folders = [pirf.generate(problem, 5, tmp_path / str(s), seed=s, workers=1, progress=False) for s in (1, 2)]
    whole = torch.cat([problem.sample(5, s).float() for s in (1, 2)])
    same(Stored(folders, problem.scaling), Fields(whole, problem.scaling))


def test_it_is_a_source(tmp_path):
    stored = Stored(npy(tmp_path))
    assert isinstance(stored, Source)
    assert isinstance(stored, Conditioned)
    assert stored.condition(3) == {}
    told, fields = Conditional(stored, {"a": [0]}), Conditional(Fields(torch.from_numpy(FIELDS)), {"a": [0]})
    assert torch.equal(told.sample(5, 2, 8), fields.sample(5, 2, 8))
    assert torch.equal(told.condition(5, 2, 8)["a"], fields.condition(5, 2, 8)["a"])


def test_training_is_the_same_bit_for_bit(tmp_path):
    fields, numbers = normal(9, 1, 8, 8), normal(9)
    np.save(tmp_path / "c.npy", numbers.numpy())
    stored = Stored(npy(tmp_path, fields.numpy()), conditions={"c": tmp_path / "c.npy"})
    models = [
        pirf.pretrain(
            source,
            tiny_unet((1, 8, 8), conditions=pirf.inputs_for(source.condition(9))),
            steps=4,
            batch=5,
            progress=False,
        )
        for source in (stored, Fields(fields, conditions={"c": numbers}))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


# What is read, and when.


@pytest.fixture
def read(monkeypatch):
    """Numbers of the samples that were read, by file."""
    seen, whole = [], Plain.read

    def recorded(self, rows):
        seen.extend((self.path.name, row) for row, _ in rows)
        whole(self, rows)

    monkeypatch.setattr(Plain, "read", recorded)
    return seen


def test_a_batch_reads_its_rows_in_the_order_of_the_files(tmp_path, read):
    stored = Stored(shards(tmp_path), Scaling.identity(2))
    assert read == []
    stored.sample(6, 1, 3)
    rows = sorted(stored._epochs.rows(6, 1, 3).tolist())
    places = [("part0.npy", i) for i in range(4)] + [("part1.npy", 0)] + [("part2.npy", i) for i in range(6)]
    assert read == [places[row] for row in rows]


def test_all_rows_of_a_batch_are_announced_before_the_first_is_read(tmp_path, read, monkeypatch):
    told, announce = [], Plain.announce

    def recorded(self, numbers):
        assert read == []
        told.extend((self.path.name, row) for row in numbers)
        announce(self, numbers)

    monkeypatch.setattr(Plain, "announce", recorded)
    stored = Stored([hdf5(tmp_path, {"a": A, "u": U}), *shards(tmp_path)], Scaling.identity(2))
    stored.sample(22)
    assert sorted(told) == sorted(read)
    assert len(told) == 33  # of the samples with two datasets, each


def test_the_scaling_and_the_name_of_a_run_come_from_a_few_samples(tmp_path, read):
    file = npy(tmp_path, normal(9000, 1, 2).numpy())
    stored = Stored(file)
    assert read == [("fields.npy", i * 9000 // 4096) for i in range(4096)]
    read.clear()
    assert repr(stored).startswith("Stored(<9000×1×2 float64 ")
    assert read == [("fields.npy", i * 9000 // 64) for i in range(64)]


@pytest.mark.parametrize("together", [1, 24, 100, 10**6])
@pytest.mark.parametrize("most", [1, 2, 5, 11, 100])
def test_merged_moments_are_those_of_all(tmp_path, most, together):
    rows = Rows((Plain(npy(tmp_path, FIELDS + 100), FIELDS.shape, FIELDS.dtype, 128),))
    expected = Scaling.fit(torch.from_numpy(FIELDS[evenly(11, most)] + 100))
    found = fit(rows, most, together)
    assert_close(torch.tensor(found.shift), torch.tensor(expected.shift))
    assert_close(torch.tensor(found.scale, dtype=torch.float64), torch.tensor(expected.scale, dtype=torch.float64))


@given(st.integers(1, 10**12), st.integers(1, 5000))
def test_evenly_spaced_numbers(size, most):
    numbers = evenly(size, most)
    assert len(numbers) == min(size, most)
    assert numbers[0] == 0
    assert numbers[-1] < size
    steps = np.diff(numbers)
    assert len(steps) == 0 or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_spoiled_sample_is_named_when_it_is_read(tmp_path, value):
    files = shards(tmp_path)
    np.load(files[2], mmap_mode="r+")[3, 1, 2, 2] = value
    stored = Stored(files, Scaling.identity(2))
    for start in range(11):
        if stored._epochs.rows(1, 0, start)[0] == 8:
            with pytest.raises(InputError, match=rf"NaN or infinity in sample 3 of {files[2]}"):
                stored.sample(1, 0, start)
        else:
            assert stored.sample(1, 0, start).isfinite().all()
    with pytest.raises(InputError, match="NaN or infinity in sample 3"):
        Stored(files)


def test_numbers_whose_sum_overflows_are_finite(tmp_path):
    stored = Stored(npy(tmp_path, np.full((3, 1, 4), 3e38, np.float32)), Scaling.identity(1))
    assert torch.equal(stored.sample(3), torch.full((3, 1, 4), 3e38))


def test_a_spoiled_condition_is_named_when_it_is_read(tmp_path):
    told = np.arange(11.0)
    told[7] = np.nan
    stored = Stored(npy(tmp_path), conditions={"c": npy(tmp_path, told, "c.npy")})
    stored.sample(11)
    with pytest.raises(InputError, match=r"NaN or infinity in sample 7 of .*c\.npy"):
        stored.condition(11)


def test_a_run_knows_its_data_by_content_wherever_it_lies(tmp_path):
    names = []
    for i, (array, told) in enumerate([(FIELDS, A), (FIELDS, A), (-FIELDS, A), (FIELDS, -A), (FIELDS.astype("f4"), A)]):
        (tmp_path / str(i)).mkdir()
        file = npy(tmp_path / str(i), array)
        names.append(repr(Stored(file, conditions={"a": npy(tmp_path / str(i), told, "a.npy")})))
        names.append(repr(Stored(file, conditions={"a": told})))
    assert names[:2] == names[2:4]
    assert len(set(names)) == 8


def test_it_travels_to_another_process_without_its_samples(tmp_path):
    stored = Stored(npy(tmp_path, normal(500, 2, 8).numpy()))
    stored.sample(3)
    data = pickle.dumps(stored)
    assert len(data) < 10_000
    assert torch.equal(pickle.loads(data).sample(7, 1, 2), stored.sample(7, 1, 2))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
def test_no_file_stays_open(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    stored = Stored([npy(tmp_path, FIELDS[:2], f"{i}.npy") for i in range(40)] + [hdf5(tmp_path, chunks=True)])
    stored.sample(91)
    assert len(os.listdir("/proc/self/fd")) == before


# What is refused, in one line.


def unfinished(folder):
    problem = pirf.problems.poisson(8)
    pirf.generate(problem, 5, folder, chunk=2, workers=1, progress=False)
    done = np.lib.format.open_memmap(folder / "done.npy", "r+")
    done[1] = False
    done.flush()
    return folder


def groups(folder):
    with h5py.File(folder / "g.h5", "w") as file:
        file["0000/data"] = A
    return folder / "g.h5"


def garbage(folder, name):
    (folder / name).write_bytes(b"no such format, but long enough to have a header of its own " * 20)
    return folder / name


def truncated(folder):
    file = npy(folder)
    os.truncate(file, file.stat().st_size - 8)
    return file


def torn(folder):
    garbage(folder, "done.npy")
    return npy(folder)


BAD = {
    "nothing": (lambda f: Stored([]), "files of one precision and one shape .* got none"),
    "missing": (lambda f: Stored(f / "none.npy"), "a file that ends in .*none.npy', which does not exist"),
    "a text": (lambda f: Stored(garbage(f, "f.txt")), "a file that ends in .npy, .h5, .hdf5 is needed"),
    "an empty folder": (lambda f: Stored(f), "which does not exist; .*glob"),
    "unfinished": (lambda f: Stored(unfinished(f)), r"all samples of .*fields\.npy are needed: got 2 of 3 chunks; .*resumes"),
    "its file": (lambda f: Stored(unfinished(f) / "fields.npy"), "all samples of .* got 2 of 3 chunks"),
    "unfinished, read": (lambda f: pirf.read(unfinished(f)), "all samples of .* got 2 of 3 chunks"),
    "torn record": (lambda f: Stored(torn(f)), "a readable .npy file is needed"),
    "torn record, read": (lambda f: pirf.read(torn(f)), "a readable .npy file is needed"),
    "garbage": (lambda f: Stored(garbage(f, "f.npy")), "a readable .npy file is needed: got .*reading it fails"),
    "garbage HDF5": (lambda f: Stored(garbage(f, "f.h5")), "a readable .h5 file is needed: got .*reading it fails"),
    "truncated": (lambda f: Stored(truncated(f)), "a readable .npy file is needed"),
    "integers": (lambda f: Stored(npy(f, np.zeros((3, 2, 4), int))), r"real numbers, .* got fields.npy with int64 \(3, 2, 4\)"),
    "complex": (lambda f: Stored(npy(f, np.zeros((3, 2, 4), complex))), "real numbers, .* complex128"),
    "too precise": (lambda f: Stored(npy(f, np.zeros((3, 2, 4), np.longdouble))), "real numbers, .* float128"),
    "a matrix": (lambda f: Stored(npy(f, A[:, 0])), r"real numbers, \(sample, channel, \*grid\).* got .* \(11, 4\)"),
    "no samples": (lambda f: Stored(npy(f, FIELDS[:0])), "are needed: got "),
    "Fortran order": (lambda f: Stored(npy(f, np.asfortranarray(FIELDS))), "one after another are needed: got Fortran order"),
    "two shapes": (lambda f: Stored([npy(f, FIELDS), npy(f, A, "a.npy")]), r"of one .* got fields.npy .* a.npy with float64"),
    "two precisions": (lambda f: Stored([npy(f), npy(f, FIELDS.astype("f4"), "a.npy")]), "of one precision"),
    "names in npy": (lambda f: Stored(npy(f), channels=("a",)), r"an .npy file has no channel names: got \('a',\)"),
    "groups": (lambda f: Stored(groups(f)), "datasets with all samples are needed from g.h5: got one group for every sample"),
    "no such dataset": (lambda f: Stored(hdf5(f), channels=("b",)), "channels among tensor are needed from f.h5: got b"),
    "unequal channels": (lambda f: Stored(hdf5(f, {"a": A, "u": U[:7]})), "one shape .* a float64 .*, u float64"),
    "a number": (lambda f: Stored(hdf5(f, {"a": 3.0}), channels=("a",)), "real numbers"),
    "a vector": (lambda f: Stored(hdf5(f), channels=("t-coordinate",)), "real numbers"),
    "told too few": (lambda f: Stored(npy(f), conditions={"c": np.zeros(7)}), r"one for each of 11 samples, .* shape \(7,\)"),
    "told in another file": (
        lambda f: Stored(npy(f), conditions={"c": npy(f, np.zeros((7, 2)), "c.npy")}),
        r"condition 'c', one for each of 11 samples, are needed: got shape \(7, 2\)",
    ),
    "told NaN": (lambda f: Stored(npy(f), conditions={"c": np.full(11, np.nan)}), "with NaN or infinity"),
    "told a list": (lambda f: Stored(npy(f), conditions={"c": [1.0] * 11}), "condition 'c', .* got a list"),
    "told strings": (lambda f: Stored(npy(f), conditions={"c": np.full(11, "a")}), "condition 'c', .* got a ndarray"),
    "told nothing": (lambda f: Stored(npy(f), conditions={"c": f / "c.npy"}), "c.npy', which does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_a_set_is_refused_in_one_line(tmp_path, case):
    call, match = BAD[case]
    with pytest.raises(InputError, match=match) as error:
        call(tmp_path)
    assert "\n" not in str(error.value)


def test_a_file_cut_short_under_a_run_is_one_line(tmp_path):
    stored = Stored(npy(tmp_path))
    os.truncate(stored.paths[0], stored.paths[0].stat().st_size - 8)
    with pytest.raises(InputError, match=r"11 samples are needed in .*fields.npy: got an end within sample 10;"):
        stored.sample(11)
