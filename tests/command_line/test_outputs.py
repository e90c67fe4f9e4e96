"""What commands write to: links are followed, devices and pipes written to, and a disk that is full is named."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

from fastblackout.atomic_files import atomic_path, atomic_write, own, write_npz
from fastblackout.cli import main
from support.full_disk import no_file_beyond
from support.subprocesses import elsewhere

TINY = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--schedule-steps=60", "--quiet"]
TRAIN = ["train", "array", "--data=counts.npz", "--out=run", *TINY]
SAMPLE = ["sample", "run", "--num=2", "--steps=3", "--threads=1", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data and a run."""
    folder = tmp_path_factory.mktemp("home")
    np.savez(folder / "counts.npz", images=np.random.default_rng(0).integers(0, 12, (30, 8, 8)))
    with contextlib.chdir(folder):
        assert main(TRAIN) == 0
    return folder


@pytest.fixture
def place(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


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
    for name, target in (("there", tmp_path / "a.json"), ("nowhere", tmp_path / "b.json")):
        if name == "there":
            target.write_text("old")
        (tmp_path / name).symlink_to(target)
        assert main(["info", f"--json={tmp_path / name}", "--force"]) == 0
        assert (tmp_path / name).is_symlink() and json.loads(target.read_text())["version"]
    (tmp_path / "out.npz").symlink_to(tmp_path / "far.npz")
    assert main([*SAMPLE, f"--out={tmp_path / 'out.npz'}"]) == 0
    assert (tmp_path / "out.npz").is_symlink() and len(np.load(tmp_path / "far.npz")["images"]) == 2
    (tmp_path / "train.json").symlink_to(tmp_path / "a.json")
    assert main([*TRAIN, "--resume", f"--json={tmp_path / 'train.json'}"]) == 0
    assert (tmp_path / "train.json").is_symlink() and json.loads((tmp_path / "a.json").read_text())["step"] == 2


def test_links_in_the_folder_of_a_run_are_not(place, tmp_path):
    """It may have come from anybody, who must not choose what is overwritten."""
    aim = tmp_path / "precious"
    aim.write_text("mine")
    for file in ("run/log.jsonl", "run/loss.png", "run/samples.npz", "run/samples.png", "run/plots/schedule.png"):
        os.makedirs(os.path.dirname(file), exist_ok=True)
        if os.path.lexists(file):
            os.unlink(file)
        os.symlink(aim, file)
    assert main([*TRAIN, "--steps=4", "--resume"]) == 0
    assert main([*SAMPLE, "--force"]) == 0
    assert main(["plot", "run", "--steps=3", "--threads=1", "--quiet", "--force"]) == 0
    assert aim.read_text() == "mine"
    for file in ("log.jsonl", "loss.png", "samples.npz", "samples.png", "plots/schedule.png"):
        assert not os.path.islink(f"run/{file}") and os.path.isfile(f"run/{file}")
    os.unlink("run/log.jsonl")
    os.mkfifo("run/log.jsonl")  # nobody reads it: to open it would take for ever
    assert main([*TRAIN, "--steps=6", "--resume"]) == 0
    assert os.path.isfile("run/log.jsonl")


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
        ([*TRAIN[:3], "--out=trained", *TINY], "trained/checkpoints/.unfinished-", 2000),
        ([*SAMPLE, "--out=new.npz"], "new.npz", 100),
        ([*SAMPLE, "--out=new", "--format=png"], "new", 60),
        (["export", "run", "new"], ".unfinished-", 2000),
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
