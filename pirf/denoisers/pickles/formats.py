"""What stands around the pickles: torch's two formats, and a storage inside a pickle."""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

from .calls import CALLS, SIZES, STORAGES, Name, Refused, Storage, text_of
from .machine import Calls, Machine

__all__ = ["content"]

MAGIC = 0x1950A86A20F9469CFC6C  # what a file of torch's older format begins with


def identified(key: Any) -> tuple[str, str, int]:
    """What a reference to a storage says: its dtype, its name and its length."""
    if type(key) is tuple and len(key) in (5, 6) and key[0] == "storage" and type(key[1]) is Name and key[5:] in ((), (None,)):
        dtype = STORAGES.get(key[1].name.removesuffix("Storage"))
        if dtype is not None and type(key[4]) is int and key[4] >= 0:
            return dtype, text_of(key[2]), key[4]
    raise Refused("a reference that is no storage")


def _older(stream: io.BytesIO, calls: Calls | None = None) -> Any:
    """The format of torch before 1.6, after its magic number: three pickles and the bytes of the storages."""
    storages: dict[str, Storage] = {}

    def storage(key: Any) -> Storage:
        dtype, name, count = identified(key)
        return storages.setdefault(name, Storage(dtype, count))

    version, machine = (Machine(stream).run() for _ in range(2))
    if version != 1001 or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Refused("a version of torch's format, or an order of bytes, that is not known")
    value = Machine(stream, calls, storage).run()
    names = Machine(stream).run()
    if not isinstance(names, list) or len(names) != len(storages) or {text_of(name) for name in names} != storages.keys():
        raise Refused("storages other than those that are referred to")
    for name in names:
        (count,) = struct.unpack("<q", stream.read(8))
        if count != storages[name].count:
            raise Refused(f"a storage of {count} numbers in the place of {storages[name].count}")
        length = count * SIZES[storages[name].dtype]
        storages[name].fill(stream.getbuffer()[stream.tell() : stream.tell() + length])
        stream.seek(length, io.SEEK_CUR)
    return value


def _nested(data: Any) -> Storage:
    """``_load_from_bytes``: a file inside the file, which may hold one storage and name nothing but its type."""
    if not isinstance(data, bytes):
        raise Refused("a storage that is not in bytes")
    stream = io.BytesIO(data)
    value = _older(stream) if Machine(stream).run() == MAGIC else None
    if type(value) is not Storage or stream.read(1):
        raise Refused("bytes that are other than one storage")
    return value


def _archive(stream: io.BytesIO) -> Any:
    """The format of torch since 1.6: a pickle and one file per storage in an archive that compresses nothing."""
    with zipfile.ZipFile(stream) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        root = pickles[0].partition("/")[0] if len(pickles) == 1 else ""
        for name, entry in entries.items():
            if not name.startswith(f"{root}/") or ".." in name.split("/") or "\\" in name:
                raise Refused(f"an entry {name} outside one folder")
            if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
                raise Refused(f"an entry {name} that is compressed or encrypted")
        if not root or len(entries) != len(archive.infolist()):
            raise Refused("an archive without one data.pkl and names of its own for each entry")
        if sum(entry.file_size for entry in entries.values()) > len(stream.getbuffer()):
            raise Refused("an archive whose entries are larger than itself")
        if f"{root}/byteorder" in entries and archive.read(f"{root}/byteorder") != b"little":
            raise Refused("storages that are not little-endian")
        storages: dict[str, Storage] = {}

        def storage(key: Any) -> Storage:
            dtype, name, count = identified(key)
            if name not in storages:
                if f"{root}/data/{name}" not in entries:
                    raise Refused(f"a storage {name} that is not in the archive")
                storages[name] = Storage(dtype, count, memoryview(archive.read(f"{root}/data/{name}")))
            return storages[name]

        return Machine(io.BytesIO(archive.read(pickles[0])), _ALL, storage).run()


_ALL = {**CALLS, ("torch.storage", "_load_from_bytes"): _nested}


def content(data: bytes) -> Any:
    """What a file of these bytes holds: containers, numbers, texts, and values of :mod:`~pirf.denoisers.pickles.calls`."""
    stream = io.BytesIO(data)
    if data.startswith(b"PK\x03\x04"):
        return _archive(stream)
    value = Machine(stream, _ALL).run()
    value = _older(stream, _ALL) if value == MAGIC else value
    if stream.read(1):
        raise Refused("bytes after its end")
    return value
