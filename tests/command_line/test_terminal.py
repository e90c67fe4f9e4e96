"""What commands print: within 80 columns, sparse in a pipe, and quiet where nobody reads it."""

import argparse
import contextlib
import fcntl
import functools
import io
import itertools
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
import threading

import numpy as np
import pytest
from tqdm import tqdm

import fastblackout as fb
from fastblackout.cli import command_line as cli
from fastblackout.cli.cells_command import is_of_cells
from fastblackout.evaluation.sample_files import FORMATS
from fastblackout.training import progress
from fastblackout.training.convert import PROGRAMS, SHAPES
from fastblackout.training.progress import Progress
from fastblackout.training.progress_log import read_log
from support.forks import MAIN, Fork
from support.subprocesses import elsewhere

COMMANDS = (
    "train", "sample", "evaluate", "impute", "split", "thin", "downsample", "denoise", "tune", "plot", "export",
    "convert", "info", "bench",
)  # fmt: skip
TINY = ["--batch=8", "--channels=8", "--threads=1", "--schedule-steps=60", "--log-every=1"]


def helps():
    """Both help pages of every command, and the page of all of them."""
    pages = {}
    for words in ("--help", *(f"{name} --help{more}" for name in COMMANDS for more in ("", "-all"))):
        out = io.StringIO()
        with pytest.raises(SystemExit) as done, contextlib.redirect_stdout(out):
            cli.main(words.split())
        assert done.value.code == 0
        pages[words] = out.getvalue()
    return pages


@pytest.mark.parametrize("terminal", ["200", "80"])
def test_help_fits(monkeypatch, terminal):
    monkeypatch.setenv("COLUMNS", terminal)
    for name, page in helps().items():
        assert max(map(len, page.splitlines())) <= 80, name


def test_help_of_a_named_data_set_has_its_defaults(capsys):
    pages = {}
    for words in ("", "array", "digits", "mnist --recipe best"):
        with pytest.raises(SystemExit) as done:
            cli.main(["train", *words.split(), "--help-all"])
        assert done.value.code == 0
        page = capsys.readouterr().out
        assert max(map(len, page.splitlines())) <= 80
        pages[words] = " ".join(page.split())
    for words, told in (
        ("", ["for N steps. Default: 100000; digits: 4000; h5ad, a table: 10000.", "Default: 0.0005; digits: 0.002."]),
        ("", ["norm is above X. Default: 1.0.", "instead of --steps. --batch N"]),
        ("array", ["for N steps. Default: 100000; a table: 10000.", "the paper's. Default: small; a table: mlp."]),
        (
            "array",
            ["together. Default: 128; a table: 256.", "Default: off; a table: on.", "Default: mean; a table: beta-"],
        ),
        ("digits", ["for N steps. Default: 4000.", "Adam is X. Default: 0.002.", "half cosine. Default: on."]),
        ("digits", ["Default: beta-binomial.", "Default: uniform; head mean: likelihood; head implicit: energy."]),
        ("mnist --recipe best", ["for N steps. Default: 16000.", "Adam is X. Default: 0.003.", "Default: cosine;"]),
    ):
        assert all(each in pages[words] for each in told), (words, told)
    with pytest.raises(SystemExit) as done:
        cli.main(["train", "digits", "--recipe", "paper", "--help"])
    assert done.value.code == 2
    assert "train: error: recipe: must be best for digits, got paper" in capsys.readouterr().err


