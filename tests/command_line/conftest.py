"""What the tests of the command line share. A module that has runs of its own makes them once, in a fixture `home`."""

import contextlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from fastblackout.cli import main

TINY = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--schedule-steps=60", "--quiet"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with counts.npz and a run of it, runs/array."""
    folder = tmp_path_factory.mktemp("home")
    np.savez(folder / "counts.npz", images=np.random.default_rng(0).integers(0, 12, (30, 8, 8)))
    with contextlib.chdir(folder):
        assert main(["train", "array", "--data=counts.npz", *TINY]) == 0
    return folder


@pytest.fixture
def place(home, tmp_path, monkeypatch):
    """A copy of the module's folder of runs, as the working folder: a test may harm it."""
    copy = tmp_path / "home"
    shutil.copytree(home, copy)
    monkeypatch.chdir(copy)
    return copy


@pytest.fixture
def fails(capsys):
    """Runs a command that must fail: one line on stderr with all the words, nothing on stdout, no file written."""

    def files():
        return {path: path.is_dir() or path.stat().st_mtime_ns for path in Path().rglob("*")}

    def fails(line, *words, status=1):
        before = files()
        capsys.readouterr()
        try:
            code = main(line.split() if isinstance(line, str) else line)
        except SystemExit as stop:  # argparse
            code = stop.code
        out, err = capsys.readouterr()
        assert (code, out, err.count("\n"), files()) == (status, "", 1, before), err
        assert err.startswith("fastblackout") and all(word in err for word in words), err

    return fails
