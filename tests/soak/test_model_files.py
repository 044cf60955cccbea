"""Models whose safetensors file is crafted or damaged: refused in one line, or read; nothing is written."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch

import pirf
from pirf.errors import InputError

ROUNDS = 300 if "PIRF_SOAK" in os.environ else 20


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape=(1,), begin=0, end=4, dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


HEADERS = {
    "nothing": b"",
    "a length alone": (8).to_bytes(8, "little"),
    "a length of 2⁶³": (2**63).to_bytes(8, "little") + b"{}",
    "a length of 2⁶⁴ − 1": (2**64 - 1).to_bytes(8, "little") + b"{}",
    "a length beyond the file": (100).to_bytes(8, "little") + b"{}",
    "no object": packed(b"[]"),
    "no JSON": packed(b"{" * 64),
    "deep JSON": packed(b'{"a":' * 100_000),
    "no text": packed(b"\xff\xfe{}"),
    "no tensors": packed({}),
    "a tensor beyond the file": packed({"a": entry(end=4096, shape=(1024,))}, bytes(4)),
    "a tensor of 2⁶² numbers": packed({"a": entry(shape=(2**31, 2**31))}, bytes(4)),
    "an end before the beginning": packed({"a": entry(begin=4, end=0)}, bytes(4)),
    "a negative offset": packed({"a": entry(begin=-4)}, bytes(4)),
    "a negative side": packed({"a": entry(shape=(-1,))}, bytes(4)),
    "overlapping tensors": packed({"a": entry(), "b": entry()}, bytes(4)),
    "a hole": packed({"a": entry(), "b": entry(begin=8, end=12)}, bytes(12)),
    "bytes that are no tensor's": packed({"a": entry()}, bytes(64)),
    "an unknown type": packed({"a": entry(dtype="O8")}, bytes(4)),
    "a type that is a number": packed({"a": {**entry(), "dtype": 3}}, bytes(4)),
    "a shape that is text": packed({"a": {**entry(), "shape": "1"}}, bytes(4)),
    "one offset": packed({"a": {**entry(), "data_offsets": [0]}}, bytes(4)),
    "a path for a name": packed({"../../../tmp/x": entry()}, bytes(4)),
    "metadata that is no text": packed({"__metadata__": {"a": [1]}, "a": entry()}, bytes(4)),
    "a name twice": packed(b'{"a":' + json.dumps(entry()).encode() + b',"a":' + json.dumps(entry()).encode() + b"}", bytes(4)),
    "a pickle": b"\x80\x04cos\nsystem\n(X\x04\x00\x00\x00exittR.",
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    model = pirf.UNet((1, 4, 4), channels=4, multipliers=(1,), attention=())
    return Path(pirf.save(model, tmp_path_factory.mktemp("saved") / "model"))


@pytest.fixture
def folder(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "model"))


def read(folder):
    """Whether it could be read; all else is a refusal of one line."""
    before = sorted(p for p in folder.parent.rglob("*"))
    model, line = None, "read"
    try:
        model = pirf.load(folder)
    except InputError as refusal:
        line = str(refusal)
    assert line.isprintable()
    assert len(line) < 1000
    assert sorted(p for p in folder.parent.rglob("*")) == before
    return model


@pytest.mark.parametrize("name", HEADERS)
def test_crafted_weights_are_refused(name, folder, count):
    (folder / "weights.safetensors").write_bytes(HEADERS[name])
    assert read(folder) is None
    count("crafted safetensors")


def test_damaged_weights_are_refused_or_read(saved, folder, count):
    """Wrong bytes in the header and anywhere."""
    whole, chance, refused = (saved / "weights.safetensors").read_bytes(), random.Random(3), 0
    header = 8 + int.from_bytes(whole[:8], "little")
    for number in range(ROUNDS):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 3))):
            data[chance.randrange(header if number % 4 else len(data))] = chance.randrange(256)
        (folder / "weights.safetensors").write_bytes(bytes(data[: chance.randrange(len(data)) if number % 10 == 9 else None]))
        model = read(folder)
        refused += model is None
        assert model is None or isinstance(model, torch.nn.Module)
    assert refused > ROUNDS // 2
    count("crafted safetensors", ROUNDS)
