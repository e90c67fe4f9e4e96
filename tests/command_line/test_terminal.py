"""What commands print: within 80 columns, sparse in a pipe, quiet where nobody reads it, and no control character."""

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
from PIL import Image
from tqdm import tqdm

import fastblackout as fb
from fastblackout.cli import command_line as cli
from fastblackout.cli.cells_command import is_of_cells
from fastblackout.evaluation.sample_files import FORMATS
from fastblackout.ground.terminal import say, visible, wrap
from fastblackout.training import progress
from fastblackout.training.convert import PROGRAMS, SHAPES
from fastblackout.training.journal import read_log
from fastblackout.training.progress import Progress
from support.forks import MAIN, Fork
from support.subprocesses import elsewhere

TINY = ["--batch=8", "--channels=8", "--threads=1", "--schedule-steps=60", "--log-every=1"]


def the_commands():
    """The parser of every command, by name."""
    return next(each for each in cli.build_parser()._actions if isinstance(each, argparse._SubParsersAction)).choices


def helped(line):
    out = io.StringIO()
    with pytest.raises(SystemExit, match="^0$"), contextlib.redirect_stdout(out):
        cli.main(line.split())
    return out.getvalue()


@pytest.mark.parametrize("terminal", ["200", "80"])
def test_help_fits_and_names_options_and_examples_that_there_are(monkeypatch, terminal):
    """Both help pages of every command, and the page of all of them: a short one has about ten options."""
    monkeypatch.setenv("COLUMNS", terminal)
    assert {"impute", "split", "denoise", "tune", "plot", "export", "convert", "bench"} <= the_commands().keys()
    for name, parser in [("", None), *the_commands().items()]:
        short = helped(f"{name} --help")
        long = helped(f"{name} --help-all") if name else short
        for page in (short, long):
            assert max(map(len, page.splitlines())) <= 80, name
            examples = [line.strip() for line in page.split("examples:")[1].splitlines() if line.startswith("  ")]
            assert examples
            for command in " && ".join(line.partition("  ")[0] for line in examples).split(" && "):
                program, *words = shlex.split(command)
                assert program == "fastblackout" and words[0] == (name or words[0])
                if words[-1] != "--help":
                    assert cli.build_parser(is_of_cells(words)).parse_args(words).command == words[0]
        if not name:
            continue
        few, every = (set(re.findall(r"^  (?:-h, )?(--[a-z-]+)", page, re.M)) for page in (short, long))
        assert few <= every and len(few) <= 12
        assert (short.splitlines()[-1] == f"More options: fastblackout {name} --help-all") is (few < every), name
        assert every == {
            each.option_strings[-1 if each.nargs == 0 and "-h" in each.option_strings else 0]
            for each in parser._actions
            if each.option_strings
        }
        for heading in ("data", "training", "speed", "output") if name == "train" else ():
            assert f"\n{heading}:\n" in short and f"\n{heading}:\n" in long


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("", ["for N steps. Default: 100000; digits: 4000; h5ad, a table: 10000.", "Default: 0.0005; digits: 0.002.",
              "norm is above X. Default: 1.0.", "instead of --steps. --batch N"]),
        ("array", ["for N steps. Default: 100000; a table: 10000.", "the paper's. Default: small; a table: mlp.",
                   "together. Default: 128; a table: 256.", "Default: off; a table: on.", "mean; a table: beta-"]),
        ("digits", ["for N steps. Default: 4000.", "Adam is X. Default: 0.002.", "half cosine. Default: on.",
                    "Default: beta-binomial.", "Default: uniform; head mean: likelihood; head implicit: energy."]),
        ("mnist --recipe best", ["for N steps. Default: 16000.", "Adam is X. Default: 0.003.", "Default: cosine;"]),
    ],
)  # fmt: skip
def test_help_of_a_named_data_set_has_its_defaults(words, told):
    page = helped(f"train {words} --help-all")
    assert max(map(len, page.splitlines())) <= 80
    assert all(each in " ".join(page.split()) for each in told)


def test_help_of_a_recipe_that_there_is_not(fails):
    fails("train digits --recipe paper --help", "train: error: recipe: must be best for digits, got paper", status=2)


def test_choices_are_those_that_there_are():
    """The parser has names of its own where those that it stands for need NumPy."""
    choices = {each.dest: each.choices for name in ("sample", "convert") for each in the_commands()[name]._actions}
    assert list(choices["format"]) == list(FORMATS)
    assert list(choices["program"]) == list(PROGRAMS) and list(choices["dataset"]) == list(SHAPES)


def test_without_a_command_it_says_what_it_is_and_what_to_try(capsys):
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == "" and max(map(len, err.splitlines())) <= 80
    tried = [line.split("  ")[1] for line in err.splitlines() if line.startswith("  fastblackout ")]
    parsed = [cli.build_parser().parse_args(shlex.split(line)[1:]).command for line in tried]
    assert parsed == ["sample", "sample", "info"]


