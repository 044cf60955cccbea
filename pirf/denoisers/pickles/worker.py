"""The process that reads: a file comes in as its standard input, a tree and the storages go out.

Before it looks at the first byte it gives up memory, processor time and the right to open, write and start anything.  What
goes out is the length of a JSON text, the text, and the storages in the safetensors format: nothing that can be run.
"""

from __future__ import annotations

import base64
import codecs
import json
import os
import sys
from typing import Any, final

from .calls import Name, Object, Refused, Storage, View
from .formats import content

__all__ = ["Packed", "main", "pack"]

DEEPEST, ENTRIES, CHARACTERS = 100, 1 << 19, 1 << 26
"""Containers inside containers, entries, and characters of texts: shared parts could multiply beyond all memory."""

for _encoding in ("cp437", "raw-unicode-escape"):  # of names in archives, and of texts in the first protocol
    codecs.lookup(_encoding)  # its module, which could not be imported any more

_DENIED = ("open", "import", "exec", "compile", "os.", "subprocess.", "socket.", "ctypes.", "shutil.", "marshal.", "pickle.")


@final
class Packed:
    """A value as JSON, ``[tag, parts…]`` for all but numbers, texts and None, and the storages that it views."""

    def __init__(self, value: Any) -> None:
        self.storages: list[Storage] = []
        self._index: dict[int, int] = {}
        self._entries, self._characters = ENTRIES, CHARACTERS
        self.tree = self._node(value, 0)

    def _node(self, value: Any, depth: int) -> Any:
        kind = type(value)
        self._entries -= 1
        self._characters -= len(value) if kind in (str, bytes) else 0
        if depth > DEEPEST:
            raise Refused(f"containers {DEEPEST} deep")
        if min(self._entries, self._characters) < 0:
            raise Refused(f"more than {ENTRIES} entries or {CHARACTERS} characters")
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is bytes:
            return ["bytes", base64.b64encode(value).decode("ascii")]
        if kind is Name:
            return ["name", str(value)]
        if kind is View:
            return ["tensor", self._number(value.storage), value.offset, value.shape, value.stride]
        if kind is Object:
            return ["object", value.kind, value.code, self._node(value.state, depth + 1)]
        if kind is dict:
            return ["dict", *([self._node(key, depth + 1), self._node(item, depth + 1)] for key, item in value.items())]
        if kind in (list, tuple, set):
            return [kind.__name__, *(self._node(item, depth + 1) for item in value)]
        if view := getattr(value, "view", None):  # an array of numpy
            return self._node(view, depth)
        raise Refused(f"a {kind.__name__} where a value should be")

    def _number(self, storage: Storage) -> int:
        if storage.data is None:
            raise Refused("a storage without its bytes")
        if id(storage) not in self._index:
            self._index[id(storage)] = len(self.storages)
            self.storages.append(storage)
        return self._index[id(storage)]


def pack(value: Any) -> list[bytes | memoryview]:
    """What is sent for a value, piece by piece."""
    packed = Packed(value)
    header, start = {}, 0
    for number, storage in enumerate(packed.storages):
        end = start + len(storage.data or b"")
        header[str(number)] = {"dtype": storage.dtype, "shape": [storage.count], "data_offsets": [start, end]}
        start = end
    heads = [json.dumps(part).encode() for part in ({"value": packed.tree}, header)]
    heads[1] += b" " * (-len(heads[1]) % 8)
    pieces = [piece for head in heads for piece in (len(head).to_bytes(8, "little"), head)]
    return [*pieces, *(storage.data for storage in packed.storages if storage.data is not None)]


def _refusal(met: str) -> list[bytes | memoryview]:
    head = json.dumps({"refused": "".join(c if c.isprintable() else "?" for c in met[:160])}).encode()
    return [len(head).to_bytes(8, "little"), head]


def _deny(event: str, _: object) -> None:
    """Nothing in these files does any of this; if a fault in them ever did, it would end here."""
    if event.startswith(_DENIED):
        raise Refused(f"an attempt to {event}")


def _limit(memory: int, seconds: int) -> None:
    import resource

    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),  # no file can be opened any more; standard input and output are
    ):
        hard = resource.getrlimit(what)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (most, most))


def main(memory: int, seconds: int) -> None:
    """Read standard input within ``memory`` bytes and ``seconds`` of processor time, and answer."""
    _limit(memory, seconds)
    sys.addaudithook(_deny)
    try:
        answer = pack(content(sys.stdin.buffer.read()))
    except Refused as refusal:
        answer = _refusal(str(refusal))
    except MemoryError:
        answer = _refusal(f"content that asks for more than {memory >> 20} MiB of memory")
    except Exception as error:
        answer = _refusal(f"damaged content ({type(error).__name__}: {error})")
    for piece in answer:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    os._exit(0)
