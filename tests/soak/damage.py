"""A hundred ways in which a checkpoint can be other than it was written: each a function of its folder."""

import json
import shutil
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from pirf.noise import Noise
from pirf.training import checkpoints

TENSORS, STATE, MANIFEST = FILES = ("tensors.safetensors", "state.json", "manifest.json")


def draw(low, high, *address):
    """A number that belongs to this case."""
    return Noise(7).fold(*address).integers(low, high)[0]


def truncate(folder, name, left):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: int(left * len(data)) if left < 1 else -1])


def flip(folder, name, where):
    data = bytearray((folder / name).read_bytes())
    place = draw(0, len(data), name, where)
    if name == MANIFEST:  # space between the entries means nothing: a bit of what is said
        place = [i for i, byte in enumerate(data) if chr(byte) not in " \n"][place // 2]
    data[place] ^= 1 << draw(0, 8, name, where, "bit")
    (folder / name).write_bytes(bytes(data))


def blank(folder, name):
    """A page that never reached the disk."""
    data = bytearray((folder / name).read_bytes())
    start = draw(0, len(data) // 2, name, "blank")
    data[start : start + 512] = bytes(min(512, len(data) - start))
    (folder / name).write_bytes(bytes(data))


def write(folder, name, data):
    (folder / name).write_bytes(data)


def append(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes() + b"\0")


def remove(folder, name):
    (folder / name).unlink()


def be_a_folder(folder, name):
    (folder / name).unlink()
    (folder / name).mkdir()


def point_nowhere(folder, name):
    (folder / name).unlink()
    (folder / name).symlink_to("nowhere")


def before(folder):
    return sorted(folder.parent.glob("step-*"))[0]


def take(folder, name):
    """The file of the checkpoint before."""
    shutil.copy(before(folder) / name, folder / name)


def swap(folder, one, other):
    data = (folder / one).read_bytes()
    (folder / one).write_bytes((folder / other).read_bytes())
    (folder / other).write_bytes(data)


def be_empty(folder):
    for path in folder.iterdir():
        path.unlink()


def be_a_file(folder):
    shutil.rmtree(folder)
    folder.write_bytes(b"no folder")


def be_a_link(folder):
    shutil.rmtree(folder)
    folder.symlink_to("nowhere")


def be_the_one_before(folder):
    shutil.rmtree(folder)
    shutil.copytree(before(folder), folder)


def sign(folder):
    """Make the manifest agree, as whoever forges a checkpoint would."""
    (folder / MANIFEST).write_text(json.dumps({n: checkpoints.file_digest(folder / n) for n in (TENSORS, STATE)}))


def forge(folder, **changes):
    state = json.loads((folder / STATE).read_text())
    state |= {key: value for key, value in changes.items() if value is not KeyError}
    for key in [key for key, value in changes.items() if value is KeyError]:
        del state[key]
    (folder / STATE).write_text(json.dumps(state))
    sign(folder)


def say(folder, text):
    (folder / STATE).write_text(text)
    sign(folder)


def refill(folder, change):
    """Tensors of another shape of network."""
    tensors = load_file(folder / TENSORS)
    change(tensors)
    save_file(tensors, folder / TENSORS)
    sign(folder)


def retype(folder, header):
    write(folder, TENSORS, header)
    sign(folder)


GIANT, DEEP = "9" * 5000, "[" * 100_000
LIE = b'{"weight.0":{"dtype":"F64","shape":[9],"data_offsets":[0,8]}}'
DAMAGE = {
    **{f"{n} cut to {s}": partial(truncate, name=n, left=s) for n in FILES for s in (0, 0.01, 0.5, 0.9, 1)},
    **{f"a bit of {n}, {i}": partial(flip, name=n, where=i) for n, c in zip(FILES, (20, 10, 5), strict=True) for i in range(c)},
    **{f"a page of {n}": partial(blank, name=n) for n in FILES},
    **{f"more of {n}": partial(append, name=n) for n in (TENSORS, STATE)},
    **{f"no {n}": partial(remove, name=n) for n in FILES},
    **{f"{n}, a folder": partial(be_a_folder, name=n) for n in FILES},
    **{f"{n}, a link": partial(point_nowhere, name=n) for n in FILES},
    **{f"{n} of before": partial(take, name=n) for n in FILES},
    **{f"{a} and {b}": partial(swap, one=a, other=b) for a, b in ((TENSORS, STATE), (STATE, MANIFEST), (MANIFEST, TENSORS))},
    **{f"{n}, a picture": partial(write, name=n, data=b"\x89PNG\r\n\x1a\n" + bytes(99)) for n in FILES},
    **{f"{n}, a pickle": partial(write, name=n, data=b"\x80\x04N.") for n in FILES},
    **{
        f"a manifest that says {text[:24]}": partial(write, name=MANIFEST, data=text.encode())
        for text in ("[]", "3", "null", '"x"', "{}", "{", DEEP, GIANT, "1e999", f'{{"{TENSORS}": 1, "{STATE}": null}}')
    },
    "a manifest that is no text": partial(write, name=MANIFEST, data=b"\xff\xfe{}"),
    "an empty folder": be_empty,
    "that of before": be_the_one_before,
}  # fmt: skip

FORGED = {
    **{f"a state that says {text[:24]}": partial(say, text=text) for text in ("[]", "3", "null", "{}", DEEP, GIANT)},
    **{
        f"{key}: {str(value)[:24]}": partial(forge, **{key: value})
        for key, values in {
            "step": ("6", None, 6.5, 1e999, -1, 0, 10**400, True, [6], KeyError),
            "seconds": ("soon", None, float("nan"), float("inf"), -1.0, [], KeyError),
            "history": ("none", None, 3, {}, [3], [{"step": "x"}], [{}], KeyError),
            "identity": (None, 3, [], KeyError),
        }.items()
        for value in values
    },
    "a header of 2⁶² bytes": partial(retype, header=(2**62).to_bytes(8, "little")),
    "a header that lies": partial(retype, header=len(LIE).to_bytes(8, "little") + LIE + bytes(8)),
    "no tensors": partial(refill, change=lambda tensors: tensors.clear()),
    "a weight less": partial(refill, change=lambda tensors: tensors.pop("weight.0")),
    "an average less": partial(refill, change=lambda tensors: tensors.pop("average.1")),
    "another shape": partial(refill, change=lambda tensors: tensors.update({"weight.1": torch.zeros(7)})),
    "a broadcast": partial(refill, change=lambda tensors: tensors.update({"weight.1": torch.zeros(1)})),
    "another type": partial(refill, change=lambda tensors: tensors.update({"weight.1": tensors["weight.1"].int()})),
    "another optimizer": partial(refill, change=lambda tensors: tensors.update({"optimizer.99.step": torch.zeros(())})),
    "a strange name": partial(refill, change=lambda tensors: tensors.update({"optimizer.x.step": torch.zeros(())})),
}  # fmt: skip


def both_damaged(out: Path):
    """Tensors of the two checkpoints, exchanged."""
    one, other = sorted(out.glob("step-*"))[-2:]
    data = (one / TENSORS).read_bytes()
    (one / TENSORS).write_bytes((other / TENSORS).read_bytes())
    (other / TENSORS).write_bytes(data)


def names_exchanged(out: Path):
    """Both are whole, each under the other's name."""
    one, other = sorted(out.glob("step-*"))[-2:]
    one.rename(out / "aside")
    other.rename(one)
    (out / "aside").rename(other)
