"""Files made to do harm when they are read: each would leave a marker behind, or take all memory or all time."""

import io
import pickle
import struct
import zipfile
from functools import cache

MAGIC = 0x1950A86A20F9469CFC6C
TENSOR = b"ctorch._utils\n_rebuild_tensor_v2\n"
NESTED = b"ctorch.storage\n_load_from_bytes\n"


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def binary(data):
    return b"B" + struct.pack("<I", len(data)) + data


def plain(value):
    return pickle.dumps(value, protocol=2)[2:-1]


def call(module, name, *arguments):
    """The opcodes of module.name(*arguments), every argument given by its own."""
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def dotted(module, name, *arguments):
    """The same by the opcode whose name may have dots."""
    return text(module) + text(name) + b"\x93(" + b"".join(arguments) + b"tR"


def whole(body, protocol=4):
    return b"\x80" + bytes([protocol]) + body + b"."


def storage(kind="FloatStorage", key="0", count=2, module="torch"):
    return b"(" + text("storage") + f"c{module}\n{kind}\n".encode() + text(key) + text("cpu") + plain(count) + b"Nt" + b"Q"


def older(value=None, system=None, names=None, data=b"\0" * 8, count=2):
    """A file of torch's older format, each of its parts replaceable."""
    parts = [plain(MAGIC), plain(1001), system or plain({"little_endian": True}), value or storage(), names or plain(["0"])]
    return b"".join(whole(part, 2) for part in parts) + struct.pack("<q", count) + data


def tensor(shape, stride, offset=0, hooks=b"}", held=None):
    held = call("torch.storage", "_load_from_bytes", binary(older())) if held is None else held
    return TENSOR + b"(" + held + plain(offset) + plain(shape) + plain(stride) + b"\x89" + hooks + b"tR"


def archive(entries, compression=zipfile.ZIP_STORED):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", compression) as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name), content, compression)
    return data.getvalue()


def torch_archive(body, **others):
    return archive([("model/data.pkl", whole(body, 2)), ("model/data/0", b"\0" * 8), *others.items()])