def run(line):
    """`python -m fastblackout` in a shell that may close its streams."""
    command = f"exec {shlex.quote(sys.executable)} -m fastblackout {line}"
    done = subprocess.run(["bash", "-c", command], cwd="/", env=elsewhere(), capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


def test_python_m_and_a_closed_stdout():
    assert run("--version") == (0, f"fastblackout {fb.__version__}\n", "")
    assert run("info >&-") == (0, "", "")


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
    assert 20 < len(lines) <= 41 and sum(line.split("/")[0].isdigit() for line in lines) == 20
    assert max(map(len, lines)) <= 80 and not any("\r" in line or "|" in line for line in lines)
    assert lines[1].startswith("held-out loss: of 1 image; ") and "without a network" in lines[1]
    assert lines[3] == "loss, held out: lower is better; img/s: samples trained on in a second"
    assert any(line.startswith("64 samples for samples-00000100.png: ") for line in lines)
    assert any(line.startswith("100/100 steps, ") and ", held out " in line for line in lines)


def worked(capsys, monkeypatch, seconds, *given, **options):
    """(when, line) of what a Progress prints while its steps take so many seconds, and what it prints at the end."""
    now, told = 0.0, []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with Progress(*given, **options) as shown:
        for each in seconds:
            now += each
            shown.update()
            told += [(now, line) for line in capsys.readouterr().err.splitlines()]
    return told, capsys.readouterr().err.splitlines()


def test_lines_are_seconds_apart_and_few(capsys, monkeypatch):
    for seconds, expected in ((0.01, 1), (1.0, 20), (100.0, 21), (1000.0, 97)):
        told, end = worked(capsys, monkeypatch, [seconds] * 97, 97, "steps", "work")
        lines = [*(line for _, line in told), *end]
        assert 0.8 * expected <= len(lines) <= expected
        assert lines[-1].startswith("work: 97/97 steps, ")
    with Progress(97, "steps", shown=False) as shown:
        shown.update(97)
        shown.say("nothing")
    assert capsys.readouterr().err == ""


def test_long_work_says_early_and_often_how_long_it_takes(capsys, monkeypatch):
    told, _ = worked(capsys, monkeypatch, [1.1] * 10_000, 100_000, "steps", done=1000)  # a day and more, resumed
    times = [when for when, _ in told]
    assert 60 <= times[0] < 62 and 19 <= len(times) <= 22  # at each 5% of the work, too
    assert all(after - before < 602 for before, after in itertools.pairwise(times))
    assert told[0][1] == "1055/100000 steps, 30:14:00 left"  # 98,945 steps of 1.1 seconds


def test_a_first_step_that_compiles_is_no_measure_of_the_others(capsys, monkeypatch):
    told, _ = worked(capsys, monkeypatch, [120.0, *[0.5] * 2000], 5000, "steps", done=1000)
    assert [line for _, line in told[:2]] == ["1001/5000 steps", "1250/5000 steps, 31:15 left"]


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
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(master, 4096):
                written.append(part)

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


EVIL = "a\x1b[31m\x07\x9b1m\n\r\u202e\udcffb"  # colours, a bell, lines of its own, text from right to left, no UTF-8
SHOWN = r"a\x1b[31m\x07\x9b1m\n\r\u202e\udcffb"


@pytest.fixture(scope="module")
def evil_home(tmp_path_factory):
    """Data and a run, both of such a name, and more files."""
    folder = tmp_path_factory.mktemp("home")
    with contextlib.chdir(folder):
        for name, arrays in (
            (EVIL, {"images": np.random.default_rng(0).integers(0, 12, (30, 8, 8))}),
            ("names", {"a\x1b[31mb": np.arange(3), "c": np.arange(3)}),
        ):
            with open(f"{name}.npz", "wb") as file:
                np.savez(file, **arrays)
        os.mkdir("images")
        Image.new("L", (8, 8)).save("images/0.png")
        with open(f"images/{EVIL}.png", "wb") as file:
            file.write(b"no image")
        train = ["train", "array", f"--data={EVIL}.npz", f"--out={EVIL}", "--steps=2", "--sample-every=0", "--quiet"]
        assert cli.main([*train, *TINY]) == 0
    return folder


@pytest.mark.parametrize(
    "line",
    [
        "sample {} --num=2 --steps=3 --threads=1",
        "plot {} --steps=3 --threads=1",
        "evaluate {} --num=4 --seeds=1 --bits=0 --steps=3 --threads=1 --data={}.npz",
        "export {} {}-export",
        "train array --data={}.npz --out={} --resume",
    ],
)
def test_a_run_of_any_name_is_shown_by_visible_characters(evil_home, monkeypatch, capfd, line):
    monkeypatch.chdir(evil_home)
    assert cli.main([word.replace("{}", EVIL) for word in line.split()]) == 0
    out, err = capfd.readouterr()
    assert (out + err).replace("\n", "").isprintable() and SHOWN in out


@pytest.mark.parametrize(
    "line",
    [
        "sample {}-nowhere",
        "sample {} --out={}.txt",
        "plot {} --out={}-no/there",
        "info --json=no/{}/a.json",
        "export {} no/{}",
        "convert {} new --from=lanl --dataset=cifar10",
        "train array --data={}.npy",
        "train folder --data=images",
        "train array --data=names.npz",
        "train digits --out={}.npz",
    ],
)
def test_an_error_about_any_name_is_too(evil_home, monkeypatch, capfd, line):
    monkeypatch.chdir(evil_home)
    assert cli.main([word.replace("{}", EVIL) for word in line.split()]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err[:-1].isprintable() and r"\x1b[31m" in err


def test_what_is_visible(capsys):
    status, _, err = run("info $'--\\x1b[31mx' $'y\\x1b[0m'")
    assert status == 2 and err[:-1].isprintable() and r"\x1b[31m" in err
    assert visible(EVIL) == SHOWN and visible("größer 中 1") == "größer 中 1"
    say("a\nb", "c")
    assert capsys.readouterr().out == "a\\nb\nc\n"
    assert wrap("a \x1b[31m\nb") == r"a \x1b[31m b"
