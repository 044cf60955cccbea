"""The machine that follows a pickle's opcodes: a stack, its marks, and a memory."""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, final

from .calls import INERT, STORAGES, Array, Dtype, Name, Object, Refused, Storage, filled, key_of, mapping, text_of, unordered

__all__ = ["Calls", "Machine"]

Calls = Mapping[tuple[str, str], Callable[..., Any]]

_PUSHED = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE", "BINUNICODE"),
    *("SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}


@final
class Machine:
    """The stack, the marks and the memo; ``run`` follows one pickle up to its end and no byte further.

    ``calls`` are the functions that it may name; without any it may name the types of storages, and nothing else.
    """

    def __init__(self, stream: BinaryIO, calls: Calls | None = None, storage: Callable[[Any], Storage] | None = None) -> None:
        self.stream, self.calls, self.storage = stream, calls or {}, storage
        self.known = INERT | self.calls.keys() if calls else {("torch", f"{kind}Storage") for kind in STORAGES}
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """The value that the pickle builds."""
        for opcode, argument, _ in pickletools.genops(self.stream):
            name = opcode.name
            if name in _PUSHED:
                if type(argument) is int and argument.bit_length() > 1024:
                    raise Refused(f"an integer of {argument.bit_length()} bits")
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                self.stack.append(_EMPTY[name]())
            elif name == "STOP":
                break
            elif name not in ("PROTO", "FRAME"):
                method: Callable[[Any], None] | None = getattr(self, f"_op_{name.lower()}", None)
                if method is None:
                    raise Refused(f"the opcode {name}")
                method(argument)
        if len(self.stack) != 1 or self.below:
            raise Refused("a pickle that leaves other than one value")
        return self.stack.pop()

    def _marked(self) -> list[Any]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise Refused("a pickle that takes what is not there")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _top(self, kind: type) -> Any:
        if not self.stack or type(self.stack[-1]) is not kind:
            raise Refused(f"entries for what is no {kind.__name__}")
        return self.stack[-1]

    def _op_bytearray8(self, argument: bytearray) -> None:
        self.stack.append(bytes(argument))

    def _op_mark(self, _: Any) -> None:
        self.below.append(self.stack)
        self.stack = []

    def _op_pop(self, _: Any) -> None:
        self._take(1) if self.stack else self._marked()

    def _op_pop_mark(self, _: Any) -> None:
        self._marked()

    def _op_dup(self, _: Any) -> None:
        self.stack += self._take(1) * 2

    def _op_tuple(self, _: Any) -> None:
        items = self._marked()
        self.stack.append(tuple(items))

    def _op_list(self, _: Any) -> None:
        items = self._marked()
        self.stack.append(items)

    def _op_dict(self, _: Any) -> None:
        items = self._marked()
        self.stack.append(mapping(zip(items[::2], items[1::2], strict=True)))

    def _op_tuple1(self, _: Any) -> None:
        self.stack.append(tuple(self._take(1)))

    def _op_tuple2(self, _: Any) -> None:
        self.stack.append(tuple(self._take(2)))

    def _op_tuple3(self, _: Any) -> None:
        self.stack.append(tuple(self._take(3)))

    def _op_append(self, _: Any) -> None:
        (item,) = self._take(1)
        self._top(list).append(item)

    def _op_appends(self, _: Any) -> None:
        items = self._marked()
        self._top(list).extend(items)

    def _op_setitem(self, _: Any) -> None:
        key, value = self._take(2)
        self._top(dict)[key_of(key)] = value

    def _op_setitems(self, _: Any) -> None:
        items = self._marked()
        self._top(dict).update(mapping(zip(items[::2], items[1::2], strict=True)))

    def _op_additems(self, _: Any) -> None:
        items = self._marked()
        self._top(set).update(unordered(items))

    def _op_frozenset(self, _: Any) -> None:
        items = self._marked()
        self.stack.append(unordered(items))

    def _op_put(self, index: int) -> None:
        (value,) = self._take(1)
        self.stack.append(value)
        self.memo[index] = value

    _op_binput = _op_long_binput = _op_put

    def _op_memoize(self, _: Any) -> None:
        self._op_put(len(self.memo))

    def _op_get(self, index: int) -> None:
        if index not in self.memo:
            raise Refused(f"a memory {index} that nothing was put into")
        self.stack.append(self.memo[index])

    _op_binget = _op_long_binget = _op_get

    def _op_global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._named(module, name)

    def _op_stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        self._named(text_of(module), text_of(name))

    def _named(self, module: str, name: str) -> None:
        if (module, name) not in self.known:
            raise Refused(f"a global {module}.{name}")
        self.stack.append(Name(module, name))

    def _op_reduce(self, _: Any) -> None:
        function, arguments = self._take(2)
        self._called(function, arguments)

    def _op_newobj(self, _: Any) -> None:
        kind, arguments = self._take(2)
        self._made(kind, arguments)

    def _op_newobj_ex(self, _: Any) -> None:
        kind, arguments, named = self._take(3)
        self._made(kind, (*arguments, named) if named else arguments)

    def _called(self, function: Any, arguments: Any) -> None:
        if type(function) is not Name or type(arguments) is not tuple:
            raise Refused(f"a call of a {type(function).__name__}")
        if str(function) in ("copyreg._reconstructor", "copy_reg._reconstructor"):
            self._made(arguments[0], arguments[3:])
        elif function in self.calls:
            self.stack.append(self.calls[function](*arguments))
        else:
            raise Refused(f"a call of {function}")

    def _made(self, kind: Any, arguments: Any) -> None:
        """A new instance: of a listed class of torch it has a state and nothing else."""
        if type(kind) is Name and kind.module.startswith("torch.nn.modules.") and arguments == ():
            self.stack.append(Object(kind.name, "", {}))
        else:
            self._called(kind, arguments)

    def _op_build(self, _: Any) -> None:
        """The state of an object; what torch and Python note on the side of their dictionaries is dropped."""
        (state,) = self._take(1)
        target = self.stack[-1] if self.stack else None
        if type(target) is Object and isinstance(state, dict):
            target.state.update(state)
        elif type(target) is Dtype and isinstance(state, tuple):
            if state[1] == ">" or state[2] is not None:
                raise Refused("a numpy type that is not little-endian and plain")
        elif type(target) is Array:
            target.view = filled(*state)
        elif not (type(target) is dict and isinstance(state, dict)):
            raise Refused(f"a state for a {type(target).__name__}")

    def _op_binpersid(self, _: Any) -> None:
        (key,) = self._take(1)
        if self.storage is None:
            raise Refused("a reference to something outside the file")
        self.stack.append(self.storage(key))
