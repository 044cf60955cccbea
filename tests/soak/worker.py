"""A warm process that forks one training run per request: a run can then be killed for the price of a fork.

``python worker.py`` reads requests from its input, a line of JSON each, and answers with a line of JSON.
"""

import ctypes
import hashlib
import json
import logging
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import contextmanager
from pathlib import Path


class Worker:
    """The other side: the warm process as the tests see it."""

    def __init__(self):
        room = Path(__file__).parent
        places = os.pathsep.join([str(room.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
        one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "soak.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | one | {"PYTHONPATH": places},
        )

    def run(self, name, out, **request):
        """Run it in that folder; ``after`` so many seconds it is killed, or before system call ``operation`` of its saves."""
        print(json.dumps({"name": name, "out": str(out), **request}), file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        if answer["error"]:
            raise RuntimeError(answer["error"])
        return answer

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.kill()
        self.process.wait()


def digest(tensors):
    """Of all bits, in order."""
    found = hashlib.sha256()
    for name, tensor in tensors:
        found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        found.update(tensor.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def timeless(history):
    """A history without what no two runs have in common."""
    return [{key: value for key, value in record.items() if key != "seconds"} for record in history]


_NEW_USER, _NEW_MOUNTS, _REMOUNT = 0x10000000, 0x00020000, 32
LISTS, SINGLE = ("begun", "saved", "warning"), ("operations", "result", "error", "refused")


def train(request, say):
    """One run, in a process of its own, with its saves watched."""
    from soak.operations import Operations, die
    from soak.runs import RUNS

    from pirf.training import checkpoints

    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[Told(say)])
    out, at = Path(request["out"]), request.get("operation")
    watch = Operations(at, lambda: die(out if request.get("torn") else None))
    save = checkpoints.save

    def watched(*arguments, **options):
        say("begun", [arguments[1], arguments[2]])
        with watch:
            save(*arguments, **options)
        say("saved", arguments[2])
        say("operations", watch.count)

    checkpoints.save = watched
    with cramped(out, request, say) as full:
        try:
            RUNS[request["name"]](out) if full else None
        except Exception as refusal:
            say("refused", f"{type(refusal).__name__}: {refusal}")
    parameters, history = RUNS[request["name"]](out)
    say("result", [digest(enumerate(parameters)), timeless(history)])


@contextmanager
def cramped(out, request, say):
    """Files of ``limit`` bytes or a disk of ``pages`` for the time of the block, none where nothing of it is asked for."""
    if (limit := request.get("limit")) is not None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        yield True
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    elif (pages := request.get("pages")) is not None:
        out.mkdir()
        libc, place = ctypes.CDLL(None), (b"none", str(out).encode(), b"tmpfs")
        user, group = os.getuid(), os.getgid()
        try:  # namespaces of our own, of mounts and of a user who may mount: both are gone with this process
            mounted = libc.unshare(_NEW_USER | _NEW_MOUNTS) == 0
            for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
                Path(f"/proc/self/{name}").write_text(text)
            mounted = mounted and libc.mount(*place, 0, f"size={pages * 4096}".encode()) == 0
        except OSError:
            mounted = False
        if not mounted:
            say("refused", "no file system")
            os._exit(0)
        yield True
        libc.mount(*place, _REMOUNT, b"size=64m")
    else:
        yield False


class Told(logging.Handler):
    """Warnings become part of the answer."""

    def __init__(self, say):
        super().__init__()
        self.say = say

    def emit(self, record):
        self.say("warning", record.getMessage())


def answer(request):
    """Fork, listen, kill if that is asked for, and say what happened."""
    reading, writing = os.pipe()
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os.close(reading)

        def say(kind, what):
            os.write(writing, (json.dumps([kind, what]) + "\n").encode())

        try:
            train(request, say)
        except BaseException:
            say("error", traceback.format_exc())
        os._exit(0)
    os.close(writing)
    after, pieces = request.get("after"), []
    while True:
        left = None if after is None else max(0.0, after - (time.perf_counter() - began))
        if not select.select([reading], [], [], left)[0]:
            os.kill(child, signal.SIGKILL)
            after = None
        elif piece := os.read(reading, 1 << 16):
            pieces.append(piece)
        else:
            break
    seconds = time.perf_counter() - began
    os.close(reading)
    _, status = os.waitpid(child, 0)
    heard = [json.loads(line) for line in b"".join(pieces).splitlines(keepends=True) if line.endswith(b"\n")]
    of = {k: [what for kind, what in heard if kind == k] for k in (*LISTS, *SINGLE)}
    return {
        "killed": os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL,
        "ended": os.WIFEXITED(status),
        "inside": len(of["begun"]) > len(of["saved"]),
        "seconds": seconds,
        **{kind: of[kind] for kind in LISTS},
        **{kind: of[kind][-1] if of[kind] else None for kind in SINGLE},
    }


def main():
    from soak import runs
    from tqdm.auto import tqdm

    tqdm.monitor_interval = 0  # its thread
    tqdm.set_lock(threading.RLock())  # its own is one for all forks: one that is killed while it holds it stops the others
    runs.save_always()
    for warm in ("bowl", "pretrain"):  # what torch imports at the first update is there for all forks
        runs.RUNS[warm](None)
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        raise SystemExit(f"{len(threads)} threads: what a fork does would depend on the others")
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
