"""The command line: the whole way from training to a verdict, and one clear line for everything that goes wrong."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastblackout.cli.command_line import build_parser, main
from fastblackout.ops.capabilities import capabilities
from fastblackout.training.recipes import RECIPES
from support.configs import rewrite_config
from support.forks import MAIN, Fork
from support.subprocesses import PACKAGE

TINY = ["--steps=6", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--checkpoint-every=3", "--quiet"]
SAMPLE = ["--steps=5", "--threads=1", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data and one trained run; tests copy it before they harm it."""
    folder = tmp_path_factory.mktemp("home")
    counts = np.random.default_rng(0).integers(0, 12, (60, 8, 8))
    np.savez(folder / "counts.npz", images=counts, labels=np.arange(60) % 3)
    with contextlib.chdir(folder):
        assert main(["train", "array", "--data=counts.npz", "--conditional", *TINY]) == 0
    return folder


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fails(capsys, arguments, words, status=1):
    """The command ends with that status and one line on stderr, and writes no file."""
    before = everything(Path.cwd())
    capsys.readouterr()
    try:
        code = main(arguments)
    except SystemExit as stop:  # argparse
        code = stop.code
    out, err = capsys.readouterr()
    assert code == status
    assert out == ""
    assert err.startswith("fastblackout")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert everything(Path.cwd()) == before


def test_the_whole_way(place, capsys):
    assert main(["sample", "runs/array", "--num=5", *SAMPLE]) == 0
    out = capsys.readouterr().out
    assert "5 samples in" in out
    drawn = np.load("runs/array/samples.npz")
    assert (drawn["images"].shape, drawn["images"].dtype) == ((5, 1, 8, 8), np.uint8)
    assert drawn["labels"].tolist() == [0, 1, 2, 0, 1]
    assert drawn["images"].max() <= 11
    with Image.open("runs/array/samples.png") as grid, Image.open("runs/array/samples-film.png") as film:
        assert grid.size == (3 * 66 + 2, 2 * 66 + 2)
        assert film.size == (6 * 66 + 2, 4 * 66 + 2)
        assert np.array(film)[2:66, 2:66].max() == 0  # from black ...
        last = np.array(film)[2:66, 2 + 5 * 66 : 66 + 5 * 66]
        assert np.array_equal(last, np.array(grid)[2:66, 2:66])  # ... to the first image
    data = "--data=counts.npz"  # this run is a copy
    assert main(["evaluate", data, "--num=30", "--json=numbers.json", *SAMPLE]) == 0
    out = capsys.readouterr().out
    assert "rounded Gaussian noise" in out
    _, *figures = out.split("\n\n")  # each tells which way is better
    assert len(figures) == 6 and all("better" in told or "best" in told for told in figures)
    numbers = json.loads((place / "numbers.json").read_text())
    assert numbers["samples"] == 30
    assert numbers["train"] == 54
    assert (numbers["sets"], numbers["seeds"]) == (4, [1, 2, 3, 4])
    assert max(map(len, out.splitlines())) <= 80
    assert f"{numbers['frechet_samples']:.2f} +- {numbers['spread']['frechet_samples']:.2f}" in out
    assert "Warning: with fewer than 1000 samples" in out
    bits = numbers["bits_per_dim"]
    assert bits["images"] == 6
    assert 0 < bits["continuous"]["bits"] < 40  # after six steps of training
    assert 0 < bits["continuous"]["monte_carlo_error"] < bits["continuous"]["bits"]
    assert f"{bits['discrete']['bits']:.3f}  ({bits['discrete']['monte_carlo_error']:.3f};" in out
    again = ["evaluate", data, "--num=30", "--json=numbers.json", "--bits=0", "--seed=2", "--seeds=1", *SAMPLE]
    fails(capsys, again, ["json: numbers.json exists", "--force"])
    assert main([*again, "--force"]) == 0
    out = capsys.readouterr().out
    assert "Bits per dimension" not in out and "seed 2, drawn" in out and "+-" not in out
    second = json.loads((place / "numbers.json").read_text())
    assert second["frechet_samples"] == numbers["each"]["frechet_samples"][1]


def test_sample_overwrites_by_force_alone(place, capsys):
    assert main(["sample", "--num=5", *SAMPLE]) == 0
    files = ["samples.npz", "samples.png", "samples-film.png"]
    before = [(place / "runs/array" / name).read_bytes() for name in files]
    for name in files:
        fails(capsys, ["sample", "--num=5", *SAMPLE], ["exists", "--force"])
        (place / "runs/array" / name).unlink()
    (place / "runs/array/samples.png").write_text("no picture")
    assert main(["sample", "--num=5", "--force", *SAMPLE]) == 0
    assert [(place / "runs/array" / name).read_bytes() for name in files] == before
    os.mkdir("folder.npz")
    fails(capsys, ["sample", "--force", "--out=folder.npz"], ["folder.npz is a folder"])


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