def armed(marker):
    """Files that leave the marker when the standard library reads them."""
    shell, python = text(f"touch {marker}"), text(f"open({str(marker)!r}, 'w').close()")
    attack = whole(call("posix", "system", shell), 2)
    partial = call("functools", "partial", b"cbuiltins\nprint\n")
    return {
        "os.system": whole(call("os", "system", shell)),
        "posix.system": attack,
        "a stacked global": whole(dotted("os", "system", shell)),
        "eval": whole(call("builtins", "eval", python)),
        "exec": whole(call("builtins", "exec", python)),
        "eval by its old name": whole(call("__builtin__", "eval", python), 2),
        "open": whole(call("builtins", "open", text(str(marker)), text("w"))),
        "io.open": whole(call("io", "open", text(str(marker)), text("w"))),
        "FileIO": whole(call("_io", "FileIO", text(str(marker)), text("w"))),
        "subprocess.call": whole(call("subprocess", "call", plain(["touch", str(marker)]))),
        "subprocess.check_output": whole(call("subprocess", "check_output", plain(["touch", str(marker)]))),
        "os.mkdir": whole(call("os", "mkdir", text(str(marker)))),
        "os.symlink": whole(call("os", "symlink", text("/"), text(str(marker)))),
        "os.popen": whole(dotted("os", "popen", shell) + b"0" + call("time", "sleep", plain(0.3))),
        "shutil.copyfile": whole(call("shutil", "copyfile", text("/etc/hostname"), text(str(marker)))),
        "timeit": whole(call("timeit", "timeit", python, text("pass"), b"ctime\nperf_counter\n", b"K\x01")),
        "a name with dots": whole(dotted("pathlib", "os.system", shell)),
        "a method by a name with dots": whole(dotted("pathlib", "Path.touch", call("pathlib", "Path", text(str(marker))))),
        "an allowed module's import": whole(dotted("torch.serialization", "os.system", shell)),
        "an attribute of an attribute": whole(
            call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system")) + b"(" + shell + b"tR"
        ),
        "a caller of methods": whole(
            call("operator", "methodcaller", text("system"), shell) + b"(" + call("builtins", "__import__", text("os")) + b"tR"
        ),
        "map": whole(call("builtins", "list", call("builtins", "map", b"cos\nsystem\n", b"(" + shell + b"t"))),
        "INST": whole(b"(" + shell + b"ios\nsystem\n"),
        "OBJ": whole(b"(cos\nsystem\n" + shell + b"o"),
        "NEWOBJ": whole(b"cfunctools\npartial\n(cos\nsystem\n" + shell + b"t\x81)R"),
        "BUILD": whole(partial + b"(cos\nsystem\n(" + shell + b"t}Ntb)R"),
        "a reduction in a key": whole(b"}(" + call("os", "system", shell) + b"K\x01u"),
        "a reduction that is dropped": whole(call("os", "system", shell) + b"0N"),
        "a memoised global": whole(b"cos\nsystem\nq\x000h\x00(" + shell + b"tR"),
        "pickle.loads": whole(call("pickle", "loads", binary(attack))),
        "_pickle.loads": whole(call("_pickle", "loads", binary(attack))),
        "a storage that is an attack": whole(call("torch.storage", "_load_from_bytes", binary(attack))),
        "a storage with an attack inside": whole(
            call("torch.storage", "_load_from_bytes", binary(older(value=call("posix", "system", shell))))
        ),
        "a storage whose head attacks": whole(
            call("torch.storage", "_load_from_bytes", binary(older(system=call("posix", "system", shell))))
        ),
        "a storage in a storage": whole(
            call("torch.storage", "_load_from_bytes", binary(older(value=NESTED + b"(" + binary(attack) + b"tR")))
        ),
        "a tensor whose hooks attack": whole(tensor((2,), (1,), hooks=call("os", "system", shell))),
        "torch.save": whole(call("torch", "save", b"K\x01", text(str(marker)))),
        "numpy.save": whole(call("numpy", "save", text(str(marker) + ".npy"), plain([1]))),
        "an entry of a dictionary": whole(b"ccollections\nOrderedDict\n)R(" + text("a") + call("os", "system", shell) + b"u"),
        "a chosen codec": whole(call("_codecs", "encode", text("x"), text("rot13")) + b"0" + call("os", "system", shell)),
    }


def loaded(marker):
    """Files of torch's own formats, and files that ask for what is not theirs."""
    shell = text(f"touch {marker}")
    system = call("posix", "system", shell)
    traversal = [("model/data.pkl", whole(b"N"))]
    return {
        "an archive's pickle": torch_archive(system),
        "an archive's reference": torch_archive(storage(kind="system", module="posix")),
        "an archive's missing storage": torch_archive(storage(key="7")),
        "an archive's storage by a path": torch_archive(storage(key="../../../etc/hostname")),
        "an archive's short storage": torch_archive(storage(count=2**60)),
        "a name that climbs": archive([*traversal, (f"model/../../..{marker}", b"x")]),
        "a name from the root": archive([*traversal, (str(marker), b"x")]),
        "a name with backslashes": archive([*traversal, ("model/..\\..\\x", b"x")]),
        "two pickles": archive([("model/data.pkl", whole(b"N")), ("other/data.pkl", whole(system))]),
        "no pickle": archive([("model/data/0", b"\0" * 8)]),
        "a compressed bomb": bomb(),
        "entries on top of each other": overlapping(),
        "a big-endian archive": torch_archive(storage(), **{"model/byteorder": b"big"}),
        "the older format": older(value=system),
        "the older format's head": older(system=system),
        "the older format's names": older(names=system),
        "the older format's lengths": older(count=2**61),
        "the older format's end": older(data=b"\0" * 3),
        "the older format's version": whole(plain(MAGIC), 2) + whole(plain(7), 2) + whole(b"}", 2),
        "an unknown storage": whole(
            call("torch.storage", "_load_from_bytes", binary(older(value=storage(kind="QInt8Storage"))))
        ),
        "no storage": whole(call("torch.storage", "_load_from_bytes", binary(older(value=b"N", names=b"]")[:-16]))),
        "bytes after a storage": whole(call("torch.storage", "_load_from_bytes", binary(older() + b"x"))),
        "a tensor beyond its storage": whole(tensor((2,), (1,), offset=1)),
        "a tensor with a step back": whole(tensor((2,), (-1,), offset=1)),
        "a tensor larger than its storage": whole(tensor((2**40,), (0,))),
        "a tensor of many sides": whole(tensor((1,) * 80, (0,) * 80)),
        "a tensor on text": whole(tensor((2,), (1,), held=text("x"))),
        "a persistent function": whole(
            call("torch_utils.persistence", "_reconstruct_persistent_obj", plain({"type": "function", "state": {}}))
        ),
        "an array of objects": whole(call("numpy", "dtype", text("O8"))),
        "an array that is short": whole(
            call("numpy.core.multiarray", "_reconstruct", b"cnumpy\nndarray\n", b"(K\x00t", b"C\x01b")
            + b"(K\x01" + plain((10**12,)) + call("numpy", "dtype", text("f8")) + b"\x89" + binary(b"\0" * 8) + b"tb"
        ),
        "a codec": whole(call("_codecs", "encode", text("x" * 99), text("zip"))),
        "an unhashable key": whole(b"}(]K\x01u"),
        "a nested key": whole(b"}()\x85\x85K\x01u"),
        "a state for a list": whole(b"]}b"),
        "entries for a number": whole(b"K\x01(K\x01K\x02e"),
        "a call of a text": whole(text("os.system") + b"(" + shell + b"tR"),
        "a call of what stands for a class": whole(b"ctorch.nn.modules.linear\nLinear\n(" + shell + b"tR"),
        "an extension": whole(b"\x82\x01"),
        "a reference by name": whole(b"Pos.system\n"),
        "a reference": whole(text("os.system") + b"Q"),
        "a buffer from outside": whole(b"\x97", 5),
        "a memory that is empty": whole(b"j\xff\xff\xff\xff"),
        "an empty stack": whole(b"R"),
        "a mark that is missing": whole(b"t"),
        "values that are left": whole(b"NN"),
        "nothing": b"",
        "no pickle at all": b"\x00" * 64,
        "half a pickle": whole(plain(list(range(1000))))[:500],
        "a second pickle": whole(b"N") + whole(system),
        "an archive after a pickle": whole(b"N") + torch_archive(system),
    }  # fmt: skip


def heavy():
    """Files that ask for more memory, time or depth than anything that they could be."""
    laughs = b"]q\x00" + b"".join(b"](" + b"h%c" % i * 10 + b"eq%c" % (i + 1) for i in range(20))
    tuples = b")q\x00" + b"".join(b"(" + b"h%c" % i * 10 + b"tq%c" % (i + 1) for i in range(20))
    names = b"}q\x00" + b"".join(b"}(" + b"".join(b"K%ch%c" % (k, i) for k in range(10)) + b"uq%c" % (i + 1) for i in range(20))
    long = text("x" * 100_000) + b"q\x00" + b"](" + b"h\x00" * 10_000 + b"e"
    return {
        "lists of lists of lists": whole(b"(" + laughs + b"t"),
        "tuples of tuples of tuples": whole(b"(" + tuples + b"t"),
        "dictionaries of dictionaries": whole(b"(" + names + b"t"),
        "one text many times": whole(b"(" + long + b"t"),
        "a list in itself": whole(b"]q\x00h\x00a"),
        "a deep list": whole(b"]" * 100_000 + b"a" * 99_999),
        "a deep tuple": whole(b")" + b"\x85" * 100_000),
        "marks": whole(b"(" * 200_000),
        "LONG4 of 2 GiB": whole(b"\x8b\xff\xff\xff\x7f"),
        "LONG4 below zero": whole(b"\x8b\xff\xff\xff\xff"),
        "a long integer": whole(b"\x8b" + struct.pack("<i", 10**6) + b"\x7f" * 10**6),
        "a long decimal": whole(b"L" + b"9" * 10**6 + b"L\n"),
        "BINBYTES of 4 GiB": whole(b"B\xff\xff\xff\xff"),
        "BINBYTES8 of 2⁶²": whole(b"\x8e" + struct.pack("<Q", 2**62)),
        "BINUNICODE8 of 2⁶³": whole(b"\x8d" + struct.pack("<Q", 2**63)),
        "BYTEARRAY8 of 2⁵⁰": whole(b"\x96" + struct.pack("<Q", 2**50), 5),
        "a frame of 2⁶³": b"\x80\x04\x95" + struct.pack("<Q", 2**63),
    }


@cache
def bomb():
    """Sixty-four MiB of zeros in an archive of as many KiB."""
    return archive([("model/data.pkl", whole(b"N")), ("model/data/0", bytes(1 << 26))], zipfile.ZIP_DEFLATED)


@cache
def overlapping(copies=200, size=1 << 20):
    """An archive whose central directory lists the same bytes many times."""
    data = bytearray(archive([("model/data.pkl", whole(b"N")), ("model/data/0", bytes(size))]))
    end = data.rindex(b"PK\x05\x06")
    (start,) = struct.unpack_from("<I", data, end + 16)
    directory = bytes(data[start:end])
    second = directory[directory.index(b"PK\x01\x02", 4) :]
    extra = b"".join(second.replace(b"model/data/0", b"model/dat%03d" % i) for i in range(copies))
    tail = bytearray(data[end:])
    count = 2 + copies
    struct.pack_into("<HHI", tail, 8, count, count, len(directory) + len(extra))
    return bytes(data[:end]) + extra + bytes(tail)
