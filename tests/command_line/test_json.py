"""`--json`: one object in a file, or alone on stdout, with the numbers that the text has."""

import contextlib
import errno
import json
import math
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.cli import main
from fastblackout.cli.outputs import _finite
from fastblackout.ops.capabilities import public_ops
from fastblackout.training.progress_log import read_log
from fastblackout.training.recipes import RECIPES

TINY = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--schedule-steps=60", "--quiet"]
TRAIN = ["train", "array", "--data=counts.npz", "--log-every=2", *TINY]
SAMPLE = ["--steps=5", "--threads=1", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data, a run, and what `train --json` wrote there."""
    folder = tmp_path_factory.mktemp("home")
    np.savez(folder / "counts.npz", images=np.random.default_rng(0).integers(0, 12, (30, 8, 8)))
    with contextlib.chdir(folder):
        assert main([*TRAIN, "--json=train.json"]) == 0
    return folder


@pytest.fixture
def place(home, monkeypatch):
    monkeypatch.chdir(home)


def alone(capsys, *command):
    """The object that the command prints, with nothing else, on stdout; and the text, which went to stderr."""
    capsys.readouterr()
    assert main([*command, "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err


def test_train_tells_where_it_is_and_the_last_losses(place, capsys):
    numbers = json.loads(Path("train.json").read_text())
    records = read_log(Path("runs/array/log.jsonl"))
    assert numbers["run"] == "runs/array" and numbers["checkpoint"] == "runs/array/checkpoints/step-00000004"
    assert numbers["step"] == 4
    assert numbers["loss"] == [record["loss"] for record in records if "loss" in record][-1]
    assert numbers["held_out_loss"] == [record["held_out_loss"] for record in records if "held_out_loss" in record][-1]
    assert main([*TRAIN, "--out=new", "--json=train.json"]) == 1
    assert "train: json: train.json exists; choose another (a resumed" in capsys.readouterr().err
    assert not Path("new").exists()
    again, text = alone(capsys, *TRAIN, "--resume")
    assert again == numbers
    assert "next: fastblackout sample runs/array" in text
    assert main([*TRAIN, "--resume", "--json=train.json"]) == 0


def test_sample_and_plot_tell_their_files(place, capsys):
    numbers, text = alone(capsys, "sample", "--num=6", "--out=six.npz", "--seed=3", *SAMPLE)
    assert numbers["files"] == ["six.npz", "six.png", "six-film.png"]
    assert (numbers["samples"], numbers["seed"], numbers["steps"], numbers["grid"]) == (6, 3, 5, "cosine")
    assert (numbers["sampler"], numbers["label"], numbers["guidance"]) == ("bridge", None, 0.0)
    assert numbers["seconds"] > 0 and all(map(os.path.isfile, numbers["files"]))
    assert f"6 samples in {numbers['seconds']:.1f} s" in text
    numbers, text = alone(capsys, "plot", *SAMPLE)
    assert numbers["files"] == [f"runs/array/plots/{name}.png" for name in ("loss", "film", "schedule")]
    assert list(numbers["left_out"]) == ["laws.png"] and numbers["laws_of"] is None
    assert "left out: laws.png" in text


def test_evaluate_gives_the_same_in_a_file_and_on_stdout(place, capsys):
    line = ["evaluate", "--data=counts.npz", "--num=4", "--seeds=1", "--bits=1", *SAMPLE]
    assert main([*line, "--json=numbers.json"]) == 0
    numbers, text = alone(capsys, *line)
    assert numbers == json.loads(Path("numbers.json").read_text())
    assert f"{numbers['frechet_samples']:.2f}" in text
    assert numbers["bits_per_dim"]["continuous"]["image_error"] is None  # of one image


def test_info_tells_backends_and_recipes(place, capsys):
    numbers, text = alone(capsys, "info")
    assert numbers["version"] == fb.__version__
    assert numbers["backends"]["cpu"] == fb.capabilities()["cpu"]
    way = "calls the cpu kernels by XLA's FFI"
    assert (way if numbers["jax"]["available"] else "pip install 'fastblackout[jax]'") in numbers["jax"]["detail"]
    assert {name: list(known) for name, known in numbers["recipes"].items()} == {
        name: list(known) for name, known in RECIPES.items()
    }
    assert numbers["ops"]["with_kernels"] == fb.capabilities()["reference"]["ops"]
    assert sorted(sum(numbers["ops"].values(), [])) == public_ops()
    assert numbers["recipes"]["cifar10"]["paper"]["options"]["batch"] == 256
    assert {rule["device"] for rule in numbers["auto"]} == {"cpu", "cuda"}
    assert 'backend="auto" takes' in text
    assert main(["info", "--json=info.json"]) == 0
    assert json.loads(Path("info.json").read_text()) == numbers
    assert main(["info", "--json=info.json"]) == 1
    assert "info: json: info.json exists; overwrite it with --force" in capsys.readouterr().err
    assert main(["info", "--json=info.json", "--force"]) == 0


def test_info_tells_why_jax_is_absent(place, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastblackout.jax.ffi", None)
    numbers, text = alone(capsys, "info")
    assert numbers["jax"]["available"] is False and "fastblackout.jax.ffi" in numbers["jax"]["detail"]
    assert "\njax        no   " in text and " ".join(numbers["jax"]["detail"].split()[:3]) in text


@pytest.mark.parametrize(
    "command", ["train array --data=counts.npz --out=new", "sample", "evaluate", "plot --out=x", "info"]
)
def test_a_file_that_cannot_be_is_refused_before_any_work(place, capsys, command):
    before = sorted(Path().rglob("*"))
    words = command.split()
    assert main([*words, "--json=no/such.json"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"fastblackout {words[0]}: json: no such folder: no\n")
    assert sorted(Path().rglob("*")) == before


def test_a_folder_that_takes_nothing_is_noticed_before_any_work(place, tmp_path, capsys, monkeypatch):
    """By every command, of all that it writes."""

    def at_work(*given, **more):
        raise AssertionError("at work")

    make = tempfile.mkstemp

    def locked(dir, **more):
        if dir == tmp_path:
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(dir=dir, **more)

    monkeypatch.setattr("fastblackout.atomic_files.tempfile.mkstemp", locked)
    for name in ("cli.runs.sample_in_batches", "training.run.train_in_held_folder", "training.convert._read"):
        monkeypatch.setattr(f"fastblackout.{name}", at_work)
    for line, what in (
        (f"sample --format=png --out={tmp_path}/a", "sample: out: "),
        (f"plot --out={tmp_path}/a", "plot: out: "),
        (f"export runs/array {tmp_path}/a", "export: folder: "),
        (f"convert a.pth {tmp_path}/a/b --from=lanl --dataset=cifar10", "convert: out: "),
        (f"train array --data=counts.npz --out={tmp_path}/b --json={tmp_path}/a", "train: json: "),
        *((f"{of} --force --json={tmp_path}/a", f"{of}: json: ") for of in ("sample", "evaluate", "plot", "info")),
    ):
        assert main(line.split()) == 1, line
        err = capsys.readouterr().err
        assert err.startswith(f"fastblackout {what}cannot write {tmp_path}/a") and err.endswith(": Permission denied\n")
    assert not any(tmp_path.iterdir())


def test_a_name_that_leaves_no_room_for_a_temporary_one(place, capsys):
    name = "x" * 246
    assert main(["sample", f"--out={name}.npz"]) == 1
    where = f"{Path().resolve()}/{name}-film.png"
    assert capsys.readouterr().err == f"fastblackout sample: out: cannot write {where}: File name too long\n"


def test_json_has_no_number_that_is_not_finite():
    given = {"a": [1.5, math.nan, (2, -math.inf)], "b": {"c": math.inf, "d": True}, "e": Path("x") / "y"}
    assert _finite(given) == {"a": [1.5, None, [2, None]], "b": {"c": None, "d": True}, "e": "x/y"}
