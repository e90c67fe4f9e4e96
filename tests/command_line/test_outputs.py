"""What commands write to, and `--json`.

Links are followed, devices and pipes written to, and a disk that is full is named. The numbers of a command are one
JSON object in a file, or alone on stdout.
"""

import errno
import json
import math
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.atomic_files import atomic_path, atomic_write, own, write_npz
from fastblackout.cli import main
from fastblackout.cli.outputs import _finite
from fastblackout.ops.capabilities import public_ops
from fastblackout.training.journal import read_log
from fastblackout.training.recipes import RECIPES
from support.full_disk import no_file_beyond
from support.subprocesses import elsewhere

TINY = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--schedule-steps=60", "--quiet"]
TRAIN = ["train", "array", "--data=counts.npz", *TINY]
FEW = ["--steps=3", "--threads=1", "--quiet"]
SAMPLE = ["sample", "--num=2", *FEW]


def through_a_pipe(path, write):
    """What a reader of the pipe gets from `write()`, and whether the pipe is still one."""
    os.mkfifo(path)
    got = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    write()
    reader.join(20)
    assert got and stat.S_ISFIFO(os.stat(path).st_mode) and os.listdir(path.parent) == [path.name]
    return got[0]


def test_a_pipe_is_written_to(tmp_path):
    assert main(["info", f"--json={tmp_path / 'plain'}"]) == 0
    (tmp_path / "in").mkdir()
    pipe = tmp_path / "in" / "pipe.npz"
    command = ["info", f"--json={pipe}", "--force"]
    assert json.loads(through_a_pipe(pipe, lambda: main(command))) == json.loads((tmp_path / "plain").read_bytes())
    pipe.unlink()
    content = through_a_pipe(pipe, lambda: write_npz(pipe, images=np.arange(5)))
    (tmp_path / "plain").write_bytes(content)
    assert np.array_equal(np.load(tmp_path / "plain")["images"], np.arange(5))


def test_a_device_is_written_to(tmp_path):
    node, full = tmp_path / "null", tmp_path / "full"  # not the files in /dev, which a failure would replace
    try:
        for path, minor in ((node, 3), (full, 7)):
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        node.write_bytes(b"")
    except PermissionError:
        pytest.skip("only root makes device files, and not in every container")
    assert main(["info", f"--json={node}", "--force"]) == 0
    assert stat.S_ISCHR(os.stat(node).st_mode) and sorted(os.listdir(tmp_path)) == ["full", "null"]
    with pytest.raises(OSError, match=str(full)):
        atomic_write(full, b"much")


def test_a_link_is_followed(place, tmp_path):
    (tmp_path / "a.json").write_text("old")
    for name, target in (("there", tmp_path / "a.json"), ("nowhere", tmp_path / "b.json")):
        (tmp_path / name).symlink_to(target)
        assert main(["info", f"--json={tmp_path / name}", "--force"]) == 0
        assert (tmp_path / name).is_symlink() and json.loads(target.read_text())["version"]
    (tmp_path / "out.npz").symlink_to(tmp_path / "far.npz")
    assert main([*SAMPLE, f"--out={tmp_path / 'out.npz'}"]) == 0
    assert (tmp_path / "out.npz").is_symlink() and len(np.load(tmp_path / "far.npz")["images"]) == 2
    assert main([*TRAIN, "--resume", f"--json={tmp_path / 'there'}"]) == 0
    assert (tmp_path / "there").is_symlink() and json.loads((tmp_path / "a.json").read_text())["step"] == 2


def test_links_in_the_folder_of_a_run_are_not(place):
    """It may have come from anybody, who must not choose what is overwritten."""
    run, aim = place / "runs/array", place / "precious"
    aim.write_text("mine")
    (run / "plots").mkdir()
    files = [run / name for name in ("log.jsonl", "loss.png", "samples.npz", "samples.png", "plots/schedule.png")]
    for file in files:
        file.unlink(missing_ok=True)
        file.symlink_to(aim)
    assert main([*TRAIN, "--steps=4", "--resume"]) == 0
    assert main([*SAMPLE, "--force"]) == main(["plot", *FEW, "--force"]) == 0
    assert aim.read_text() == "mine" and all(file.is_file() and not file.is_symlink() for file in files)
    files[0].unlink()
    os.mkfifo(files[0])  # nobody reads it: to open it would take for ever
    assert main([*TRAIN, "--steps=6", "--resume"]) == 0
    assert files[0].is_file()


def test_what_is_a_runs_own(tmp_path):
    (tmp_path / "file").write_text("a")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("file", "folder", "link", "nothing"):
        assert own(tmp_path / name) == tmp_path / name
    assert sorted(os.listdir(tmp_path)) == ["file", "folder", "link"]


