"""Damaged, foreign and forged checkpoints, and disks that are full: found out, said in one line, and the one before is used."""

import errno
import json
import shutil
from pathlib import Path

import pytest
from soak import damage, runs
from soak.operations import ALLOCATING, Operations
from soak.worker import digest, timeless

from pirf.errors import InputError
from pirf.training import checkpoints


@pytest.fixture
def save_always(monkeypatch):
    runs.save_always(monkeypatch.setattr)


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A run that ended, its folder, and what it gave."""
    with pytest.MonkeyPatch.context() as patch:
        runs.save_always(patch.setattr)
        out = tmp_path_factory.mktemp("lived") / "out"
        parameters, history = runs.RUNS["last steps"](out)
    return out, (digest(enumerate(parameters)), timeless(history)), identity_of(newest(out))


def identity_of(folder):
    return json.loads((folder / damage.STATE).read_text())["identity"]


def again(out):
    parameters, history = runs.RUNS["last steps"](out)
    return digest(enumerate(parameters)), timeless(history)


@pytest.fixture
def out(lived, tmp_path):
    return Path(shutil.copytree(lived[0], tmp_path / "out"))


def newest(out):
    return sorted(out.glob("step-*"))[-1]


def whole(out, identity):
    """Every checkpoint there is whole, and there is nothing else."""
    assert [p.name for p in sorted(out.iterdir())] == ["step-000000005", "step-000000006"]
    assert checkpoints.latest(out, identity).state["step"] == 6


@pytest.mark.parametrize("name", damage.DAMAGE)
def test_damage_is_found_and_costs_an_update_but_no_bits(name, lived, out, save_always, caplog, count):
    damage.DAMAGE[name](newest(out))
    assert checkpoints.latest(out, lived[2]).state["step"] == 5
    (line,) = caplog.messages
    assert line.isprintable()
    assert "step-000000006 is unreadable" in line
    caplog.clear()
    assert again(out) == lived[1]
    assert len(caplog.messages) == 1
    count("corruptions")
    caplog.clear()
    whole(out, lived[2])
    assert caplog.messages == []


@pytest.mark.parametrize("thing", [damage.be_a_file, damage.be_a_link])
def test_what_is_no_folder_is_passed_over(thing, lived, out, caplog, count):
    thing(newest(out))
    assert checkpoints.latest(out, lived[2]).state["step"] == 5
    assert len(caplog.messages) == 1
    count("corruptions")


@pytest.mark.parametrize("name", damage.FORGED)
def test_a_forged_checkpoint_is_refused_or_passed_over(name, lived, out, save_always, caplog, count):
    """Its manifest agrees with it: what is in it does not fit, and says so in a line before any weight has moved."""
    damage.FORGED[name](newest(out))
    try:
        ended, said = again(out), caplog.messages
        assert len(said) == 1
    except InputError as refusal:
        ended, said = lived[1], [str(refusal)]
    assert ended == lived[1]
    assert said[0].isprintable()
    assert any(reason in said[0] for reason in ("step-000000006 is unreadable", "a checkpoint of")), said[0]
    count("corruptions")


@pytest.mark.parametrize("both", [damage.both_damaged, damage.names_exchanged])
def test_where_both_are_damaged_the_run_begins_again(both, lived, out, save_always, caplog, count):
    both(out)
    assert checkpoints.latest(out, lived[2]) is None
    assert len(caplog.messages) == 2
    assert again(out) == lived[1]
    count("corruptions")


def test_a_whole_one_outlives_damaged_ones_that_are_newer(lived, out, save_always, caplog):
    """What is dropped is counted from the one that was written: two newer ones that are damaged do not displace it."""
    for step in (7, 8):
        (out / f"step-{step:09d}").mkdir()
    shutil.rmtree(newest(out).parent / "step-000000006")
    assert again(out) == lived[1]
    whole(out, lived[2])


def test_that_of_another_run_is_refused(lived, out):
    with pytest.raises(InputError, match="holds a checkpoint of another run") as refusal:
        checkpoints.latest(out, "another")
    assert str(refusal.value).isprintable()


def no_room():
    raise OSError(errno.ENOSPC, "No space left on device")


def count_writes(out):
    with Operations(only=ALLOCATING) as watch:
        write(out, 2)
    return watch.count


def write(out, step):
    network = runs.Tiny()
    parameters = list(network.parameters())
    optimizer = runs.torch.optim.Adam(parameters)
    average = [p.detach().clone() for p in parameters]
    return checkpoints.save(out, "me", step, 1.0, parameters, average, optimizer, [{"step": step, "loss": 0.5}])


def test_a_disk_that_is_full_at_any_write_costs_that_checkpoint_alone(tmp_path, count):
    """At every one of them in turn; afterwards there is room again."""
    write(tmp_path / "0", 1)
    calls = count_writes(tmp_path / "0")
    assert calls >= 10
    refusals = []
    for number in range(1, calls + 1):
        out = tmp_path / str(number)
        write(out, 1)
        try:
            with Operations(number, no_room, ALLOCATING):
                write(out, 2)
        except OSError as error:
            refusals.append(str(error))
        names = [p.name for p in sorted(out.iterdir())]
        assert names in (["step-000000001"], ["step-000000001", "step-000000002"])
        assert checkpoints.latest(out, "me").state["step"] == len(names)
        write(out, 3)
        assert checkpoints.latest(out, "me").state["step"] == 3
        count("full disks")
    assert all(line.isprintable() and "No space left" in line for line in refusals)
    assert len(refusals) >= calls - 4  # what is dropped after a checkpoint is complete may fail unheard


@pytest.mark.parametrize("name", ["last steps", "learned value"])
@pytest.mark.parametrize("limit", [0, 100, 2500])
def test_a_file_that_may_not_grow_ends_the_run_in_a_line_and_it_goes_on_later(worker, tmp_path, count, name, limit):
    """RLIMIT_FSIZE: the system itself refuses, in the middle of a write."""
    goes_on(worker, tmp_path, name, limit=limit)
    count("full disks")


@pytest.mark.parametrize("name", ["last steps", "stored prefixes"])
@pytest.mark.parametrize("pages", [1, 4, 8])
def test_a_disk_of_a_few_pages_ends_the_run_in_a_line_and_it_goes_on_later(worker, tmp_path, count, name, pages):
    """A file system of that size, where the system lets us have one."""
    if not goes_on(worker, tmp_path, name, pages=pages):
        pytest.skip("this machine lets nobody mount one")
    count("full disks")


def goes_on(worker, folder, name, **room):
    lived = worker.run(name, folder / "lived")
    answer = worker.run(name, folder / "out", **room)
    if answer["refused"] == "no file system":
        return False
    assert answer["ended"]  # rather than killed, by SIGBUS, say
    assert answer["refused"].startswith("InputError")
    assert "room for" in answer["refused"]
    assert all("could not be written" in line for line in answer["warning"])
    assert all(line.isprintable() for line in (answer["refused"], *answer["warning"]))
    assert answer["result"] == lived["result"]
    return True


@pytest.mark.parametrize("how", ["cut", "flipped", "missing", "a manifest less", "of another run"])
def test_damaged_prefix_states_are_made_again(how, tmp_path, save_always, count):
    out, other = tmp_path / "out", tmp_path / "other"
    parameters, history = runs.RUNS["stored prefixes"](out)
    lived = digest(enumerate(parameters)), timeless(history)
    states, manifest = sorted(p for p in (out / "prefixes").iterdir())
    data = bytearray(states.read_bytes())
    data[len(data) // 3] ^= 1
    if how == "of another run":
        runs.tuned(runs.stored, gradient=runs.LastSteps(2), spill=True, seed=1)(other)
        shutil.copy(other / "prefixes" / states.name, states)
        shutil.copy(other / "prefixes" / manifest.name, manifest)
    elif how == "missing":
        states.unlink()
    elif how == "a manifest less":
        manifest.unlink()
    else:
        states.write_bytes(bytes(data) if how == "flipped" else bytes(data[:-8]))
    for folder in out.glob("step-*"):
        shutil.rmtree(folder)
    parameters, history = runs.RUNS["stored prefixes"](out)
    assert (digest(enumerate(parameters)), timeless(history)) == lived
    count("corruptions")
