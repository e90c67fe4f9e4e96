"""Names of files with control characters: no command and no error hands them to the terminal as they are."""

import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fastblackout.cli import main
from fastblackout.ground.terminal import say, visible, wrap

EVIL = "a\x1b[31m\x07\x9b1m\n\r\u202e\udcffb"  # colours, a bell, lines of its own, text from right to left, no UTF-8
SHOWN = r"a\x1b[31m\x07\x9b1m\n\r\u202e\udcffb"
TINY = ["--steps=2", "--batch=8", "--channels=8", "--threads=1", "--sample-every=0", "--schedule-steps=60"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data and a run, both of such a name."""
    folder = tmp_path_factory.mktemp("home")
    with contextlib.chdir(folder):
        with open(f"{EVIL}.npz", "wb") as file:
            np.savez(file, images=np.random.default_rng(0).integers(0, 12, (30, 8, 8)))
        assert main(["train", "array", f"--data={EVIL}.npz", f"--out={EVIL}", "--quiet", *TINY]) == 0
    return folder


@pytest.fixture
def place(home, monkeypatch):
    monkeypatch.chdir(home)
    return home


COMMANDS = {
    "sample": ["--num=2", "--steps=3", "--threads=1"],
    "plot": ["--steps=3", "--threads=1"],
    "evaluate": ["--num=4", "--seeds=1", "--bits=0", "--steps=3", "--threads=1", "--data={}.npz"],
    "export": ["{}-export"],
    "train": ["array", "--data={}.npz", "--out={}", "--resume", *TINY],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_of_any_name(place, capfd, command):
    words = [word.replace("{}", EVIL) for word in COMMANDS[command]]
    assert main([command, *([] if command == "train" else [EVIL]), *words]) == 0
    out, err = capfd.readouterr()
    assert (out + err).replace("\n", "").isprintable() and SHOWN in out


WRONG = [
    ["sample", "{}-nowhere"],
    ["sample", "{}", "--out={}.txt"],
    ["plot", "{}", "--out={}-no/there"],
    ["info", "--json=no/{}/a.json"],
    ["export", "{}", "no/{}"],
    ["convert", "{}", "new", "--from=lanl", "--dataset=cifar10"],
    ["train", "array", "--data={}.npy"],
    ["train", "folder", "--data=images"],
    ["train", "array", "--data=names.npz"],
    ["train", "digits", "--out={}.npz"],
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_an_error_about_any_name(place, capfd, number):
    if not os.path.exists("images"):
        os.mkdir("images")
        Image.new("L", (8, 8)).save("images/0.png")
        with open(f"images/{EVIL}.png", "wb") as file:
            file.write(b"no image")
        with open("names.npz", "wb") as file:
            np.savez(file, **{"a\x1b[31mb": np.arange(3), "c": np.arange(3)})
    assert main([word.replace("{}", EVIL) for word in WRONG[number]]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err[:-1].isprintable()
    assert r"\x1b[31m" in err


def test_a_wrong_option_of_any_name(tmp_path):
    words = [sys.executable, "-m", "fastblackout", "info", "--\x1b[31mx", "y\x1b[0m"]
    result = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 2 and result.stderr[:-1].isprintable() and r"\x1b[31m" in result.stderr


def test_what_is_visible(capsys):
    assert visible(EVIL) == SHOWN and visible("größer 中 1") == "größer 中 1"
    say("a\nb", "c")
    assert capsys.readouterr().out == "a\\nb\nc\n"
    assert wrap("a \x1b[31m\nb") == r"a \x1b[31m b"
