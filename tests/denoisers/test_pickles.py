"""Checkpoints are read to the last bit, and no byte of them is ever run."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import crafted_files
import numpy as np
import pytest
import torch
from edm_files import SOURCE, precond, write
from torch import nn

import pirf
from pirf.denoisers.checkpoints import Record, read_checkpoint
from pirf.errors import InputError

ROOM = Path(pirf.__file__).parent / "denoisers"
BASE = torch.arange(24.0).reshape(2, 3, 4)
TENSORS = {
    "plain": BASE,
    "transposed": BASE.transpose(0, 2),
    "a part": BASE[1, 1:, ::2],
    "channels last": torch.arange(16.0).reshape(1, 4, 2, 2).contiguous(memory_format=torch.channels_last),
    "a number": torch.tensor(3.5),
    "nothing": torch.zeros(0, 3),
    "not finite": torch.tensor([float("nan"), float("inf"), -0.0]),
    **{
        str(dtype): torch.tensor([0, 1, 1]).to(dtype)
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)
    },
    "bytes": torch.tensor([0, 255], dtype=torch.uint8),
    "booleans": torch.tensor([True, False]),
}


def same(a, b):
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return (
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.contiguous().view(integers), b.contiguous().view(integers))
    )


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
def test_a_snapshot_is_read_bit_for_bit_without_its_code(protocol, tmp_path):
    network = precond()
    record = read_checkpoint(write(tmp_path / "snapshot.pkl", {"ema": network, "kimg": np.float64(1.5)}, protocol))
    assert record["kimg"] == 1.5
    actual, expected = dict(record["ema"].tensors()), network.state_dict()
    assert actual.keys() == expected.keys()
    assert all(same(actual[name], expected[name]) for name in expected)
    assert record["ema"].arguments == network._init_kwargs
    assert "SystemExit" in SOURCE  # what had been run would have ended the process


@pytest.mark.parametrize("form", ["pickle", "torch", "torch before 1.6"])
def test_tensors_of_every_kind_are_read_bit_for_bit(form, tmp_path):
    path = tmp_path / "tensors.pt"
    values = {name: nn.Parameter(tensor) if tensor.is_floating_point() else tensor for name, tensor in TENSORS.items()}
    if form == "pickle":
        path.write_bytes(pickle.dumps(values))
    else:
        torch.save(values, path, _use_new_zipfile_serialization=form == "torch")
    read = read_checkpoint(path)
    assert read.keys() == TENSORS.keys()
    assert all(same(read[name], tensor) for name, tensor in TENSORS.items())


def test_containers_are_themselves(tmp_path):
    value = {
        "numbers": (1, -(10**30), 0.1, True, None),
        "texts": ["a", "é\n", b"\x00\xff"],
        3: {"set": {1, 2}, "shape": torch.Size([2, 3]), "device": "cpu"},
        "array": np.arange(6.0).reshape(2, 3),
        "columns": np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        "scalar": np.int64(7),
        "module": nn.ModuleDict({"inner": nn.utils.skip_init(nn.Linear, 2, 3)}),
    }
    for protocol in range(1, 6):
        (tmp_path / "value.pkl").write_bytes(pickle.dumps(value, protocol))
        read = read_checkpoint(tmp_path / "value.pkl")
        for name in ("numbers", "texts", 3, "scalar"):
            assert read[name] == value[name]
        assert np.array_equal(read["array"].numpy(), value["array"])
        assert np.array_equal(read["columns"].numpy(), value["columns"])
        assert isinstance(read["module"], Record)
        assert [name for name, _ in read["module"].tensors()] == ["inner.weight", "inner.bias"]


def test_shared_storages_stay_shared(tmp_path):
    torch.save([BASE, BASE[1]], tmp_path / "shared.pt")
    whole, part = read_checkpoint(tmp_path / "shared.pt")
    whole[1, 0, 0] = -1.0
    assert float(part[0, 0]) == -1.0


MARKER = Path("/tmp/pirf-marker")  # names the cases only: every test has a marker of its own


@pytest.fixture
def marker(tmp_path):
    return str(tmp_path / "marker")


def left(folder, path):
    """What is in the folder beside the file that was read."""
    return [entry for entry in os.listdir(folder) if entry != path.name]


def refused(path, **limits):
    before = set(sys.modules)
    with pytest.raises(InputError) as refusal:
        read_checkpoint(path, **limits)
    message = str(refusal.value)
    assert message.isprintable()  # one line, and no code of a terminal in it
    assert len(message) < 600
    assert set(sys.modules) == before
    return message


@pytest.mark.parametrize("name", crafted_files.armed(MARKER))
def test_what_the_standard_library_would_run_is_refused(name, marker, tmp_path):
    path = tmp_path / "attack.pkl"
    path.write_bytes(crafted_files.armed(marker)[name])
    message = refused(path)
    assert left(tmp_path, path) == []
    assert any(reason in message for reason in ("got a global ", "got the opcode ", "to be encoded as rot13")), message


def test_the_standard_library_would_run_them(tmp_path):
    """All of these attacks are real: read by ``pickle``, each leaves its marker."""
    names = list(crafted_files.armed(MARKER))
    for number, name in enumerate(names):
        (tmp_path / f"{number}.pkl").write_bytes(crafted_files.armed(tmp_path / f"marker{number}")[name])
    victim = f"""
