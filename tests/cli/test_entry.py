"""One entry point: what may be said is listed, what is refused is one line, and the process is a process."""

import subprocess
import sys

import pytest

import pirf
from pirf.cli import entry

VERBS = ["demo", "verify", "data", "pretrain", "finetune", "sample", "reconstruct", "compare", "convert", "plan", "doctor"]


def test_every_verb_is_listed_and_explains_itself(call):
    listed = call("--help").out
    assert [verb for verb in VERBS if f" {verb} " in listed] == VERBS
    for verb in VERBS:
        done = call(verb, "--help")
        assert done.code == 0
        assert f"Usage: pirf {verb}" in done.out


def test_saying_nothing_is_asking_for_help(call):
    assert call().out == call("--help").out == call("-h").out


def test_the_version_is_that_of_the_package(call):
    done = call("--version")
    assert (done.code, done.out) == (0, f"pirf {pirf.__version__}\n")


def test_examples_stand_on_lines_of_their_own(call):
    lines = [line.strip() for line in call("pretrain", "--help").out.splitlines()]
    assert "pirf pretrain poisson --out runs/base --seconds 600" in lines


def test_the_module_and_the_script_are_the_same_program():
    words = [sys.executable, "-m", "pirf", "verify", "poisson", "--sise", "3"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "pirf: arguments that the help describes are needed: got verify poisson --sise 3; No such option: --sise. "
        "Try pirf verify --help."
    ]
    assert not done.stdout


def test_what_is_no_refusal_is_not_hidden(call, monkeypatch):
    def broken(given, **_):
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(entry, "app", broken)
    with pytest.raises(ZeroDivisionError):
        entry.main(["verify"])


def test_a_folder_that_cannot_be_written_is_one_line(call, tmp_path):
    (tmp_path / "file").write_text("")
    done = call("data", "poisson", "--n", 8, "--count", 2, "--out", "file/below")
    assert done.code == 2
    assert done.err.startswith("pirf: paths that can be read and written are needed: got file/below; Not a directory. Try")
