"""The command line: the whole way from training to a verdict, and one clear line for everything that goes wrong."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastblackout.cli.command_line import build_parser, main
from support.subprocesses import PACKAGE

DATA = "--data=counts.npz"  # a run in a copied folder knows of none
TINY = ["--steps=6", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--checkpoint-every=3", "--quiet"]
SAMPLE = ["--steps=5", "--threads=1", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    counts = np.random.default_rng(0).integers(0, 12, (60, 8, 8))
    np.savez(folder / "counts.npz", images=counts, labels=np.arange(60) % 3)
    with contextlib.chdir(folder):
        assert main(["train", "array", DATA, "--conditional", *TINY]) == 0
    return folder


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_whole_way(place, capsys, fails):
    assert main(["sample", "runs/array", "--num=5", *SAMPLE]) == 0
    assert "5 samples in" in capsys.readouterr().out
    drawn = np.load("runs/array/samples.npz")
    assert (drawn["images"].shape, drawn["images"].dtype) == ((5, 1, 8, 8), np.uint8)
    assert drawn["labels"].tolist() == [0, 1, 2, 0, 1] and drawn["images"].max() <= 11
    with Image.open("runs/array/samples.png") as grid, Image.open("runs/array/samples-film.png") as film:
        assert (grid.size, film.size) == ((3 * 66 + 2, 2 * 66 + 2), (6 * 66 + 2, 4 * 66 + 2))
        assert np.array(film)[2:66, 2:66].max() == 0  # from black ...
        last = np.array(film)[2:66, 2 + 5 * 66 : 66 + 5 * 66]
        assert np.array_equal(last, np.array(grid)[2:66, 2:66])  # ... to the first image
    assert main(["evaluate", DATA, "--num=30", "--json=numbers.json", *SAMPLE]) == 0
    out = capsys.readouterr().out
    assert "rounded Gaussian noise" in out and max(map(len, out.splitlines())) <= 80
    _, *figures = out.split("\n\n")  # each tells which way is better
    assert len(figures) == 6 and all("better" in told or "best" in told for told in figures)
    numbers = json.loads((place / "numbers.json").read_text())
    found = [numbers[name] for name in ("samples", "train", "sets", "seeds")]
    assert found == [30, 54, 4, [1, 2, 3, 4]]
    assert f"{numbers['frechet_samples']:.2f} +- {numbers['spread']['frechet_samples']:.2f}" in out
    assert "Warning: with fewer than 1000 samples" in out
    bits = numbers["bits_per_dim"]
    assert bits["images"] == 6 and 0 < bits["continuous"]["bits"] < 40  # after six steps of training
    assert 0 < bits["continuous"]["monte_carlo_error"] < bits["continuous"]["bits"]
    assert f"{bits['discrete']['bits']:.3f}  ({bits['discrete']['monte_carlo_error']:.3f};" in out
    again = ["evaluate", DATA, "--num=30", "--json=numbers.json", "--bits=0", "--seed=2", "--seeds=1", *SAMPLE]
    fails(again, "json: numbers.json exists", "--force")
    assert main([*again, "--force"]) == 0
    out = capsys.readouterr().out
    assert "Bits per dimension" not in out and "seed 2, drawn" in out and "+-" not in out
    second = json.loads((place / "numbers.json").read_text())
    assert second["frechet_samples"] == numbers["each"]["frechet_samples"][1]


def test_sample_overwrites_by_force_alone(place, fails):
    assert main(["sample", "--num=5", *SAMPLE]) == 0
    files = [place / "runs/array" / name for name in ("samples.npz", "samples.png", "samples-film.png")]
    before = [file.read_bytes() for file in files]
    for file in files:
        fails(["sample", "--num=5", *SAMPLE], "exists", "--force")
        file.unlink()
    files[1].write_text("no picture")
    assert main(["sample", "--num=5", "--force", *SAMPLE]) == 0
    assert [file.read_bytes() for file in files] == before
    os.mkdir("folder.npz")
    fails("sample --force --out=folder.npz", "folder.npz is a folder")


def test_same_seed_same_samples(place):
    def drawn(name, *more):
        assert main(["sample", "--num=9", f"--out={name}.npz", *SAMPLE, *more]) == 0
        return np.load(f"{name}.npz")["images"]

    first = drawn("a", "--seed=3")
    assert np.array_equal(drawn("b", "--seed=3", "--batch=2"), first)
    assert not np.array_equal(drawn("c", "--seed=4"), first)
    assert not np.array_equal(drawn("d", "--seed=3", "--sampler=tau-leap"), first)
    for more in ("--label=2 --guidance=1", "--sampler=tau-leap-rate", "--attrition=0.1", "--weights=network"):
        assert drawn(more, "--seed=3", *more.split()).shape == first.shape


def test_resume(place, capsys, fails):
    resume = ["train", "array", DATA, "--resume", "--quiet"]
    assert main([*resume, "--steps=9"]) == 0
    assert sorted(os.listdir("runs/array/checkpoints")) == ["step-00000006", "step-00000009"]
    capsys.readouterr()
    before = everything(place)
    assert main(resume) == 0
    assert capsys.readouterr().out.startswith("runs/array: all 9 steps were done already; --steps N goes on\n")
    changed = {path for path, new in everything(place).items() if before.get(path) != new}
    assert all(path.suffix == ".png" for path in changed)
    fails([*resume, "--steps=8"], "at least the 9", "got 8")
    fails([*resume, "--batch=9"], "batch", "keeps 8", "got 9")
    fails("train digits --out=runs/array --resume", "was trained on array")
    again = ["train", "array", DATA, "--out=fresh", "--resume", *TINY]
    fails(again, "train: out: must be the folder of a training to resume", "got fresh")
    os.mkdir("fresh")
    Path("fresh/log.jsonl").touch()  # as a training leaves it that was ended before its first checkpoint
    assert main(again) == 0
    assert "fresh: holds no checkpoint to resume" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("fly", ["fly"]),
        ("train", ["DATASET", "(see fastblackout train --help)"]),
        ("train imagenet", ["imagenet"]),
        ("train digits --steps=many", ["--steps", "many"]),
        ("sample --frobnicate", ["--frobnicate", "(see fastblackout sample --help)"]),
        ("train digits --step 10", ["--step 10", "(see fastblackout train --help)"]),  # --steps is not meant
        ("--frobnicate", ["--frobnicate", "(see fastblackout --help)"]),
        ("sample --sampler=euler", ["euler"]),
    ],
)
def test_wrong_usage(place, fails, line, words):
    fails(line, *words, status=2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train array --data=counts.npz", ["runs/array exists", "--resume"]),
        ("train array --out=new --data=nothing.npy", ["nothing.npy"]),
        ("train array --out=new", ["needs a path"]),
        ("train array --data=counts.npz --out=new --max-count=3", ["0..3"]),
        ("train array --data=counts.npz --out=new --steps=3 --epochs=1", ["give one of them"]),
        ("train array --data=counts.npz --out=new --batch=0", ["batch", "at least 1"]),
        ("train array --data=counts.npz --out=counts.npz", ["must be a folder"]),
        ("train array --data=counts.npz --out=counts.npz/new", ["counts.npz"]),
        ("train folder --data=runs/array/checkpoints", ["no image"]),
        ("train mnist --data=.", ["MNIST", "--download"]),
        ("train cifar10 --data=.", ["cifar-10-batches-py", "--download"]),
        ("sample nowhere", ["there is no folder nowhere", "come with the package (digits"]),
        ("sample runs", ["no checkpoint"]),
        ("sample --num=0", ["num: must be at least 1"]),
        ("sample --steps=0", ["steps: must be in 1..1000", "got 0"]),
        ("sample --steps=2000", ["steps: must be in 1..1000", "got 2000"]),
        ("sample --batch=0", ["batch"]),
        ("sample --seed=-1", ["seed"]),
        ("sample --label=3", ["label: must be in 0..2, got 3"]),
        ("sample --attrition=2", ["attrition"]),
        ("sample --device=abacus", ["device"]),
        ("sample --out=picture.png", ["must end in .npz"]),
        ("sample --out=no/such/file.npz", ["no such folder"]),
        ("sample --out=counts.npz", ["counts.npz exists"]),
        ("evaluate --data=elsewhere.npz --num=2", ["elsewhere.npz"]),
        ("evaluate --bits=-1 --num=2", ["bits: must be at least 0, got -1"]),
        ("evaluate --num=1", ["num: must be at least 2, got 1"]),
        ("evaluate --seeds=0 --num=2", ["seeds: must be at least 1 and at most 1000, got 0"]),
        ("evaluate --seeds=10000000000", ["seeds: must be at least 1 and at most 1000, got 10000000000"]),
        ("evaluate --num=10000000000", ["num: must be at most 2^32, got 10000000000"]),
        ("plot --threads=10000000000", ["threads: must be at least 0 and at most 4096, got 10000000000"]),
        ("evaluate --seed=-1 --num=2", ["seed"]),
        ("evaluate --json=no/such/file.json", ["json: no such folder"]),
        ("bench", ["benchmarks"]),
    ],
)
def test_failures(place, fails, line, words):
    fails(f"{line}{'' if line == 'bench' else ' --quiet'}", *words)


def test_harmed_files(place, fails):
    """Each thing that may be wrong with a file: tests/training."""
    checkpoint = place / "runs/array/checkpoints/step-00000006"
    whole = (checkpoint / "ema.safetensors").read_bytes()
    (checkpoint / "ema.safetensors").write_bytes(whole[:-40])
    fails("sample", "ema.safetensors", "is damaged")
    (checkpoint / "config.json").write_text("{")
    for line in ("sample", "evaluate", f"train array {DATA} --resume"):
        fails(line, "config.json", "JSON")


def test_help_loads_no_large_package():
    code = (
        f"import sys; sys.path[:] = {[PACKAGE, *sys.path]!r}; "
        "from fastblackout.cli.command_line import build_parser; build_parser().format_help(); "
        "assert not {'torch', 'numpy', 'matplotlib', 'sklearn', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    assert all(command in build_parser().format_help() for command in ("train", "sample", "evaluate", "info", "bench"))


COUNT = """
import resource, sys
import numpy as np
from fastblackout.cli import command_line

sys.argv = ["fastblackout", *{command}]
try:
    command_line.main({arguments})
except SystemExit:
    pass
def pages():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(4):
        together = [np.ones(3 << 20) for _ in range(4)]  # 96 MiB, more than malloc keeps of itself
        del together
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pages()
print(pages())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc")
@pytest.mark.parametrize(
    ("command", "arguments", "kept"),
    [(["sample", "-"], "", True), (["info"], "", False), ([], "['sample', '-']", False)],
    ids=["command", "other", "function"],
)
def test_a_command_keeps_freed_memory_and_a_caller_in_python_decides(command, arguments, kept, tmp_path):
    code = COUNT.format(command=command, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert (int(done.stdout.split()[-1]) < 64) == kept, done.stdout  # a page is 4 KiB, or 2 MiB where those are huge