def test_resume(place, capsys):
    assert main(["train", "array", "--data=counts.npz", "--resume", "--steps=9", "--quiet"]) == 0
    assert sorted(os.listdir("runs/array/checkpoints")) == ["step-00000006", "step-00000009"]
    capsys.readouterr()
    before = everything(place)
    assert main(["train", "array", "--data=counts.npz", "--resume", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("runs/array: all 9 steps were done already; --steps N goes on\n")
    assert {path: new for path, new in everything(place).items() if path.suffix != ".png"} == {
        path: old for path, old in before.items() if path.suffix != ".png"
    }
    fails(capsys, ["train", "array", "--data=counts.npz", "--resume", "--steps=8"], ["at least the 9", "got 8"])
    fails(capsys, ["train", "array", "--data=counts.npz", "--resume", "--batch=9"], ["batch", "keeps 8", "got 9"])
    fails(capsys, ["train", "digits", "--out=runs/array", "--resume"], ["was trained on array"])
    again = ["train", "array", "--data=counts.npz", "--out=fresh", "--resume", *TINY]
    fails(capsys, again, ["train: out: must be the folder of a training to resume", "got fresh"])
    assert not os.path.exists("fresh")
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
        ("train digits --weight=heavy", ["--weight", "heavy"]),
        ("sample --frobnicate", ["--frobnicate", "(see fastblackout sample --help)"]),
        ("train digits --step 10", ["--step 10", "(see fastblackout train --help)"]),  # --steps is not meant
        ("--frobnicate", ["--frobnicate", "(see fastblackout --help)"]),
        ("sample --sampler=euler", ["euler"]),
    ],
)
def test_wrong_usage(place, capsys, line, words):
    fails(capsys, line.split(), words, status=2)


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
def test_failures(place, capsys, line, words):
    fails(capsys, [*line.split(), *([] if line == "bench" else ["--quiet"])], words)


def test_harmed_files(place, capsys):
    checkpoint = place / "runs/array/checkpoints/step-00000006"
    whole = (checkpoint / "ema.safetensors").read_bytes()
    (checkpoint / "ema.safetensors").write_bytes(whole[:-40])
    fails(capsys, ["sample"], ["ema.safetensors", "is damaged"])
    (checkpoint / "ema.safetensors").write_bytes(whole)
    config = json.loads((checkpoint / "config.json").read_text())
    for change, words in (
        ({"format": "pickle"}, ["not written by fastblackout"]),
        ({"format_version": 9}, ["format version must be 1, got 9"]),
        ({"config": {}}, ["config.json"]),
        ({"config": {**config["config"], "model": {}}}, ["config"]),
        ({"config": {**config["config"], "train": {"steps": 1}}}, ["keys"]),
        ({"config": {**config["config"], "dataset": {}}}, ["config.json"]),
    ):
        rewrite_config(checkpoint / "config.json", {**config, **change})
        fails(capsys, ["sample"], words)
        fails(capsys, ["evaluate"], words)
    (checkpoint / "config.json").write_text("{")
    fails(capsys, ["sample"], ["config.json", "JSON"])
    fails(capsys, ["train", "array", "--data=counts.npz", "--resume"], ["config.json", "JSON"])
    (place / "counts.npz").write_bytes((place / "counts.npz").read_bytes()[:-50])
    fails(capsys, ["train", "array", "--data=counts.npz", "--out=new"], ["counts.npz", "not a readable"])


def test_images_of_unequal_size(place, capsys):
    for index, size in enumerate([(8, 8)] * 5 + [(8, 9)]):
        Image.new("L", size).save(place / f"{index}.png")
    fails(capsys, ["train", "folder", "--data=.", "--out=new"], ["5.png", "L 8x9"])


LINES = """
import sys
from fastblackout.cli import main
from support.full_disk import no_file_beyond
with no_file_beyond(900):
    for line in sys.argv[1:]:
        print(main(line.split()), flush=True)
"""


def test_a_full_disk(place):
    """No file may grow beyond some bytes: what writing to a full disk does to a process."""
    lines = [
        "train array --data=counts.npz --resume --steps=9 --quiet",
        "train array --data=counts.npz --out=new --channels=8 --steps=9 --quiet",
        "sample --num=50 --steps=3 --quiet",
    ]
    before = everything(place)
    process = Fork(LINES, *lines, folder=place)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "1\n1\n1\n")
    said = err.splitlines()
    assert [line.split(":")[0] for line in said] == ["fastblackout train", "fastblackout train", "fastblackout sample"]
    assert all("too large" in line.lower() for line in said)
    after = everything(place)
    harmed = {path for path in before if after.get(path) != before[path]}
    assert harmed <= {place / "runs/array/log.jsonl"}
    assert not [path for path in after.keys() - before.keys() if path.name != "log.jsonl"]
    assert not list(place.rglob(".*unfinished*"))


def test_help_is_quick_and_complete():
    code = (
        f"import sys; sys.path[:] = {[PACKAGE, *sys.path]!r}; "
        "from fastblackout.cli.command_line import build_parser; build_parser().format_help(); "
        "assert not {'torch', 'numpy', 'matplotlib', 'sklearn', 'PIL'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-S", "-c", code], check=True)
    text = build_parser().format_help()
    assert all(command in text for command in ("train", "sample", "evaluate", "info", "bench"))


def test_a_broken_pipe_is_no_error(place):
    with Fork(MAIN, "evaluate", "--data=counts.npz", "--num=5", *SAMPLE, folder=place) as first:
        first.stdout.close()
        assert first.stderr.read() == ""
        assert first.wait() == 1


def test_info(capsys):
    """What backend="auto" takes and why: test_preference.py. What it says of recipes: test_recipes.py."""
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    recipes = [dataset for dataset, known in RECIPES.items() for _ in known]
    names = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    backends, devices = ["reference", "cpu", "cuda", "triton", "jax"], ["cpu", "cuda"]
    assert names.pop(7) in ("missing", "no")  # optional packages: test_extras.py
    told = ["34", "with", "others", "recipes", *recipes]
    assert names == ["fastblackout", "on", *backends, 'backend="auto"', *devices, *told]
    assert all(op in out for op in capabilities()["reference"]["ops"]) and out.count("transition_rows") == 1
