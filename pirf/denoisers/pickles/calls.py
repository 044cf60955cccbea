r"""What a pickle may name: the functions that stand for it here, and the values that they make.

==============================================  ====================================================================
``torch._utils._rebuild_tensor_v2``             a :class:`View` into a storage, inside its bounds
``torch._utils._rebuild_parameter``             the same
``torch.storage._load_from_bytes``              one :class:`Storage`, read by :mod:`~pirf.denoisers.pickles.formats`
``…persistence._reconstruct_persistent_obj``    an :class:`Object`: the name of its class and its state, no code
classes of ``torch.nn.modules`` in a list       the same
arrays and scalars of ``numpy``                 views and numbers
containers of the standard library              themselves
==============================================  ====================================================================
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple, final

__all__ = [
    "CALLS",
    "INERT",
    "SIZES",
    "STORAGES",
    "Array",
    "Dtype",
    "Name",
    "Object",
    "Refused",
    "Storage",
    "View",
    "filled",
    "key_of",
    "mapping",
    "text_of",
    "unordered",
]

SIZES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
STORAGES = {
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32", "Short": "I16",
    "Char": "I8", "Byte": "U8", "Bool": "BOOL",
}  # fmt: skip
_NUMPY = {"f8": "F64", "f4": "F32", "f2": "F16", "i8": "I64", "i4": "I32", "i2": "I16", "i1": "I8", "u1": "U8", "b1": "BOOL"}
_SCALARS = {"F64": "<d", "F32": "<f", "F16": "<e", "I64": "<q", "I32": "<i", "I16": "<h", "I8": "<b", "U8": "<B", "BOOL": "<?"}
_MODULES = {
    *(f"container.{name}" for name in ("ModuleDict", "ModuleList", "Sequential")),
    *("linear.Linear", "linear.Identity", "conv.Conv2d", "normalization.GroupNorm", "dropout.Dropout", "activation.SiLU"),
}
INERT = {
    *(("torch", f"{name}Storage") for name in STORAGES),
    *(("torch", name) for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
    *((f"torch.nn.modules.{module}", name) for module, name in (entry.split(".") for entry in _MODULES)),
    *(("numpy", "ndarray"), ("builtins", "object"), ("__builtin__", "object")),
    *(("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor")),
}


class Refused(Exception):
    """What was met and is not followed, as a noun."""


class Name(NamedTuple):
    """A global of a pickle; nothing ever looks it up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@final
class Storage:
    """Numbers of one type in a row; where a file has them after its pickle, ``data`` comes later."""

    def __init__(self, dtype: str, count: int, data: memoryview | None = None) -> None:
        self.dtype, self.count, self.data = dtype, count, data
        if data is not None:
            self.fill(data)

    def fill(self, data: memoryview) -> None:
        """Its bytes."""
        if len(data) != self.count * SIZES[self.dtype]:
            raise Refused(f"a storage of {self.count} numbers in {len(data)} bytes")
        self.data = data


class View(NamedTuple):
    """A tensor: where its entries stand in a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Object(NamedTuple):
    """An instance of a class that is not here: its name, a digest of the code that came with it, and its state."""

    kind: str
    code: str
    state: dict[str, Any]


@final
class Dtype:
    """``numpy.dtype``, of plain numbers."""

    def __init__(self, code: Any, *_: Any) -> None:
        if text_of(code) not in _NUMPY:
            raise Refused(f"numpy's type {code}")
        self.code = _NUMPY[code]


@final
class Array:
    """An array whose shape and bytes are still to come."""

    def __init__(self, *_: Any) -> None:
        self.view: View | None = None


def view_of(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> View:
    """``_rebuild_tensor_v2``: what reaches beyond its storage, or is larger than it, is refused."""
    numbers = (offset, *shape, *stride)
    sane = len(numbers) < 64 and all(type(n) is int and 0 <= n < 1 << 62 for n in numbers)
    if not isinstance(storage, Storage) or len(shape) != len(stride) or not sane:
        raise Refused("a tensor without a storage, a shape and strides")
    count = math.prod(shape)
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True)) if count else offset - 1
    if count > storage.count or last >= storage.count:
        raise Refused(f"a tensor of shape {tuple(shape)} in a storage of {storage.count} numbers")
    return View(storage, offset, tuple(shape), tuple(stride))


def _parameter(tensor: Any, *_: Any) -> View:
    if type(tensor) is not View:
        raise Refused("a parameter that is no tensor")
    return tensor


def _persistent(meta: Any) -> Object:
    """An object that came with its class's source: that is hashed, so that the card can name it, and dropped."""
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("state"), dict | None):
        raise Refused("a persistent object without a class and a state")
    source = meta.get("module_src")
    digest = hashlib.sha256(source.encode("utf-8", "replace")).hexdigest() if isinstance(source, str) else ""
    return Object(text_of(meta.get("class_name")), digest, dict(meta["state"] or {}))


def text_of(value: Any) -> str:
    """The value, if it is a text."""
    if not isinstance(value, str):
        raise Refused(f"a {type(value).__name__} in the place of a name")
    return value


def _bytes(text: Any, encoding: Any) -> bytes:
    """How old protocols write bytes."""
    if text_of(encoding) not in ("latin1", "latin-1"):
        raise Refused(f"a text to be encoded as {encoding}")
    return text_of(text).encode("latin1")


def _device(kind: Any, index: Any = 0) -> str:
    return f"{text_of(kind)}:{int(index)}"


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise Refused("a numpy scalar without a type and bytes")
    return struct.unpack(_SCALARS[dtype.code], data)[0]


def mapping(pairs: Any = ()) -> dict[Any, Any]:
    """A dictionary of plain keys."""
    return {key_of(key): value for key, value in (pairs.items() if isinstance(pairs, dict) else pairs)}


def unordered(items: Any = ()) -> set[Any]:
    """A set of plain keys."""
    return {key_of(item) for item in items}


def key_of(value: Any) -> Any:
    """Keys whose hash and comparison run none but the interpreter's own code, in a time that their size bounds."""
    if value is not None and type(value) not in (str, int, float, bool, bytes):
        raise Refused(f"a {type(value).__name__} as a key")
    return value


def filled(version: Any, shape: Any, dtype: Any, fortran: Any, data: Any) -> View:
    """The state of an array: of numbers, row by row or column by column."""
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        raise Refused("an array of other than numbers")
    stride = [1]
    for n in shape if fortran else reversed(shape):
        stride.append(stride[-1] * max(n, 1))
    storage = Storage(dtype.code, math.prod(shape), memoryview(data))
    return view_of(storage, 0, shape, stride[:-1] if fortran else stride[-2::-1])


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> View:
    """An array as protocol 5 writes it."""
    return filled(1, shape, dtype, order == "F", data)


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): view_of,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent,
    ("torch", "Size"): lambda items=(): tuple(items),
    ("torch", "device"): _device,
    ("collections", "OrderedDict"): mapping,
    ("dnnlib.util", "EasyDict"): mapping,
    ("builtins", "set"): unordered,
    ("__builtin__", "set"): unordered,
    ("_codecs", "encode"): _bytes,
    ("numpy", "dtype"): Dtype,
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