@pytest.mark.parametrize(
    ("command", "file", "limit"),
    [
        ([*TRAIN, "--out=trained"], "trained/checkpoints/.unfinished-", 2000),
        ([*SAMPLE, "--out=new.npz"], "new.npz", 100),
        ([*SAMPLE, "--out=new", "--format=png"], "new", 60),
        (["export", "runs/array", "new"], ".unfinished-", 2000),
        (["info", "--json=new.json"], "new.json", 100),
    ],
)
def test_a_full_disk_is_named(place, capsys, command, file, limit):
    """A limit on the size of files stands for one: writing beyond fails in the same way."""
    with no_file_beyond(limit):
        status = main(command)
    assert status == 1
    assert f"fastblackout {command[0]}: File too large: {file}" in capsys.readouterr().err
    assert not [name for name in os.listdir() if name.startswith("new")]


def test_what_is_open_is_written_to_where_it_stands(tmp_path):
    """Such as a log that stdout is redirected to, which a new file in its place would cut off."""
    log = tmp_path / "log"
    code = """if True:
        from fastblackout.atomic_files import atomic_write
        print("one")
        atomic_write("/dev/stdout", b"two\\n")
        atomic_write("/dev/fd/1", b"three\\n")
        print("four")
    """
    for how, kept in (("w", ""), ("a", "old\n")):
        log.write_text("old\n")
        with log.open(how) as stdout:
            subprocess.run([sys.executable, "-c", code], stdout=stdout, check=True, cwd=tmp_path, env=elsewhere())
        assert log.read_text() == f"{kept}one\ntwo\nthree\nfour\n"


HELD = """
import sys, time
from fastblackout.atomic_files import atomic_file, atomic_path
with atomic_file("film [1].png") as file, atomic_path("cells.h5ad") as made:
    file.write(b"begun")
    made.write_bytes(b"begun")
    print("begun", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_has_left_is_removed_and_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([sys.executable, "-c", HELD], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            begun = {path.name for path in tmp_path.iterdir()}
            atomic_write("film [1].png", b"whole")  # what another process is about to write is left alone
            assert {path.name for path in tmp_path.iterdir()} == {*begun, "film [1].png"} and len(begun) == 2
        finally:
            process.kill()
    with pytest.warns(UserWarning, match=r"removed .*\.film \[1\]\.png\.\w+\.tmp, which a process left"):
        atomic_write("film [1].png", b"whole")
    with pytest.warns(UserWarning, match=r"removed .*\.cells\.h5ad\.\w+\.tmp"), atomic_path("cells.h5ad") as made:
        made.write_bytes(b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"film [1].png", "cells.h5ad"}


def alone(capsys, *command):
    """The object that the command prints, with nothing else, on stdout; and the text, which went to stderr."""
    capsys.readouterr()
    assert main([*command, "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    return json.loads(out), err


def test_train_tells_where_it_is_and_the_last_losses(place, capsys, fails):
    train = [*TRAIN, "--resume", "--steps=4", "--log-every=1"]
    assert main([*train, "--json=train.json"]) == 0
    numbers, records = json.loads(Path("train.json").read_text()), read_log(Path("runs/array/log.jsonl"))
    assert [numbers[name] for name in ("run", "checkpoint", "step")] == [
        "runs/array", "runs/array/checkpoints/step-00000004", 4,
    ]  # fmt: skip
    for name in ("loss", "held_out_loss"):
        assert numbers[name] == [record[name] for record in records if name in record][-1]
    fails([*TRAIN, "--out=new", "--json=train.json"], "train: json: train.json exists; choose another (a resumed")
    again, text = alone(capsys, *train)
    assert again == numbers and "next: fastblackout sample runs/array" in text
    assert main([*train, "--json=train.json"]) == 0


def test_sample_and_plot_tell_their_files(place, capsys):
    numbers, text = alone(capsys, "sample", "--num=6", "--out=six.npz", "--seed=3", *FEW)
    assert numbers["files"] == ["six.npz", "six.png", "six-film.png"] and all(map(os.path.isfile, numbers["files"]))
    how = {"seed": 3, "steps": 3, "grid": "cosine", "sampler": "bridge", "label": None, "guidance": 0.0}
    assert numbers["samples"] == 6 and how.items() <= numbers.items()
    assert numbers["seconds"] > 0 and f"6 samples in {numbers['seconds']:.1f} s" in text
    numbers, text = alone(capsys, "plot", *FEW)
    assert numbers["files"] == [f"runs/array/plots/{name}.png" for name in ("loss", "film", "schedule")]
    assert list(numbers["left_out"]) == ["laws.png"] and numbers["laws_of"] is None
    assert "left out: laws.png" in text


def test_evaluate_gives_the_same_in_a_file_and_on_stdout(place, capsys):
    line = ["evaluate", "--data=counts.npz", "--num=4", "--seeds=1", "--bits=1", *FEW]
    assert main([*line, "--json=numbers.json"]) == 0
    numbers, text = alone(capsys, *line)
    assert numbers == json.loads(Path("numbers.json").read_text()) and f"{numbers['frechet_samples']:.2f}" in text
    assert numbers["bits_per_dim"]["continuous"]["image_error"] is None  # of one image


def test_info_tells_backends_and_recipes(tmp_path, monkeypatch, capsys, fails):
    """What backend="auto" takes and why: test_preference.py. What it says of recipes: test_recipes.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    numbers, text = alone(capsys, "info")
    assert max(map(len, text.splitlines())) <= 80
    assert numbers["version"] == fb.__version__ and numbers["backends"]["cpu"] == fb.capabilities()["cpu"]
    way = "calls the cpu kernels by XLA's FFI"
    assert (way if numbers["jax"]["available"] else "pip install 'fastblackout[jax]'") in numbers["jax"]["detail"]
    assert {name: list(known) for name, known in numbers["recipes"].items()} == {
        name: list(known) for name, known in RECIPES.items()
    }
    every = fb.capabilities()["reference"]["ops"]
    assert numbers["ops"]["with_kernels"] == every and sorted(sum(numbers["ops"].values(), [])) == public_ops()
    assert numbers["recipes"]["cifar10"]["paper"]["options"]["batch"] == 256
    assert {rule["device"] for rule in numbers["auto"]} == {"cpu", "cuda"}
    names = [line.split()[0] for line in text.splitlines() if not line.startswith(" ")]
    assert names.pop(7) in ("missing", "no")  # optional packages: test_extras.py
    recipes = [dataset for dataset, known in RECIPES.items() for _ in known]
    backends = ["reference", "cpu", "cuda", "triton", "jax", 'backend="auto"', "cpu", "cuda"]
    assert names == ["fastblackout", "on", *backends, str(len(public_ops())), "with", "others", "recipes", *recipes]
    assert all(op in text for op in every) and text.count("transition_rows") == 1
    assert main(["info", "--json=info.json"]) == 0
    assert json.loads(Path("info.json").read_text()) == numbers
    fails("info --json=info.json", "info: json: info.json exists; overwrite it with --force")
    assert main(["info", "--json=info.json", "--force"]) == 0
    monkeypatch.setitem(sys.modules, "fastblackout.jax.calls", None)
    numbers, text = alone(capsys, "info")
    assert numbers["jax"]["available"] is False and "fastblackout.jax.calls" in numbers["jax"]["detail"]
    assert "\njax        no   " in text and " ".join(numbers["jax"]["detail"].split()[:3]) in text


