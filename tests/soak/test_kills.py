"""SIGKILL anywhere: every checkpoint that was complete is there and whole, and the run ends with the bits of one that lived."""

import os
import random

import pytest
from soak.worker import digest, timeless

from pirf.training import checkpoints

LONG = "PIRF_SOAK" in os.environ
NAMES = ["pretrain", "last steps", "learned value", "stored prefixes"]
OTHERS = ["bowl", "pidm", "pbfm", "pg_diffusion"]
WANTED = 32 if LONG else 5  # kills of each


def read(out, identity):
    """Update, tensors and history of the newest checkpoint."""
    found = checkpoints.latest(out, identity)
    return (
        None
        if found is None
        else (found.state["step"], digest(sorted(found.tensors.items())), timeless(found.state["history"]))
    )


@pytest.fixture(scope="module")
def whole(worker, tmp_path_factory):
    """Runs that nobody stopped: what they gave, and what is in their newest checkpoint."""
    known = {}

    def lived(name):
        if name not in known:
            out = tmp_path_factory.mktemp("whole")
            answer = worker.run(name, out)
            known[name] = answer, read(out, answer["begun"][0][0])
        return known[name]

    return lived


class Run:
    """One folder, in which a run is killed again and again."""

    def __init__(self, worker, whole, name, folder):
        self.worker, self.name, self.out, self.folder = worker, name, folder / "out", folder
        self.lived, self.end = whole(name)
        self.identity = self.lived["begun"][0][0]
        self.saved, self.begun = set(), set()
        self.kills, self.inside = 0, 0

    def kill(self, **when):
        """Whether it died; what it had completed is there, and whole."""
        answer = self.worker.run(self.name, self.out, **when)
        self.saved |= set(answer["saved"])
        self.begun |= {step for _, step in answer["begun"]}
        self.kills += answer["killed"]
        self.inside += answer["killed"] and answer["inside"]
        assert answer["warning"] == []
        self.check()
        return answer["killed"]

    def check(self):
        folders = sorted(self.out.glob("step-*"))
        assert len(folders) >= min(len(self.saved), 2)
        for folder in folders:
            alone = self.folder / "alone"
            alone.mkdir()
            (alone / folder.name).symlink_to(folder)
            assert read(alone, self.identity)[0] == int(folder.name.removeprefix("step-"))
            (alone / folder.name).unlink()
            alone.rmdir()
        if self.saved:
            assert max(self.saved) <= read(self.out, self.identity)[0] <= max(self.begun | self.saved)
        self.saved |= {int(folder.name.removeprefix("step-")) for folder in folders}

    def finish(self):
        answer = self.worker.run(self.name, self.out)
        assert answer["warning"] == []
        assert answer["result"] == self.lived["result"]
        assert read(self.out, self.identity) == self.end
        assert {p.name for p in self.out.iterdir()} - {"prefixes"} == {p.name for p in sorted(self.out.glob("step-*"))[-2:]}


@pytest.mark.parametrize("finished", [False, True], ids=["a run", "a finished run, again"])
def test_a_save_may_end_before_any_of_its_system_calls(worker, whole, tmp_path, count, finished):
    """Every one of them in a soak, one in eleven otherwise; every second death leaves a file half written."""
    calls, kills = whole("bowl")[0]["operations"], 0
    for number in range(1, calls + 1, 1 if LONG else 11):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = Run(worker, whole, "bowl", folder)
        if finished:
            run.finish()
            run.saved = {run.end[0]}
        if not run.kill(operation=number, torn=number % 2 == 0):
            break
        assert run.inside == 1
        run.finish()
        kills += 1
    assert kills == len(range(1, calls + 1, 1 if LONG else 11)) if not finished else kills > 0
    count("kills", kills)
    count("kills inside a save", kills)


@pytest.mark.parametrize("name", NAMES + (OTHERS if LONG else []))
def test_a_run_may_die_anywhere_and_again(worker, whole, tmp_path, count, name):
    """Three deaths a run, at a random moment or before a random system call of its saves."""
    chance, kills, inside, turn = random.Random(name), 0, 0, 0
    while kills < WANTED and turn < 4 * WANTED:
        folder = tmp_path / str(turn)
        folder.mkdir()
        run = Run(worker, whole, name, folder)
        for _ in range(3):
            if chance.random() < 0.6:
                run.kill(after=chance.random() * run.lived["seconds"])
            else:
                run.kill(operation=chance.randint(1, run.lived["operations"]), torn=chance.random() < 0.5)
        run.finish()
        kills, inside, turn = kills + run.kills, inside + run.inside, turn + 1
    assert kills >= WANTED
    assert 4 * inside >= kills
    count("kills", kills)
    count("kills inside a save", inside)