def test_choices_are_those_that_there_are():
    """The parser has names of its own where those that it stands for need NumPy."""
    (commands,) = (action for action in cli.build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    choices = {each.dest: each.choices for name in ("sample", "convert") for each in commands.choices[name]._actions}
    assert list(choices["format"]) == list(FORMATS)
    assert list(choices["program"]) == list(PROGRAMS) and list(choices["dataset"]) == list(SHAPES)


def test_every_help_has_examples_that_parse():
    for name, page in helps().items():
        examples = [line.strip() for line in page.split("examples:")[1].splitlines() if line.startswith("  ")]
        assert examples
        for line in examples:
            for command in line.partition("  ")[0].split(" && "):
                program, *words = shlex.split(command)
                assert program == "fastblackout" and (name.startswith("--") or words[0] == name.split()[0])
                if words[-1] != "--help":
                    assert cli.build_parser(is_of_cells(words)).parse_args(words).command == words[0]


def test_a_short_help_has_about_ten_options_and_names_the_long_one():
    pages = helps()
    for name in COMMANDS:
        short, long = (
            re.findall(r"^  (?:-h, )?(--[a-z-]+)", pages[f"{name} --help{all}"], re.M) for all in ("", "-all")
        )
        assert set(short) <= set(long) and len(short) <= 12
        last = pages[f"{name} --help"].splitlines()[-1]
        assert (last == f"More options: fastblackout {name} --help-all") is (set(short) < set(long)), name
        (commands,) = (each for each in cli.build_parser()._actions if isinstance(each, argparse._SubParsersAction))
        assert set(long) == {
            each.option_strings[-1 if each.nargs == 0 and "-h" in each.option_strings else 0]
            for each in commands.choices[name]._actions
            if each.option_strings
        }
        for heading in ("data", "training", "speed", "output") if name == "train" else ():
            assert f"\n{heading}:\n" in pages["train --help"] and f"\n{heading}:\n" in pages["train --help-all"]


def test_without_a_command_it_says_what_it_is_and_what_to_try(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and max(map(len, err.splitlines())) <= 80
    tried = [line.split("  ")[1] for line in err.splitlines() if line.startswith("  fastblackout ")]
    assert [cli.build_parser().parse_args(shlex.split(line)[1:]).command for line in tried] == [
        "sample",
        "sample",
        "info",
    ]


def test_info_fits(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["info"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def run(line, folder=None, **more):
    """`python -m fastblackout` in a shell that may close its streams."""
    command = f"exec {shlex.quote(sys.executable)} -m fastblackout {line}"
    return subprocess.run(["bash", "-c", command], cwd=folder or "/", env=elsewhere(), **more)


def test_python_m_and_version():
    done = run("--version", capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fastblackout {fb.__version__}\n", "")


def test_a_closed_stdout():
    done = run("info >&-", capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


CLOSED = """
import os, sys
sys.stdin = sys.stdout = sys.stderr = None  # as Python starts where they are closed
os.closerange(0, 3)
"""


@pytest.mark.slow
def test_closed_streams_get_into_no_file(data_file, tmp_path):
    """The next files opened would get their numbers, and what is printed."""
    with Fork(CLOSED + MAIN, "train", "array", *data_file, "--steps=2", "--sample-every=0", folder=tmp_path) as closed:
        assert closed.wait() == 0
    assert [record["step"] for record in read_log(tmp_path / "runs/array/log.jsonl")] == [1, 2, 2]
    assert cli.main(["train", "array", "--data=a.npy", "--resume", "--quiet"]) == 0


@pytest.mark.parametrize("line", ["--help", "info"])
def test_a_pipe_whose_reader_has_left(line):
    wait = "import select; pipe = select.poll(); pipe.register(1, 0); pipe.poll()"  # for an error, which is that
    with Fork(f"{wait}; {MAIN}", line) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() in ((0, 1) if line == "--help" else (1,))  # help is argparse's, which differs


def test_a_full_disk_behind_stdout():
    process = Fork(f"import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); {MAIN}", "info")
    assert process.communicate() == ("", "fastblackout info: No space left on device\n")
    assert process.returncode == 1


@pytest.fixture
def data_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.random.default_rng(0).integers(0, 5, (20, 4, 4)))
    return ["--data=a.npy", *TINY]


def test_a_training_in_a_pipe_prints_few_plain_lines(data_file, capsys, monkeypatch):
    clock = iter(range(0, 10**6, 7))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    assert cli.main(["train", "array", *data_file, "--steps=100", "--held-out-every=1", "--sample-every=50"]) == 0
    lines = capsys.readouterr().err.split("\n")
    assert 20 < len(lines) <= 41
    assert sum(line.split("/")[0].isdigit() for line in lines) == 20
    assert max(map(len, lines)) <= 80
    assert not any("\r" in line or "|" in line for line in lines)
    assert lines[1].startswith("held-out loss: of 1 image; ") and "without a network" in lines[1]
    assert lines[3] == "loss, held out: lower is better; img/s: samples trained on in a second"
    assert any(line.startswith("64 samples for samples-00000100.png: ") for line in lines)
    assert any(line.startswith("100/100 steps, ") and ", held out " in line for line in lines)


def test_lines_are_seconds_apart_and_few(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    for seconds, expected in ((0.01, 1), (1.0, 20), (100.0, 21), (1000.0, 97)):
        with Progress(97, "steps", "work") as shown:
            for _ in range(97):
                now += seconds
                shown.update()
        lines = capsys.readouterr().err.splitlines()
        assert 0.8 * expected <= len(lines) <= expected
        assert lines[-1].startswith("work: 97/97 steps, ")
    with Progress(97, "steps", shown=False) as shown:
        shown.update(97)
        shown.say("nothing")
    assert capsys.readouterr().err == ""


def test_long_work_says_early_and_often_how_long_it_takes(capsys, monkeypatch):
    now, told = 0.0, []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress(100_000, "steps", done=1000) as shown:  # a day and more, resumed
        for _ in range(10_000):
            now += 1.1
            shown.update()
            if line := capsys.readouterr().err:
                told.append((now, line))
    times = [when for when, _ in told]
    assert 60 <= times[0] < 62
    assert all(after - before < 602 for before, after in itertools.pairwise(times))
    assert 19 <= len(times) <= 22  # at each 5% of the work, too
    assert told[0][1] == "1055/100000 steps, 30:14:00 left\n"  # 98,945 steps of 1.1 seconds


def test_a_first_step_that_compiles_is_no_measure_of_the_others(capsys, monkeypatch):
    now, told = 0.0, []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress(5000, "steps", done=1000) as shown:
        for seconds in (120.0, *[0.5] * 2000):
            now += seconds
            shown.update()
            told += capsys.readouterr().err.splitlines()
    assert told[0] == "1001/5000 steps"
    assert told[1] == "1250/5000 steps, 31:15 left"


def test_a_line_that_is_too_long_loses_what_stands_last(capsys):
    with Progress(1, "steps") as shown:
        shown.note(f"loss {'1' * 50}, 12345 img/s")
        shown.update()
    assert capsys.readouterr().err == f"1/1 steps, 0:00 in all, loss {'1' * 50}\n"


def on_a_terminal(monkeypatch, work):
    """What work() writes to stderr where that is a terminal of 80 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    written = []

    def read():
        try:
            while part := os.read(master, 4096):
                written.append(part)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    with open(slave, "w") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        work()
    reader.join(timeout=30)
    os.close(master)
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", b"".join(written).decode())


def test_a_training_on_a_terminal_has_bars_of_their_own(data_file, monkeypatch):
    # Every step is shown, however quick it is.
    monkeypatch.setattr(tqdm, "__init__", functools.partialmethod(tqdm.__init__, mininterval=0.0))
    command = ["train", "array", *data_file, "--steps=4", "--sample-every=4"]
    text = on_a_terminal(monkeypatch, lambda: cli.main(command))
    for bar in ("100%|", "\rheld-out loss:   0%|", "\r64 samples for samples-00000004.png:   0%|", "held-out loss "):
        assert bar in text
    assert max(len(line) for line in text.replace("\r", "\n").split("\n")) <= 80
    assert re.search(r"\| [1-3]/4 \[\d\d:\d\d<\d\d:\d\d", text)  # time since, and time left