def test_a_folder_that_takes_nothing_is_noticed_before_any_work(place, tmp_path, fails, monkeypatch):
    """By every command, of all that it writes."""
    make, full = tempfile.mkstemp, tmp_path / "full"
    full.mkdir()

    def at_work(*given, **more):
        raise AssertionError("at work")

    def locked(dir, **more):
        if dir == full:
            raise PermissionError(errno.EACCES, "Permission denied")
        return make(dir=dir, **more)

    monkeypatch.setattr("fastblackout.atomic_files.tempfile.mkstemp", locked)
    for name in ("cli.runs.sample_in_batches", "training.run.train_in_held_folder", "training.convert._converted"):
        monkeypatch.setattr(f"fastblackout.{name}", at_work)
    for line, what in (
        (f"sample --format=png --out={full}/a", "sample: out: "),
        (f"plot --out={full}/a", "plot: out: "),
        (f"export runs/array {full}/a", "export: folder: "),
        (f"convert a.pth {full}/a/b --from=lanl --dataset=cifar10", "convert: out: "),
        (f"train array --data=counts.npz --out={tmp_path}/b --json={full}/a", "train: json: "),
        *((f"{of} --force --json={full}/a", f"{of}: json: ") for of in ("sample", "evaluate", "plot", "info")),
    ):
        fails(line, f"fastblackout {what}cannot write {full}/a", ": Permission denied\n")
    assert not any(full.iterdir())


def test_a_name_that_leaves_no_room_for_a_temporary_one(place, fails):
    name = "x" * 246
    where = f"{Path().resolve()}/{name}-film.png"
    fails(f"sample --out={name}.npz", f"fastblackout sample: out: cannot write {where}: File name too long\n")


def test_json_has_no_number_that_is_not_finite():
    given = {"a": [1.5, math.nan, (2, -math.inf)], "b": {"c": math.inf, "d": True}, "e": Path("x") / "y"}
    assert _finite(given) == {"a": [1.5, None, [2, None]], "b": {"c": None, "d": True}, "e": "x/y"}
