"""What is typed wrong is one line that says what came and what to try, exit code 2, and never a traceback."""

import json
import shutil

import numpy as np
import pytest

import pirf

FINETUNE = ("finetune", "poisson", "--model", "TINY", "--out", "new", "--steps", "1")
RECONSTRUCT = ("reconstruct", "TINY", "--samples", "2", "--sampler", "Heun(steps=2)", "--observed")
SAMPLE = ("sample", "TINY", "--out", "new.npy")
PRETRAIN = ("pretrain", "--out", "new", "--steps", "1", "--data")

MALFORMED = [
    # the words themselves
    ("vrify",),
    ("verify",),
    ("plan",),
    ("plan", "sample"),
    ("plan", "finetune"),
    ("verify", "poisson", "--sise", "3"),
    ("verify", "poisson", "extra"),
    ("verify", "poisson", "--n"),
    ("--jsn", "verify", "poisson"),
    ("sample", "TINY"),
    ("compare", "poisson"),
    ("convert", "notes.txt"),
    ("doctor", "poisson"),
    ("demo", "--share", "2"),
    ("demo", "--share", "nan"),
    ("demo", "--share", "half"),
    # problems and grids
    ("verify", "poison"),
    ("verify", "Poisson"),
    ("verify", ""),
    ("verify", "poisson", "--n", "2"),
    ("verify", "poisson", "--n", "0"),
    ("verify", "poisson", "--n", "-8"),
    ("verify", "poisson", "--n", "8.5"),
    ("verify", "poisson", "--n", "many"),
    ("verify", "burgers", "--n", "3"),
    ("verify", "kolmogorov", "--n", "0"),
    ("verify", "poisson", "--n", "16", "--published", "pidn"),
    ("verify", "gray_scott", "--n", "16", "--released"),
    # files of one's own
    ("verify", "nowhere.py:Mine"),
    ("verify", "mine.py:Yours"),
    ("verify", "mine.py:"),
    ("verify", ":Mine"),
    ("verify", "mine.py:number"),
    ("verify", "mine.py:Two"),
    ("verify", "broken.py:Mine"),
    ("verify", "notes.txt:Mine"),
    # data
    ("data", "poisson", "--n", "8", "--count", "0", "--out", "new"),
    ("data", "poisson", "--n", "8", "--count", "-3", "--out", "new"),
    ("data", "poisson", "--n", "8", "--count", "3e3", "--out", "new"),
    ("data", "poisson", "--n", "8", "--count", "2"),
    ("data", "poisson", "--n", "8", "--count", "2", "--out", "notes.txt"),
    ("data", "poisson", "--n", "8", "--count", "2", "--seed", "0.5", "--out", "new"),
    ("data", "poisson", "--n", "8", "--count", "2", "--workers", "0", "--out", "new"),
    ("data", "poisson", "--n", "8", "--count", "3", "--workers", "1", "--out", "generated"),
    # models
    ("sample", "no-such-model", "--out", "new.npy"),
    ("sample", "", "--out", "new.npy"),
    ("sample", "hollow", "--out", "new.npy"),
    ("sample", "foreign", "--out", "new.npy"),
    ("sample", "diffusers", "--out", "new.npy"),
    ("sample", "unknown-kind", "--out", "new.npy"),
    ("sample", "truncated", "--out", "new.npy"),
    ("sample", "swapped", "--out", "new.npy"),
    ("sample", "notes.txt", "--out", "new.npy"),
    ("sample", "listed", "--out", "new.npy"),
    (*SAMPLE, "--device", "gpu"),
    (*SAMPLE, "--device", "cuda:99"),
    (*SAMPLE, "--device", "meta0"),
    ("compare", "darcy_lognormal", "--model", "ONE"),
    ("compare", "kolmogorov", "--model", "TINY"),
    ("compare", "helmholtz", "--model", "TINY"),
    ("compare", "poisson", "--model", "TINY", "--model", "no-such-model"),
    ("compare", "poisson", "--model", "TINY", "--samples", "1"),
    ("compare", "poisson", "--model", "TINY", "--samples", "-4"),
    ("compare", "poisson", "--model", "TINY", "--sampler", "Heun"),
    # sampling
    (*SAMPLE, "--count", "0"),
    (*SAMPLE, "--count", "-1"),
    (*SAMPLE, "--start", "-1"),
    (*SAMPLE, "--batch", "0"),
    (*SAMPLE, "--seed", "one"),
    ("sample", "TINY", "--out", "new.png"),
    ("sample", "TINY", "--out", "notes.txt/new.npy"),
    (*SAMPLE, "--sampler", "Heun(steps=0)"),
    (*SAMPLE, "--sampler", "Heun(steps=-4)"),
    (*SAMPLE, "--sampler", "heun(steps=4)"),
    (*SAMPLE, "--sampler", "Heun(step=4)"),
    (*SAMPLE, "--sampler", "Heun(4"),
    (*SAMPLE, "--sampler", "EDM()"),
    (*SAMPLE, "--sampler", "Heun(schedule=EDM(sigma_min=-1))"),
    (*SAMPLE, "--sampler", "Heun(schedule=EDM(sigma_min=9, sigma_max=1))"),
    (*SAMPLE, "--sampler", "Heun(steps=2, schedule=Levels((1.0, 2.0, 0.0)))"),
    (*SAMPLE, "--sampler", "Heun(steps=5, schedule=Levels((2.0, 1.0, 0.0)))"),
    (*SAMPLE, "--sampler", "Ancestral(eta=3)"),
    # fine-tuning
    FINETUNE[:-2],
    (*FINETUNE[:4], "--steps", "1"),
    (*FINETUNE[:-1], "0"),
    (*FINETUNE[:-1], "-2"),
    (*FINETUNE, "--seconds", "-1"),
    (*FINETUNE, "--seconds", "0"),
    (*FINETUNE, "--batch", "0"),
    (*FINETUNE, "--batch", "4096"),
    (*FINETUNE, "--micro", "0"),
    (*FINETUNE, "--replay", "0"),
    (*FINETUNE, "--lr", "-1"),
    (*FINETUNE, "--lr", "0"),
    (*FINETUNE, "--lr", "nan"),
    (*FINETUNE, "--optimizer", "adam"),
    (*FINETUNE, "--rate", "Linear()"),
    (*FINETUNE, "--rate", "Cosine(warmup=2)"),
    (*FINETUNE, "--gradient", "LastStep(2)"),
    (*FINETUNE, "--gradient", "LastSteps(0)"),
    (*FINETUNE, "--gradient", "LastSteps(99)"),
    (*FINETUNE, "--gradient", "LayerTruncated(LastSteps(1), stages=99)"),
    (*FINETUNE, "--gradient", "Full(segments=0)"),
    (*FINETUNE, "--gradient", "AdjointMatching()"),
    (*FINETUNE, "--gradient", "PolicyGradient()"),
    (*FINETUNE, "--gradient", "NoiseHypernetwork()"),
    (*FINETUNE, "--regularizer", "WeightAnchor(-1)"),
    (*FINETUNE, "--regularizer", "WeightAnchor(form='cubic')"),
    (*FINETUNE, "--reward", "residuals"),
    (*FINETUNE, "--reward", "nowhere.py:Mine"),
    (*FINETUNE, "--reward", "mine.py:number"),
    (*FINETUNE, "--prefix", "Euler(steps=3)"),
    (*FINETUNE, "--precision", "half"),
    (*FINETUNE, "--graded-precision", "fp8"),
    (*FINETUNE, "--handover", "--gradient", "Full()"),
    (*FINETUNE, "--handover", "--floor", "-1"),
    (*FINETUNE, "--handover", "--tail-stages", "99"),
    (*FINETUNE, "--handover", "--pool", "2"),
    (*FINETUNE, "--device", "tpu"),
    ("finetune", "burgers", *FINETUNE[2:]),
    ("finetune", "poisson", "--model", "no-such-model", *FINETUNE[4:]),
    # pre-training
    ("pretrain", "--out", "new"),
    ("pretrain", "poisson", "--n", "48", "--out", "new"),
    ("pretrain", "poisson", "--n", "8", "--steps", "1"),
    ("pretrain", "poisson", "--n", "8", "--steps", "1", "--model", "ONE", "--out", "new"),
    ("pretrain", "poisson", "--n", "8", "--steps", "1", "--batch", "0", "--out", "new"),
    ("pretrain", "poisson", "--n", "8", "--steps", "1", "--colour", "Matern(length=-1)", "--out", "new"),
    ("pretrain", "poisson", "--n", "8", "--steps", "1", "--colour", "Pink()", "--out", "new"),
    (*PRETRAIN, "nowhere.npy"),
    (*PRETRAIN, "notes.txt"),
    (*PRETRAIN, "garbage.npy"),
    (*PRETRAIN, "garbage.npz"),
    (*PRETRAIN, "garbage.h5"),
    (*PRETRAIN, "garbage.mat"),
    (*PRETRAIN, "pickled.npy"),
    (*PRETRAIN, "flat.npy"),
    (*PRETRAIN, "whole-numbers.npy"),
    (*PRETRAIN, "nothing.npy"),
    (*PRETRAIN, "missing.npy"),
    ("pretrain", "poisson", "--n", "8", *PRETRAIN[1:], "odd.npy"),
    (*PRETRAIN, "fields.npy", "--channels", "a"),
    (*PRETRAIN, "fields.npy", "--data", "odd.npy"),
    ("pretrain", "poisson", "--n", "16", *PRETRAIN[1:], "fields.npy"),
    # reconstruction
    ("reconstruct", "TINY"),
    (*RECONSTRUCT, "nowhere.npy"),
    (*RECONSTRUCT, "notes.txt"),
    (*RECONSTRUCT, "garbage.npy"),
    (*RECONSTRUCT, "pickled.npy"),
    (*RECONSTRUCT, "fields.npy"),
    (*RECONSTRUCT, "unseen.npy"),
    (*RECONSTRUCT, "one.npy", "--noise", "-1"),
    (*RECONSTRUCT, "one.npy", "--noise", "nan"),
    (*RECONSTRUCT, "one.npy", "--noise", "1", "--noise", "2", "--noise", "3"),
    (*RECONSTRUCT, "one.npy", "--guidance", "magic"),
    (*RECONSTRUCT, "one.npy", "--guidance", "svdd"),
    (*RECONSTRUCT, "one.npy", "--problem", "poison"),
    (*RECONSTRUCT, "one.npy", "--problem", "burgers"),
    (*RECONSTRUCT, "one.npy", "--samples", "0"),
    (*RECONSTRUCT, "one.npy", "--samples", "1", "--truth", "one.npy"),
    (*RECONSTRUCT, "one.npy", "--truth", "fields.npy"),
    (*RECONSTRUCT, "one.npy", "--truth", "unseen.npy"),
    (*RECONSTRUCT, "one.npy", "--out", "samples.txt"),
    # conversion
    ("convert", "nowhere.pkl", "new"),
    ("convert", "notes.txt", "new"),
    ("convert", "garbage.npy", "new"),
    ("convert", "diffusers", "new"),
    ("convert", "notes.txt", "new", "--scaling", "Scaling((0.0,), (-1.0,))"),
    ("convert", "notes.txt", "new", "--scaling", "3"),
    ("convert", "notes.txt", "new", "--memory", "much"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory, tiny, problem):
    """A folder of all that can be wrong with a file."""
    here = tmp_path_factory.mktemp("files")
    fields = problem.sample(4).float().numpy()
    np.save(here / "fields.npy", fields)
    np.save(here / "one.npy", fields[0])
    np.save(here / "flat.npy", fields[:, 0, 0])
    np.save(here / "odd.npy", fields[:, :, :7])
    np.save(here / "nothing.npy", fields[:0])
    np.save(here / "missing.npy", np.where(fields > 0, fields, np.nan))
    np.save(here / "unseen.npy", np.full_like(fields[0], np.nan))
    np.save(here / "whole-numbers.npy", np.ones(fields.shape, int))
    np.save(here / "pickled.npy", np.array([{}], object), allow_pickle=True)
    for ending in ("npy", "npz", "h5", "mat"):
        (here / f"garbage.{ending}").write_bytes(bytes(range(256)) * 4)
    (here / "notes.txt").write_text("not a model")
    (here / "mine.py").write_text("import pirf\nnumber = 3\nclass Two:\n    def __init__(self, a, b): ...\n")
    (here / "broken.py").write_text("import nothing_of_that_name\n")
    pirf.generate(problem, 2, here / "generated", workers=1, progress=False)
    one = pirf.UNet((1, 8, 8), channels=4, multipliers=(1, 1), attention=())
    pirf.save(one, here / "one")
    for name in ("foreign", "unknown-kind", "truncated", "swapped", "listed"):
        shutil.copytree(tiny, here / name)
    (here / "hollow").mkdir()
    (here / "hollow" / "card.json").write_text("{")
    (here / "diffusers").mkdir()
    (here / "diffusers" / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    card = json.loads((tiny / "card.json").read_text())
    (here / "foreign" / "card.json").write_text(json.dumps({**card, "format": "other-model-2"}))
    (here / "unknown-kind" / "card.json").write_text(json.dumps({**card, "architecture": {"kind": "Transformer"}}))
    (here / "listed" / "card.json").write_text("[]")
    weights = (tiny / "weights.safetensors").read_bytes()
    (here / "truncated" / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    shutil.copy(here / "one" / "weights.safetensors", here / "swapped" / "weights.safetensors")
    return here


@pytest.mark.parametrize("words", MALFORMED, ids=" ".join)
def test_one_line_and_exit_code_2(call, files, tiny, tmp_path, words):
    shutil.copytree(files, tmp_path, dirs_exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    done = call(*({"TINY": tiny, "ONE": "one"}.get(word, word) for word in words))
    assert done.code == 2
    assert done.err.startswith("pirf: ")
    assert len(done.err.splitlines()) == 1
    assert " got " in done.err
    assert "; " in done.err
    assert " Try " in done.err
    assert not done.out
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before and path.is_file()]
    assert not left


def test_there_are_many_ways_to_be_wrong():
    assert len(set(MALFORMED)) == len(MALFORMED) >= 150
