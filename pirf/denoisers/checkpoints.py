r"""Checkpoints of other libraries (``.pkl``, ``.pt``, ``.pth``) as tensors and plain containers; no code of theirs is run.

The file is read by :mod:`pirf.denoisers.pickles` in a process of its own, with a limit on memory and on processor time and
without the right to open, write or start anything.  What comes back is JSON and safetensors.
"""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import attrs
from safetensors.torch import load
from torch import Tensor

from pirf.errors import InputError

__all__ = ["Record", "printable", "read_checkpoint"]

_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from pickles.worker import main; main(int(sys.argv[2]), int(sys.argv[3]))"


@final
@attrs.frozen(eq=False)
class Record:
    """An object whose class is not here: the name of its class, a digest of the code that came with it, its state."""

    kind: str
    code: str
    state: Mapping[Any, Any] = attrs.field(repr=False)

    def part(self, name: str) -> Mapping[Any, Any]:
        """A part of the state that is a dictionary; empty where there is none."""
        found = self.state.get(name)
        return found if isinstance(found, dict) else {}

    @property
    def arguments(self) -> Mapping[Any, Any]:
        """By which it was made, where its library writes them down."""
        return self.part("_init_kwargs")

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers of a module and all in it, by the names that its ``state_dict`` has."""
        for name, tensor in [*self.part("_parameters").items(), *self.part("_buffers").items()]:
            if isinstance(tensor, Tensor):
                yield f"{prefix}{name}", tensor
        for name, module in self.part("_modules").items():
            if isinstance(module, Record):
                yield from module.tensors(f"{prefix}{name}.")


def read_checkpoint(path: str | Path, *, memory: float = 2.0, seconds: float = 10.0) -> Any:
    """What a file holds: containers, numbers, texts, tensors, and a :class:`Record` for any other object it may hold.

    ``memory`` (GiB) and ``seconds`` (of processor time) are what the reading process may use.  Tensors that share their
    storage in the file share it here.
    """
    path = Path(path)
    if not path.is_file():
        raise _refused(path, "nothing" if not path.exists() else "no file", "there is nothing to read", "the path of a file")
    answer = _answer(path, int(memory * 2**30), max(1, round(seconds)))
    length = int.from_bytes(answer[:8], "little")
    head = json.loads(answer[8 : 8 + length])
    if "refused" in head:
        why = "it is read without running any of it, and this is none of what tensors and plain containers are made of"
        raise _refused(path, head["refused"], why, "a file from a source you trust, saved as tensors (a state_dict) alone")
    storages = load(answer[8 + length :])
    return _value(head["value"], [storages[str(number)] for number in range(len(storages))])


def _answer(path: Path, memory: int, seconds: int) -> bytes:
    """The bytes that the reading process sends."""
    limits = [str(Path(__file__).parent), str(memory), str(seconds)]
    more = f"seconds={6 * seconds}, if you trust where it is from"
    try:
        with path.open("rb") as file:
            done = subprocess.run(
                [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, *limits],
                stdin=file,
                capture_output=True,
                timeout=6 * seconds,  # by the clock: other work on the machine is no fault of the file
                check=False,
            )
    except subprocess.TimeoutExpired:
        raise _refused(path, "content that takes long", f"it was not read within {6 * seconds} s", more) from None
    except OSError as error:
        raise _refused(path, "a file that cannot be opened", str(error), "a readable file") from error
    if done.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise _refused(path, "content that takes long", f"it asks for more than {seconds} s of processor time", more)
    if done.returncode or len(done.stdout) < 8:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        why = f"the process that reads it ended with {done.returncode} {' '.join(last)[:120]}"
        raise _refused(path, "no answer", why, "memory=8, if you trust where it is from")
    return done.stdout


def _value(node: Any, storages: list[Tensor]) -> Any:
    if not isinstance(node, list):
        return node
    tag, parts = node[0], node[1:]
    if tag == "tensor":
        number, offset, shape, stride = parts
        return storages[number].as_strided(shape, stride, offset)
    if tag == "object":
        return Record(parts[0], parts[1], _value(parts[2], storages))
    if tag == "dict":
        return {_value(key, storages): _value(item, storages) for key, item in parts}
    if tag == "bytes":
        return base64.b64decode(parts[0])
    if tag == "name":
        return parts[0]
    items = [_value(item, storages) for item in parts]
    return {"list": list, "tuple": tuple, "set": set}[tag](items)


def _refused(path: Path, met: str, why: str, hint: str) -> InputError:
    return InputError(f"a checkpoint of tensors is needed from {path.name}", got=met, why=why, hint=hint)


def printable(text: str) -> str:
    """A text from a file, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "?" for c in text)