import os, pickle, sys, torch, timeit, pathlib
for number in range({len(names)}):
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            pickle.load(open({str(tmp_path)!r} + f"/{{number}}.pkl", "rb"))
        finally:
            os._exit(0)
    os.wait()
"""
    subprocess.run([sys.executable, "-c", victim], check=True)
    found = os.listdir(tmp_path)
    harmless = [name for number, name in enumerate(names) if not any(entry.startswith(f"marker{number}") for entry in found)]
    assert harmless == []


@pytest.mark.parametrize("name", crafted_files.loaded(MARKER))
def test_what_is_no_tensor_is_refused(name, marker, tmp_path):
    path = tmp_path / "attack.pt"
    path.write_bytes(crafted_files.loaded(marker)[name])
    message = refused(path)
    assert left(tmp_path, path) == []
    assert "no answer" not in message, message


@pytest.mark.parametrize("name", crafted_files.heavy())
def test_what_is_too_much_is_refused(name, tmp_path):
    path = tmp_path / "attack.pkl"
    path.write_bytes(crafted_files.heavy()[name])
    message = refused(path)
    assert left(tmp_path, path) == []
    assert "no answer" not in message, message


def test_memory_and_time_have_limits(tmp_path):
    path = tmp_path / "attack.pkl"
    path.write_bytes(crafted_files.whole(b"]" * 4_000_000))
    assert "got content that asks for more than 128 MiB of memory" in refused(path, memory=0.125, seconds=20)
    path.write_bytes(crafted_files.whole(b"N0" * 20_000_000 + b"N"))
    assert "got content that takes long; it" in refused(path, seconds=1)


def test_the_process_can_do_nothing_else(tmp_path):
    """Its limits and its last defence, which no file has reached: here the process itself tries."""
    marker = tmp_path / "marker"
    tried = f"""
import os, subprocess, sys
sys.path.append({str(ROOM)!r})
from pickles import worker
worker._limit(2**31, 10)
for attempt in (lambda: open({str(marker)!r}, "w"), lambda: bytearray(2**32), lambda: os.write(3, b"x")):
    try:
        attempt()
    except (OSError, MemoryError) as error:
        print(type(error).__name__, end=" ")
sys.addaudithook(worker._deny)
for attempt in (lambda: os.system("touch {marker}"), lambda: eval("1"), lambda: __import__("wave"), lambda: open("x")):
    try:
        attempt()
    except worker.Refused as refusal:
        print(refusal, end=" ")
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", tried], capture_output=True, text=True, check=True)
    assert done.stdout.split(" an attempt to ") == ["OSError MemoryError OSError", "os.system", "compile", "import", "open "]
    assert not marker.exists()


def test_damage_is_refused_or_read_and_never_run(tmp_path):
    """Single wrong bytes, thousands where PIRF_SOAK says so: none makes the reader ask its process for anything."""
    path = write(tmp_path / "snapshot.pkl", {"ema": precond(channel_mult=[1], augment_dim=0), "array": np.arange(3.0)})
    torch.save({"a": BASE, "b": [BASE[0]]}, tmp_path / "new.pt")
    torch.save({"a": BASE, "b": [BASE[0]]}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    rounds = int(os.environ.get("PIRF_SOAK", "150"))
    tried = f"""
import random, sys
sys.path.append({str(ROOM)!r})
from pickles import worker
files = [open(name, "rb").read() for name in {[str(path), *(str(tmp_path / name) for name in ("new.pt", "old.pt"))]!r}]
sys.addaudithook(worker._deny)
chance, read, refused, attempts = random.Random(0), 0, 0, []
for number in range({rounds}):
    data = bytearray(files[number % len(files)])
    for _ in range(chance.choice((1, 1, 3))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    try:
        worker.pack(worker.content(bytes(data)))
        read += 1
    except Exception as error:
        refused += 1
        attempts += [str(error)] if "attempt" in str(error) else []
print(read, refused, *sorted(set(attempts)), sep="|")
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", tried], capture_output=True, text=True, check=True)
    read, refusals, *attempts = done.stdout.strip().split("|")
    assert attempts == []
    assert int(read) > 0 < int(refusals)  # both happen: the damage is real, and most of a file is numbers


@pytest.mark.parametrize("header", [(2**62).to_bytes(8, "little"), (10**8).to_bytes(8, "little") + b"{" * 64, b"\x10"])
def test_giant_headers_of_weights_are_refused_in_one_line(header, tmp_path):
    folder = pirf.save(pirf.UNet((1, 4, 4), channels=4, multipliers=(1,), attention=()), tmp_path / "model")
    (folder / "weights.safetensors").write_bytes(header)
    with pytest.raises(InputError, match=r"weights\.safetensors is needed") as refusal:
        pirf.load(folder)
    assert str(refusal.value).isprintable()
    assert "this is none of what tensors" in refused(folder / "weights.safetensors")


@pytest.mark.parametrize(("name", "found"), [("nowhere.pkl", "nothing"), ("", "no file")])
def test_what_is_no_file_is_refused(name, found, tmp_path):
    with pytest.raises(InputError, match=f"got {found};"):
        read_checkpoint(tmp_path / name)
